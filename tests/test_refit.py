"""After a search: refit and registration of the winner, extended sweeps, and sweeps that start from a run."""

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
from keras_cnns.tracking.registry import Registry, check_name, sanitize_name
from keras_cnns.tracking.runs import TRAIN_AND_VALIDATION, TRAINED_ON, best_trial, find_sweep
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job
from keras_cnns.training.reference import log_training_images
from tests.saved_networks import save_run, train_network
from tests.sweeps import make_config
from tuning import sweep
from tuning.candidates.space import make_space
from tuning.running.journal import Journal
from tuning.running.starting_point import find_starting_point
from tuning.running.sweep_directory import SWEEP, open_directory

# Training on training and validation images.


def test_joining_combines_training_and_validation_images_and_keeps_the_test_split(digits: Dataset) -> None:
    test = Split(digits.splits["validation"].images[:5], digits.splits["validation"].labels[:5])
    whole = replace(digits, splits={**digits.splits, "test": test})
    joined = whole.merge_validation()
    assert set(joined.splits) == {"train", "test"}
    assert joined.splits["test"] is test
    assert len(joined.training) == len(digits.training) + len(digits.splits["validation"])
    assert joined.fingerprint != whole.fingerprint
    assert np.array_equal(joined.training.images[len(digits.training) :], digits.splits["validation"].images)


@pytest.mark.parametrize("changes", [{"keep": "best"}, {"keep": "last", "patience": 2}])
def test_monitoring_needs_validation_images(tmp_path: Path, digits: Dataset, changes: dict[str, Any]) -> None:
    job = Job(model="densenet-bc-40", settings=network_settings("densenet-bc-40", {}), recipe=Recipe(**changes))
    with pytest.raises(SettingError, match="without validation images no metric can be monitored"):
        fit(job, digits.merge_validation(), tmp_path)


# The registry.


@pytest.fixture(scope="module")
def kept_runs(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> tuple[Store, list[str], Dataset]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}")
    network = train_network(digits)
    recipe = {name: str(value) for name, value in Recipe(epochs=3, learning_rate=0.003).to_strings().items()}
    return store, [save_run(store, network, digits, name=f"run-{index}", recipe=recipe) for index in range(3)], digits


def test_a_version_is_registered_once_and_a_worse_one_does_not_become_the_champion(
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
def test_invalid_names_for_the_registry_are_reported(name: str) -> None:
    with pytest.raises(SettingError, match="is not a valid name for the model registry"):
        check_name(name)


@settings(max_examples=50)
@given(st.text(min_size=0, max_size=300))
def test_the_default_name_is_always_valid(data: str) -> None:
    name = sanitize_name(f"sweep-densenet-{data}")
    assert check_name(name) == name


# A refit was trained on the validation images.


def test_a_refit_cannot_be_evaluated_on_the_validation_images(
    kept_runs: tuple[Store, list[str], Dataset],
) -> None:
    store, runs, digits = kept_runs
    held_out = Split(digits.splits["validation"].images[:100], digits.splits["validation"].labels[:100])
    data = replace(digits, splits={**digits.splits, "test": held_out})
    run = save_run(store, train_network(digits), data, name="refit")
    store.log(run, tags={TRAINED_ON: TRAIN_AND_VALIDATION, "refit_of": runs[0]})
    log_training_images(digits.merge_validation().training.images, store, run)  # as a refit does
    settled = store.run(run).metrics["temperature"]
    with pytest.raises(EvaluationError, match=f"is a refit.*run {runs[0]}"):
        evaluate(run, data, split="validation", tracking_uri=store.uri)
    found = evaluate(run, data, split="test", tracking_uri=store.uri)
    assert found.operating_point.temperature == settled
    assert not found.external
    assert any(note.startswith("The run is a refit, trained on training and validation images") for note in found.notes)
    assert found.notes[0].startswith("100 of 100 images are copies of training images")


# Starting from a run, or from the best trial of a sweep.


def test_a_sweep_stands_for_its_chosen_run_or_else_for_its_best_trial(
    kept_runs: tuple[Store, list[str], Dataset],
) -> None:
    store, ids, _ = kept_runs
    good, better, elsewhere = (
        replace(store.run(run), parent="0ddba11", metrics={"val_accuracy": score}, tags={})
        for run, score in zip(ids, (0.8, 0.9, 0.7), strict=True)
    )
    elsewhere = replace(elsewhere, parent="beef")
    assert find_sweep("0ddba", [good, better, elsewhere]) == "0ddba11"
    assert find_sweep(good.id, [good, better]) is None
    assert find_sweep("nothing", [good, better]) is None
    assert best_trial("0ddba11", [good, better, elsewhere]) is better
    good = replace(good, tags={"chosen_by.0ddba11": "true"})
    better = replace(better, tags={"chosen_by.0ddba11": "false"})
    assert best_trial("0ddba11", [good, better, elsewhere]) is good
    reused = replace(elsewhere, tags={"chosen_by.cafe": "true"})
    assert find_sweep("cafe", [good, better, reused]) == "cafe"
    assert best_trial("cafe", [good, better, reused]) is reused
    assert best_trial("beef", [good, better, reused]) is reused


def test_candidates_start_from_the_settings_and_recipe_of_a_run(kept_runs: tuple[Store, list[str], Dataset]) -> None:
    store, runs, digits = kept_runs
    base, recipe = find_starting_point(runs[0], model="lenet", tracking_uri=store.uri)
    assert (base.model, recipe) == ("lenet5", Recipe(epochs=3, learning_rate=0.003))
    changed = base._replace(settings=base.settings.replace({"hidden_width": 11}))
    space = make_space("lenet5", bases=[changed], recipe=recipe, image_shape=(32, 32, 1), classes=digits.classes)
    assert space.branches["lenet5"].settings == changed.settings


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"from_run": "nobody"}, StoreError, "no run 'nobody'"),
        ({"from_run": "run-0", "model": "densenet"}, SettingError, "run run-0 is a lenet5, not a densenet"),
        ({}, SettingError, "there is no model"),
        ({"model": "densenet", "extend": 2, "resume": True}, SettingError, "give one of them"),
        ({"model": "densenet", "extend": 0}, SettingError, "extend must be"),
        ({"model": "densenet", "repeats": 1}, SettingError, "repeats must be"),
        ({"model": "densenet", "extend": 2}, ResumeError, "nothing to extend"),
        ({"model": "densenet", "register": "a/b"}, SettingError, "is not a valid name"),
    ],
)
def test_invalid_arguments_are_reported_before_the_sweep_starts(
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


# Extending a sweep.


def test_only_a_finished_sweep_with_the_same_arguments_can_be_extended(
    tmp_path: Path, kept_runs: tuple[Store, list[str], Dataset]
) -> None:
    store, _, digits = kept_runs
    folder, _, record = open_directory(tmp_path, make_config(digits, repeats=None), store, trials=5)
    (folder / SWEEP).write_text(json.dumps(record))
    extended = make_config(digits, repeats=2, register="net", trials=0)
    with pytest.raises(ResumeError, match="is not finished"):
        open_directory(tmp_path, extended, store, extend=2)
    (folder / "finished").write_text("run")
    found, _, more = open_directory(tmp_path, extended, store, extend=2)
    assert found == folder
    assert (more["trials"], more["extended"], more["repeats"], more["register"]) == (5, 2, 2, "net")
    for other in ({"search": "tpe"}, {"scheduler": "asha"}):
        with pytest.raises(ResumeError, match="nothing to extend"):
            open_directory(tmp_path, replace(extended, **other), store, extend=2)
    with pytest.raises(ResumeError, match="nothing to extend"):
        open_directory(tmp_path, replace(extended, trials=6), store, extend=2, trials=6)
    (folder / SWEEP).write_text(json.dumps(more))
    (folder / "finished").unlink()  # the extension was interrupted
    resumed, _, known = open_directory(tmp_path, extended, store, resume=True)
    assert (resumed, known["extended"]) == (folder, 2)


# Everything together, with the real Ray.

COMMAND = ["sweep", "densenet", "--epochs", "1", "--scheduler", "none", "--set", "blocks=1,1",
           "--set", "growth_rate=4..8", "--json"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray", "plain_outcomes")
def test_an_extended_sweep_with_repeats_and_refit_trains_nothing_twice(
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
