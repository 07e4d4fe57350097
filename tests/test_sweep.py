"""Sweeps with the real Ray and the real MLflow, uninterrupted and interrupted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune

from keras_cnns import Recipe
from keras_cnns.cli import main
from keras_cnns.data import load
from keras_cnns.errors import KerasCnnsError, ModelNameError, ResumeError, SettingError
from keras_cnns.networks.registry import all_families, find_variant, smallest_side
from keras_cnns.networks.settings import format_value
from keras_cnns.tracking import Store
from tests.processes import start_command
from tuning import sweep
from tuning.candidates.space import Limits, make_space
from tuning.running.journal import Journal, TrialState
from tuning.running.sweep_run import SweepConfig
from tuning.running.trial import FAILURE

SMALL = {"blocks": (1, 1), "growth_rate": 4, "bottleneck_width": None}
COMMAND = ["sweep", "densenet", "--trials", "2", "--epochs", "3", "--seed", "5", "--scheduler", "none",
           "--set", "blocks=1,1", "--set", "growth_rate=4", "--cores", "1"]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(family=st.sampled_from(sorted(all_families())), seed=st.integers(0, 2**31), side=st.integers(28, 64))
def test_candidates_are_different_fit_the_images_and_are_reproducible(family: str, seed: int, side: int) -> None:
    space = make_space(family, recipe=Recipe(), space={"learning_rate": 0.01}, image_shape=(side, side, 1))
    candidates = space.draw(12, seed)
    assert len(set(candidates)) == 12
    assert space.draw(20, seed)[:12] == candidates
    for candidate in candidates:
        found, _ = find_variant(candidate.model)
        assert smallest_side(found, candidate.settings) <= side
        assert candidate.recipe.learning_rate == 0.01


def test_more_trials_than_candidates_are_an_error() -> None:
    fixed = dict.fromkeys(("bottleneck_width",)) | {"learning_rate": 0.01, "weight_decay": 0.01}
    space = make_space("densenet", recipe=Recipe(), space=fixed, image_shape=(8, 8, 1))
    with pytest.raises(SettingError, match=r"has only \d+ different candidates"):
        space.draw(5000, 1)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"model": "densenets"}, ModelNameError, "unknown family or network 'densenets'. Did you mean 'densenet'"),
        ({"model": "resnt18"}, ModelNameError, "Did you mean 'resnet18'.* Families: alexnet, .*, vgg, or all"),
        ({"trials": 0}, SettingError, "trials must be a whole number from 1"),
        ({"scheduler": "ahsa"}, SettingError, "scheduler must be one of asha, hyperband"),
        ({"space": {"growth": 4}}, SettingError, "unknown setting 'growth'"),
        (
            {"model": "lenet"},
            SettingError,
            r"8x8 images are too small for every candidate of lenet.*\(image_size=16\)",
        ),
        ({"model": "all", "recipe": "paper"}, SettingError, "name one family"),
        ({"resume": True}, ResumeError, "nothing to resume"),
    ],
)
def test_invalid_arguments_are_reported_before_the_sweep_starts(
    tmp_path: Path, arguments: dict[str, Any], kind: type[KerasCnnsError], message: str
) -> None:
    chosen = {
        "model": "densenet",
        "tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "folder": tmp_path,
    } | arguments
    with pytest.raises(kind, match=message) as caught:
        sweep(chosen.pop("model"), "digits", **chosen)
    assert "\n" not in str(caught.value)


def make_config(**changes: Any) -> SweepConfig:
    space_options = {"recipe": Recipe(), "space": {"growth_rate": "4..8"}, "image_shape": (8, 8, 1)}
    space_options |= {name: changes.pop(name) for name in [*changes] if name in ("space", "limits", "recipe")}
    options = {"trials": 4, "seed": 0, "scheduler": "none", "search": "tpe", "cost": None, **changes}
    return SweepConfig(space=make_space("densenet", **space_options), dataset=load("digits"), **options)


@pytest.mark.parametrize(
    "changes",
    [
        {"space": {"growth_rate": "4..12"}},
        {"space": {"growth_rate": 4}},
        {"space": {"growth_rate": "4..8", "learning_rate": {"low": 5e-4, "high": 1e-2, "log": False}}},
        {"recipe": Recipe(epochs=3)},
        {"limits": Limits(parameters=10_000)},
        {"search": "random"},
        {"cost": "macs"},
        {"trials": 5},
        {"scheduler": "asha"},
    ],
)
def test_the_identity_of_a_sweep_depends_on_everything_that_affects_its_trials(changes: dict[str, Any]) -> None:
    assert make_config().identity() == make_config().identity()
    assert make_config(**changes).identity() != make_config().identity()


def test_an_incomplete_last_line_of_the_journal_is_repaired(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(trial=0, event="start")
    journal.append(trial=0, event="epoch", metrics={"loss": 1.0}, costs={"macs": 2})
    with journal.path.open("ab") as file:
        file.write(b'{"trial": 0, "ev')
    assert journal.trials() == {0: TrialState(0, costs={"macs": 2}, curve=[{"loss": 1.0}])}
    journal.repair()
    journal.append(trial=0, event="end", status="finished", reason="")
    assert journal.trials()[0].ended


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray", "plain_outcomes")
def test_every_trial_is_a_child_run_of_the_sweep_even_a_failed_one_and_the_best_network_is_saved(
    tmp_path: Path,
) -> None:
    import mlflow

    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    recipe = Recipe(epochs=4, batch_size=16, optimizer="sgd", schedule="constant", warmup=0.0)
    result = sweep("densenet", "digits", trials=3, recipe=recipe, seed=2, tracking_uri=store.uri, folder=tmp_path,
                   space=SMALL | {"dropout": 0.0, "weight_decay": 1.0, "learning_rate": [0.01, 10.0]})  # fmt: skip
    runs = store.runs(experiment="sweep")
    assert sorted(run.tags["trial"] for run in runs) == ["0", "1", "2"]
    assert {run.parent for run in runs} == {result.run_id}
    failed = [run for run in runs if run.recipe["learning_rate"] == "10"]
    assert {run.id for run in runs if run.status == "failed"} == {run.id for run in failed}
    assert all(run.reason.startswith("TrainingError: ") for run in failed)
    assert all("the loss is not finite" in run.reason for run in failed)
    finished = [run for run in runs if run.status == "finished"]
    assert len(finished) == len(runs) - len(failed)
    assert min(run.tags["trial"] for run in failed) < max(run.tags["trial"] for run in finished)
    for run in finished:
        assert {"val_accuracy", "val_auc", "parameters", "macs", "seconds"} <= set(run.metrics)
        assert run.metrics["epochs"] == len(store.curves(run.id)["val_accuracy"])
    assert max(run.metrics["epochs"] for run in finished) == 4
    assert result.best.metrics["val_accuracy"] == max(run.metrics["val_accuracy"] for run in finished)
    assert 0 < result.utilization <= 1
    shown = repr(result)
    assert shown.startswith("sweep of densenet on digits, 3 trials")
    assert f"best run    {result.best.name}, {result.best.id}" in shown
    assert all(part in shown for part in ("settings    learning_rate 0.01", str(result.outcome), "Failed: "))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    try:
        model = mlflow.tensorflow.load_model(f"runs:/{result.best.id}/model")
    finally:
        mlflow.set_tracking_uri(before)
    assert model.count_params() == result.best.metrics["parameters"]
    assert store.run(result.best.id).metrics["temperature"] > 0


@pytest.mark.slow
@pytest.mark.exhaustive  # the README has such a command
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
def test_one_sweep_searches_all_families_for_score_and_cost(tmp_path: Path) -> None:
    result = sweep("all", "digits", trials=2, recipe=Recipe(epochs=1), max_parameters=30_000, max_macs=500_000, seed=1,
                   space={"learning_rate": "1e-3..1e-2"}, search="tpe", cost="parameters", folder=tmp_path,
                   tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")  # fmt: skip
    assert any("lenet is left out: 8x8 images are too small" in note for note in result.notes)
    assert {run.family for run in result.runs} <= set(all_families())
    assert all(run.metrics["parameters"] <= 30_000 and run.metrics["macs"] <= 500_000 for run in result.runs)
    costs = [run.metrics["parameters"] for run in result.front]
    scores = [run.metrics["val_accuracy"] for run in result.front]
    assert costs == sorted(costs)
    assert scores == sorted(scores)
    assert scores[-1] == result.best.metrics["val_accuracy"]
    values = [state.candidate for state in Journal(result.folder / "journal.jsonl").trials().values()]
    assert sorted(run.recipe["learning_rate"] for run in result.runs) == sorted(
        format_value(candidate["learning_rate"]) for candidate in values
    )


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray", "plain_outcomes")
def test_a_sweep_whose_trials_all_fail_has_no_best_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: Mapping[str, Any], **shared: Any) -> None:  # noqa: ARG001
        tune.report({"val_accuracy": 0.0, "epoch": 0, FAILURE: "TrainingError: no"})

    monkeypatch.setattr("tuning.execution.run_trial", fail)
    result = sweep("densenet", "digits", trials=2, seed=3, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
                   folder=tmp_path / "runs")  # fmt: skip
    assert (tmp_path / "runs" / "sweeps").exists()
    assert result.best is None
    assert [(run.status, run.reason) for run in result.runs] == [("failed", "TrainingError: no")] * 2


def wait_for(condition: Callable[[TrialState], bool], folder: Path) -> Journal:
    """Wait until the state of a trial fulfils a condition, and return the journal."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for path in folder.glob("runs/sweeps/*/journal.jsonl"):
            if any(condition(state) for state in Journal(path).trials().values()):
                return Journal(path)
        time.sleep(0.1)
    raise AssertionError


def kill_a_worker(driver: int) -> None:
    training = [
        process for process in psutil.Process(driver).children(recursive=True) if "ImplicitFunc" in process.name()
    ]
    training[0].kill()


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray", "plain_outcomes")
def test_a_sweep_that_was_interrupted_and_killed_finishes_each_trial_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted = start_command(tmp_path, *COMMAND)
    journal = wait_for(lambda state: bool(state.curve), tmp_path)
    os.kill(interrupted.pid, signal.SIGINT)
    interrupted.join()
    assert interrupted.exitcode == 130
    assert (tmp_path / "err").read_text().strip().splitlines() == [
        "keras-cnns: interrupted. Completed work is saved; add --resume to continue."
    ]
    killed = start_command(tmp_path, *COMMAND, "--resume")
    wait_for(lambda state: state.ended, tmp_path)
    kill_a_worker(killed.pid)
    wait_for(lambda state: state.deaths > 0, tmp_path)
    killed.kill()
    killed.join()
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--resume", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["trials"]) == 2
    events = [event for event, _ in journal.read()]
    counted = Counter((event["trial"], event["event"]) for event in events)
    assert {trial for trial, _ in counted} == {0, 1}
    for trial in range(2):
        assert [counted[trial, event] for event in ("candidate", "start", "epoch", "end")] == [1, 1, 3, 1]
    runs = Store(f"sqlite:///{tmp_path / 'mlflow.db'}").runs(experiment="sweep")
    assert sorted((run.tags["trial"], run.status, run.metrics["epochs"]) for run in runs) == [
        (str(trial), "finished", 3) for trial in range(2)
    ]
    assert main([*COMMAND, "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err
