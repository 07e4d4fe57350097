"""What a sweep does when disks are full and stores are away, and what it need not train again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from ray import tune
from ray.tune.experiment import Trial

from keras_cnns import Recipe
from keras_cnns.data import load
from keras_cnns.errors import StoreError
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.retry import Patience, retry
from tests.sweeps import plan as a_plan
from tuning import execution, search
from tuning.candidates.space import Candidate, make_space
from tuning.running.journal import MOST_DEATHS, Journal, JournalCallback, TrialState
from tuning.running.trial import FAILURE, FULL, kind_of
from tuning.searching.reuse import ReusableResults


class Shelf:
    """A place for one file, which may not be there yet."""

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder = folder
        self.patience = Patience(patience)
        self.attempts = 0

    @property
    def location(self) -> str:
        return str(self.folder)

    def forget(self) -> None:
        self.attempts += 1

    @retry
    def put(self, text: str) -> str:
        (self.folder / "file").write_text(text)
        return text

    @retry
    def refuse(self, code: int) -> None:
        raise MlflowException("no", error_code=code)


def test_what_is_away_is_waited_for(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "away", patience=60)

    def bring() -> None:
        while not shelf.patience.trouble:
            time.sleep(0.01)
        shelf.folder.mkdir()

    threading.Thread(target=bring).start()
    assert shelf.put("kept") == "kept"
    assert (shelf.folder / "file").read_text() == "kept"
    assert shelf.attempts >= 1
    assert shelf.patience.trouble == ""


def test_what_stays_away_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the store .*away fails: .*No such file") as caught:
        Shelf(tmp_path / "away", patience=0).put("lost")
    assert "\n" not in str(caught.value)


def test_waiting_can_be_ended_by_another_thread(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "away", patience=3600)
    threading.Timer(0.2, shelf.patience.end).start()
    with pytest.raises(StoreError, match="away"):
        shelf.put("lost")
    with pytest.raises(StoreError, match="away"):
        shelf.put("not waited for again")


@pytest.mark.parametrize(("code", "attempts"), [(INVALID_PARAMETER_VALUE, 1), (TEMPORARILY_UNAVAILABLE, 2)])
def test_only_what_may_pass_is_tried_again(tmp_path: Path, code: int, attempts: int) -> None:
    shelf = Shelf(tmp_path, patience=0.6)
    with pytest.raises(StoreError, match="fails: no"):
        shelf.refuse(code)
    assert shelf.attempts >= attempts
    assert (shelf.attempts == 1) == (attempts == 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_no_candidates_fault() -> None:
    with pytest.raises(StoreError, match="No space left on device; mend that, then go on with --resume"):
        Journal(Path("/dev/full")).append(trial=0, event="start")
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_text("x")
    assert kind_of(caught.value) == FULL
    assert kind_of(OSError("Can't write data: No space left on device")) == FULL  # as HDF5 words it
    assert kind_of(FileNotFoundError(2, "No such file or directory")) == FAILURE


DESCRIPTION = RunDescription(
    name="trial", model="densenet-bc-40", family="densenet", settings={}, recipe={}, seed=3, data_name="cells",
    data_fingerprint="f1", tags={"sweep": "s", "trial": "0"},
)  # fmt: skip
CURVE = [{"loss": 0.5, "val_accuracy": 0.75, "seconds": 1.5}, {"loss": 0.25, "val_accuracy": 0.5, "seconds": 3.0}]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return make_space("densenet", recipe=Recipe(epochs=2), image_shape=(8, 8, 1)).draw(1, seed=0)[0]


def finished(store: Store, candidate: Candidate, fingerprint: str, *, name: str = "trial", **tags: str) -> str:
    """Record a finished training of a candidate; return its run."""
    described = replace(
        DESCRIPTION, name=name, settings=candidate.settings.to_strings(), recipe=candidate.recipe.to_strings(),
        data_fingerprint=fingerprint, tags={"trial": name, "of": fingerprint},
    )  # fmt: skip
    run_id = store.start(described, experiment="earlier")
    for epoch, metrics in enumerate(CURVE, start=1):
        store.record(run_id, epoch, metrics)
    store.finish(run_id, metrics={"parameters": 10.0, "macs": 20.0, "best_val_accuracy": 0.75}, tags=tags)
    return run_id


def test_a_run_that_its_own_tags_name_is_begun_once(store: Store) -> None:
    first = store.start(DESCRIPTION, experiment="once")
    assert store.start(DESCRIPTION, experiment="once") == first
    assert store.start(replace(DESCRIPTION, tags={"sweep": "s", "trial": "1"}), experiment="once") != first
    group = store.start_group("sweep", experiment="once", params={"trials": 4}, tags={"folder": "a"})
    assert store.start_group("sweep", experiment="once", params={"trials": 4}, tags={"folder": "a"}) == group


def test_the_very_same_training_is_read_back_whole(store: Store, candidate: Candidate) -> None:
    run_id = finished(store, candidate, "same")
    known = ReusableResults(store, "same").find(candidate, "densenet", 3)
    assert known is not None
    assert (known.run, known.curve, known.costs) == (run_id, CURVE, {"parameters": 10.0, "macs": 20.0})


@pytest.mark.parametrize("changed", ["seed", "settings", "recipe", "images", "stopped", "unfinished"])
def test_nothing_else_is_read_back(store: Store, candidate: Candidate, changed: str) -> None:
    fingerprint = f"but {changed}"
    tags = {"stopped_early": "true"} if changed == "stopped" else {}
    if changed == "unfinished":
        written = {"settings": candidate.settings.to_strings(), "recipe": candidate.recipe.to_strings()}
        store.start(replace(DESCRIPTION, **written, data_fingerprint=fingerprint), experiment="earlier")
    else:
        finished(store, candidate, fingerprint, **tags)
    other = {
        "settings": replace(candidate, settings=candidate.settings.replace({"dropout": 0.3})),
        "recipe": replace(candidate, recipe=candidate.recipe.replace({"batch_size": 7})),
    }.get(changed, candidate)
    found = ReusableResults(store, "other" if changed == "images" else fingerprint)
    assert found.find(other, "densenet", 4 if changed == "seed" else 3) is None


Stub = Callable[..., None]
METRICS = {"loss": 0.5, "accuracy": 0.5, "val_accuracy": 0.5, "val_auc": 0.5, "val_loss": 0.5, "epoch": 1}


def run_stubs(folder: Path, monkeypatch: pytest.MonkeyPatch, stub: Stub) -> list[TrialState]:
    """Run eight trials of one epoch that train nothing, with the real Ray and MLflow."""
    monkeypatch.setattr(execution, "run_trial", stub)
    plan = a_plan(load("digits"), trials=8, repeats=None)
    store = Store(f"sqlite:///{folder / 'mlflow.db'}")
    plan = replace(plan, space=replace(plan.space, recipe=Recipe(epochs=1)))
    search.run_trials(plan, store, folder, search.start_parent(plan, store, "sweep", "here"), "sweep", None)
    states = list(Journal(folder / "journal.jsonl").trials().values())
    assert len(states) == 8
    assert sorted(run.tags["trial"] for run in store.runs(experiment="sweep")) == sorted(map(str, range(8)))
    return states


@pytest.mark.slow
@pytest.mark.xdist_group("another ray")
@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize("recycle", [True, False])
def test_a_process_that_has_grown_too_much_trains_no_other_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recycle: bool
) -> None:
    def stub(config: Mapping[str, Any], **shared: Any) -> None:  # noqa: ARG001
        tune.report({**METRICS, "seconds": float(os.getpid()), "recycle": recycle})

    states = run_stubs(tmp_path, monkeypatch, stub)
    processes = {state.curve[0]["seconds"] for state in states}
    assert len(processes) > 2 if recycle else len(processes) <= 2


@pytest.mark.slow
@pytest.mark.xdist_group("another ray")
@pytest.mark.usefixtures("own_ray")
def test_a_process_that_dies_between_two_trials_fails_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stub(config: Mapping[str, Any], **shared: Any) -> None:  # noqa: ARG001
        tune.report({**METRICS, "seconds": 0.0})
        if config["number"] % 3 == 0:
            threading.Timer(0.01, os._exit, [1]).start()

    states = run_stubs(tmp_path, monkeypatch, stub)
    assert {(state.status, len(state.curve)) for state in states} == {("finished", 1)}


def test_a_trial_is_given_up_when_its_process_has_died_too_often_before_it_began(tmp_path: Path) -> None:
    journal_callback = JournalCallback(tmp_path, Journal(tmp_path / "journal.jsonl"), 3)
    journal_callback.note(0, event="candidate", values={})
    trial = Trial("run_trial", stub=True, config={"number": 0})
    for deaths in range(1, MOST_DEATHS):
        journal_callback.on_trial_error(0, [], trial)
        assert (journal_callback.known[0].deaths, journal_callback.known[0].ended) == (deaths, False)
    journal_callback.on_trial_error(0, [], trial)
    assert journal_callback.known[0].status == "failed"
