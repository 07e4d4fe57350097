"""Fault tolerance: failing stores, full disks, dying processes, and reused results."""

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
from keras_cnns.display.progress import NO_PROGRESS
from keras_cnns.errors import StoreError
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.retry import RetryTimeout, retry
from tests.sweeps import make_config
from tuning import execution
from tuning.candidates.space import Candidate, make_space
from tuning.running.journal import MAX_DEATHS, Journal, JournalCallback, TrialState
from tuning.running.sweep_run import SweepRun, start_sweep
from tuning.running.trial import DISK_FULL, FAILURE, classify_error
from tuning.searching.reuse import ReusableResults


class FileStore:
    """A store of one file, whose folder may not exist yet."""

    def __init__(self, folder: Path, retry_timeout: float) -> None:
        self.folder = folder
        self.retry_timeout = RetryTimeout(retry_timeout)
        self.attempts = 0

    @property
    def location(self) -> str:
        return str(self.folder)

    @retry
    def put(self, text: str) -> str:
        self.attempts += 1
        (self.folder / "file").write_text(text)
        return text

    @retry
    def refuse(self, code: int) -> None:
        self.attempts += 1
        raise MlflowException("no", error_code=code)


def test_a_failing_store_is_retried(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "away", retry_timeout=60)

    def make_folder() -> None:
        while not store.retry_timeout.last_error:
            time.sleep(0.01)
        store.folder.mkdir()

    threading.Thread(target=make_folder).start()
    assert store.put("text") == "text"
    assert (store.folder / "file").read_text() == "text"
    assert store.attempts >= 2
    assert store.retry_timeout.last_error == ""


def test_a_store_that_keeps_failing_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the store .*away fails: .*No such file") as caught:
        FileStore(tmp_path / "away", retry_timeout=0).put("lost")
    assert "\n" not in str(caught.value)


def test_retries_can_be_cancelled_by_another_thread(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "away", retry_timeout=3600)
    threading.Timer(0.2, store.retry_timeout.cancel).start()
    with pytest.raises(StoreError, match="away"):
        store.put("lost")
    with pytest.raises(StoreError, match="away"):
        store.put("not retried either")


@pytest.mark.parametrize(("code", "attempts"), [(INVALID_PARAMETER_VALUE, 1), (TEMPORARILY_UNAVAILABLE, 2)])
def test_only_transient_errors_are_retried(tmp_path: Path, code: int, attempts: int) -> None:
    store = FileStore(tmp_path, retry_timeout=0.6)
    with pytest.raises(StoreError, match="fails: no"):
        store.refuse(code)
    assert store.attempts >= attempts
    assert (store.attempts == 1) == (attempts == 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_not_a_failure_of_the_candidate() -> None:
    with pytest.raises(StoreError, match="No space left on device; fix that, then continue with --resume"):
        Journal(Path("/dev/full")).append(trial=0, event="start")
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_text("x")
    assert classify_error(caught.value) == DISK_FULL
    assert classify_error(OSError("Can't write data: No space left on device")) == DISK_FULL  # HDF5's message
    assert classify_error(FileNotFoundError(2, "No such file or directory")) == FAILURE


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


def add_finished_run(store: Store, candidate: Candidate, fingerprint: str, **tags: str) -> str:
    """Record a finished training of a candidate and return its run."""
    description = replace(
        DESCRIPTION, settings=candidate.settings.to_strings(), recipe=candidate.recipe.to_strings(),
        data_fingerprint=fingerprint, tags={"trial": "trial", "of": fingerprint},
    )  # fmt: skip
    run_id = store.start(description, experiment="earlier")
    for epoch, metrics in enumerate(CURVE, start=1):
        store.record(run_id, epoch, metrics)
    store.finish(run_id, metrics={"parameters": 10.0, "macs": 20.0, "best_val_accuracy": 0.75}, tags=tags)
    return run_id


def test_a_run_with_the_same_tags_is_started_once(store: Store) -> None:
    first = store.start(DESCRIPTION, experiment="once")
    assert store.start(DESCRIPTION, experiment="once") == first
    assert store.start(replace(DESCRIPTION, tags={"sweep": "s", "trial": "1"}), experiment="once") != first
    group = store.start_group("sweep", experiment="once", params={"trials": 4}, tags={"folder": "a"})
    assert store.start_group("sweep", experiment="once", params={"trials": 4}, tags={"folder": "a"}) == group


def test_the_result_of_an_identical_training_is_reused(store: Store, candidate: Candidate) -> None:
    run_id = add_finished_run(store, candidate, "same")
    result = ReusableResults(store, "same").find(candidate, "densenet", 3)
    assert result == {"run": run_id, "curve": CURVE, "costs": {"parameters": 10.0, "macs": 20.0}}


@pytest.mark.parametrize("changed", ["seed", "settings", "recipe", "images", "stopped", "fold", "unfinished"])
def test_the_result_of_any_other_training_is_not_reused(store: Store, candidate: Candidate, changed: str) -> None:
    fingerprint = f"but {changed}"
    tags = {"stopped": {"stopped_early": "true"}, "fold": {"cross_validation": "parent"}}.get(changed, {})
    if changed == "unfinished":
        texts = {"settings": candidate.settings.to_strings(), "recipe": candidate.recipe.to_strings()}
        store.start(replace(DESCRIPTION, **texts, data_fingerprint=fingerprint), experiment="earlier")
    else:
        add_finished_run(store, candidate, fingerprint, **tags)
    other = {
        "settings": replace(candidate, settings=candidate.settings.replace({"dropout": 0.3})),
        "recipe": replace(candidate, recipe=candidate.recipe.replace({"batch_size": 7})),
    }.get(changed, candidate)
    reusable = ReusableResults(store, "other" if changed == "images" else fingerprint)
    assert reusable.find(other, "densenet", 4 if changed == "seed" else 3) is None


Stub = Callable[..., None]
METRICS = {"loss": 0.5, "accuracy": 0.5, "val_accuracy": 0.5, "val_auc": 0.5, "val_loss": 0.5, "epoch": 1}


def run_stubs(folder: Path, monkeypatch: pytest.MonkeyPatch, stub: Stub) -> list[TrialState]:
    """Run five trials of one epoch without any training, with the real Ray and MLflow."""
    monkeypatch.setattr(execution, "run_trial", stub)
    config = make_config(load("digits"), trials=5, repeats=None)
    config = replace(config, space=replace(config.space, recipe=Recipe(epochs=1)))
    store = Store(f"sqlite:///{folder / 'mlflow.db'}")
    run_id = start_sweep(config, store, "sweep", folder)
    run = SweepRun(config=config, folder=folder, store=store, experiment="sweep", run_id=run_id)
    execution.run_trials(run, NO_PROGRESS)
    states = list(Journal(folder / "journal.jsonl").trials().values())
    assert len(states) == 5
    assert sorted(run.tags["trial"] for run in store.runs(experiment="sweep")) == sorted(map(str, range(5)))
    return states


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize("recycle", [True, False])
def test_a_worker_that_has_grown_too_much_is_recycled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recycle: bool
) -> None:
    def stub(config: Mapping[str, Any], **shared: Any) -> None:  # noqa: ARG001
        tune.report({**METRICS, "seconds": float(os.getpid()), "recycle": recycle})

    states = run_stubs(tmp_path, monkeypatch, stub)
    processes = {state.curve[0]["seconds"] for state in states}
    assert len(processes) > 1 if recycle else len(processes) == 1


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
def test_the_death_of_a_process_between_two_trials_affects_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stub(config: Mapping[str, Any], **shared: Any) -> None:  # noqa: ARG001
        tune.report({**METRICS, "seconds": 0.0})
        if config["number"] % 3 == 0:
            threading.Timer(0.01, os._exit, [1]).start()

    states = run_stubs(tmp_path, monkeypatch, stub)
    assert {(state.status, len(state.curve)) for state in states} == {("finished", 1)}


def test_a_trial_fails_after_its_process_died_too_often_before_it_started(tmp_path: Path) -> None:
    journal_callback = JournalCallback(tmp_path, Journal(tmp_path / "journal.jsonl"), 3)
    journal_callback.record(0, event="candidate", values={})
    trial = Trial("run_trial", stub=True, config={"number": 0})
    for deaths in range(1, MAX_DEATHS):
        journal_callback.on_trial_error(trial=trial)
        assert (journal_callback.states[0].deaths, journal_callback.states[0].ended) == (deaths, False)
    journal_callback.on_trial_error(trial=trial)
    assert journal_callback.states[0].status == "failed"
