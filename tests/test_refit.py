"""What follows a search: the winner refitted and registered, a sweep extended, another started from a run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns import Recipe
from keras_cnns.cli import main
from keras_cnns.data import Dataset
from keras_cnns.data.dataset import Split
from keras_cnns.errors import EvaluationError, KerasCnnsError, ResumeError, SettingError, StoreError
from keras_cnns.evaluation import evaluate
from keras_cnns.networks.registry import network_settings
from keras_cnns.tracking import Store
from keras_cnns.tracking.registry import Registry, as_name, check_name
from keras_cnns.tracking.runs import TRAIN_AND_VALIDATION, TRAINED_ON, best_trial, sweep_of
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job
from tests.kept import fitted, keep
from tests.sweeps import plan
from tuning import sweep
from tuning.candidates.space import make_space
from tuning.running.journal import Journal
from tuning.running.start import find_start, start_from
from tuning.running.sweep_directory import SWEEP, claim, claim_finished

# Training on training and validation images.


def test_joined_images_are_all_there_and_the_test_split_is_left_alone(digits: Dataset) -> None:
    test = Split(digits.splits["validation"].images[:5], digits.splits["validation"].labels[:5])
    whole = replace(digits, splits={**digits.splits, "test": test})
    joined = whole.joined()
    assert set(joined.splits) == {"train", "test"}
    assert joined.splits["test"] is test
    assert len(joined.training) == len(digits.training) + len(digits.splits["validation"])
    assert joined.fingerprint != whole.fingerprint
    assert np.array_equal(joined.training.images[len(digits.training) :], digits.splits["validation"].images)


@pytest.mark.parametrize("changes", [{"keep": "best"}, {"keep": "last", "patience": 2}])
def test_without_validation_images_nothing_can_be_monitored(
    tmp_path: Path, digits: Dataset, changes: dict[str, Any]
) -> None:
    job = Job(model="densenet-bc-40", settings=network_settings("densenet-bc-40", {}), recipe=Recipe(**changes))
    with pytest.raises(SettingError, match="without validation images nothing can be monitored"):
        fit(job, digits.joined(), tmp_path)


# The registry.


@pytest.fixture(scope="module")
def kept_runs(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> tuple[Store, list[str], Dataset]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}")
    network = fitted(digits)
    recipe = {name: str(value) for name, value in Recipe(epochs=3, learning_rate=0.003).to_strings().items()}
    return store, [keep(store, network, digits, name=f"run-{index}", recipe=recipe) for index in range(3)], digits


def test_a_version_is_registered_once_and_a_worse_one_never_becomes_the_champion(
    kept_runs: tuple[Store, list[str], Dataset],
) -> None:
    store, runs, digits = kept_runs
    registry, own = Registry(store), digits.fingerprint

    def register(run: str, score: str, fingerprint: str = own) -> tuple[str, str]:
        tags = {"held_out.val_accuracy": score, "data.fingerprint": fingerprint}
        found = registry.register(run, "net of digits", scored_by="held_out.val_accuracy", tags=tags)
        assert found.uri == f"models:/net of digits@{found.alias}"
        return found.version, found.alias

    assert register(runs[0], "0.9") == ("1", "champion")
    assert register(runs[0], "0.9") == ("1", "champion")
    assert register(runs[1], "0.8") == ("2", "challenger")
    assert register(runs[2], "0.1", "other images") == ("3", "champion")
    model = registry._client.get_model_version_by_alias("net of digits", "champion")
    assert model.run_id == runs[2]
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    try:
        loaded = mlflow.tensorflow.load_model("models:/net of digits@champion")
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    assert isinstance(loaded, keras.Model)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "-a", "x" * 201, "a\nb"])
def test_what_the_registry_cannot_hold_as_a_name_is_told(name: str) -> None:
    with pytest.raises(SettingError, match="cannot be a name in the registry"):
        check_name(name)


@settings(max_examples=50)
@given(st.text(min_size=0, max_size=300))
def test_the_usual_name_can_always_be_registered(data: str) -> None:
    name = as_name(f"sweep-densenet-{data}")
    assert check_name(name) == name


# A refit knows the validation images.


def test_a_refit_is_not_evaluated_on_images_that_it_was_trained_on(
    kept_runs: tuple[Store, list[str], Dataset],
) -> None:
    store, runs, digits = kept_runs
    held_out = Split(digits.splits["validation"].images[:100], digits.splits["validation"].labels[:100])
    data = replace(digits, splits={**digits.splits, "test": held_out})
    run = keep(store, fitted(digits), data, name="refit")
    store.tag(run, {TRAINED_ON: TRAIN_AND_VALIDATION, "refit_of": runs[0]})
    settled = store.run(run).metrics["temperature"]
    with pytest.raises(EvaluationError, match=f"is a refit.*run {runs[0]}"):
        evaluate(run, data, split="validation", tracking_uri=store.uri)
    found = evaluate(run, data, split="test", tracking_uri=store.uri)
    assert found.temperature == settled
    assert not found.external
    assert any(note.startswith("A refit: trained on training and validation images") for note in found.notes)
    assert any("training images too: 100 of 100" in note for note in found.notes), "validation images are known too"


# Starting from a run, or from a sweep's best.


def test_a_sweep_stands_for_what_it_has_chosen_and_without_that_for_its_best(
    kept_runs: tuple[Store, list[str], Dataset],
) -> None:
    store, ids, _ = kept_runs
    good, better, elsewhere = (
        replace(store.run(run), parent="0ddba11", metrics={"val_accuracy": score}, tags={})
        for run, score in zip(ids, (0.8, 0.9, 0.7), strict=True)
    )
    elsewhere = replace(elsewhere, parent="beef")
    assert sweep_of("0ddba", [good, better, elsewhere]) == "0ddba11"
    assert sweep_of(good.id, [good, better]) is None
    assert sweep_of("nothing", [good, better]) is None
    assert best_trial("0ddba11", [good, better, elsewhere]) is better
    good = replace(good, tags={"chosen_by.0ddba11": "true"})
    better = replace(better, tags={"chosen_by.0ddba11": "false"})
    assert best_trial("0ddba11", [good, better, elsewhere]) is good
    read_back = replace(elsewhere, tags={"chosen_by.cafe": "true"})
    assert sweep_of("cafe", [good, better, read_back]) == "cafe"
    assert best_trial("cafe", [good, better, read_back]) is read_back
    assert best_trial("beef", [good, better, read_back]) is read_back


def test_candidates_start_from_a_runs_settings_and_recipe(kept_runs: tuple[Store, list[str], Dataset]) -> None:
    store, runs, digits = kept_runs
    start = find_start(runs[0], model="lenet", tracking_uri=store.uri)
    assert (start.model, start.recipe) == ("lenet5", Recipe(epochs=3, learning_rate=0.003))
    changed = replace(start, settings=start.settings.replace({"dense": (11,)})) if hasattr(
        start.settings, "dense"
    ) else start  # fmt: skip
    space = make_space("lenet5", recipe=start.recipe, image_shape=(32, 32, 1), classes=digits.classes)
    assert start_from(space, None) is space
    assert start_from(space, changed).branches["lenet5"].settings == changed.settings


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"from_run": "nobody"}, StoreError, "no run 'nobody'"),
        ({"from_run": "run-0", "model": "densenet"}, SettingError, "is of lenet5, not of densenet"),
        ({}, SettingError, "there is no model"),
        ({"model": "densenet", "extend": 2, "resume": True}, SettingError, "give one of them"),
        ({"model": "densenet", "extend": 0}, SettingError, "extend must be"),
        ({"model": "densenet", "repeats": 1}, SettingError, "repeats must be"),
        ({"model": "densenet", "extend": 2}, ResumeError, "nothing to extend"),
        ({"model": "densenet", "register": "a/b"}, SettingError, "cannot be a name"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    tmp_path: Path,
    kept_runs: tuple[Store, list[str], Dataset],
    arguments: dict[str, Any],
    kind: type[KerasCnnsError],
    message: str,
) -> None:
    store, _, digits = kept_runs
    with pytest.raises(kind, match=message) as caught:
        sweep(**{"data": digits, "tracking_uri": store.uri, "folder": tmp_path, **arguments})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("journal.jsonl"))


# Whose sweep is extended.


def test_only_a_finished_sweep_of_the_same_arguments_is_extended(
    tmp_path: Path, kept_runs: tuple[Store, list[str], Dataset]
) -> None:
    store, _, digits = kept_runs
    first = plan(digits, repeats=None)
    place, _, record = claim(tmp_path, first, store, resume=False, seed=None, trials=5)
    (place / SWEEP).write_text(json.dumps(record))
    extended = plan(digits, repeats=2, register="net", trials=0)
    with pytest.raises(ResumeError, match="is not finished"):
        claim_finished(tmp_path, extended, store, more=2, seed=None, trials=None)
    (place / "finished").write_text("run")
    found, _, more = claim_finished(tmp_path, extended, store, more=2, seed=None, trials=None)
    assert found == place
    assert (more["trials"], more["extended"], more["repeats"], more["register"]) == (5, 2, 2, "net")
    for other in ({"search": "tpe"}, {"scheduler": "asha"}):
        with pytest.raises(ResumeError, match="nothing to extend"):
            claim_finished(tmp_path, replace(extended, **other), store, more=2, seed=None, trials=None)
    with pytest.raises(ResumeError, match="nothing to extend"):
        claim_finished(tmp_path, replace(extended, trials=6), store, more=2, seed=None, trials=6)
    (place / SWEEP).write_text(json.dumps(more))
    (place / "finished").unlink()  # the extension was killed
    resumed, _, known = claim(tmp_path, extended, store, resume=True, seed=None, trials=None)
    assert (resumed, known["extended"]) == (place, 2)


# All of it, with the real Ray.

COMMAND = ["sweep", "densenet", "--epochs", "1", "--scheduler", "none", "--set", "blocks=1,1",
           "--set", "growth_rate=4..8", "--json"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
def test_a_sweep_with_all_that_follows_is_extended_and_trains_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*more: str) -> dict[str, Any]:
        assert main([*COMMAND, *more]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    first = run("--trials", "1")
    second = run("--extend", "1", "--repeats", "2", "--refit")
    assert [len(found["trials"]) for found in (first, second)] == [1, 2]
    assert first["run_id"] == second["run_id"]
    journal = Journal(next(tmp_path.glob("runs/sweeps/*/journal.jsonl")))
    counted = Counter((event["trial"], event["event"]) for event, _ in journal.read())
    assert len(journal.trials()) == 2 + 2 * 2
    assert set(counted.values()) == {1}, "nothing is trained twice"
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}", create=False)
    runs = store.runs(experiment="sweep")
    assert len({run.name for run in runs}) == len(runs)
    assert Counter(run.tags["role"] for run in runs) == {"search": 2, "repeat": 4, "refit": 1}
    winner = second["finals"]["finalists"][0]
    assert winner["mean"] == max(found["mean"] for found in second["finals"]["finalists"])
    chosen = [run for run in runs if run.tags.get(f"chosen_by.{second['run_id']}") == "true"]
    assert [run.id for run in chosen] == [second["best_run_id"]]
    refit = store.run(second["refit"]["run_id"])
    assert refit.status == "finished"
    assert refit.metrics["temperature"] == chosen[0].metrics["temperature"]
    assert not [name for name in refit.metrics if "val_" in name]
    assert second["refit"]["name"] == "sweep-densenet-digits"
