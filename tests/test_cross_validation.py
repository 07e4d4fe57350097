"""Cross-validation: out-of-fold predictions, nested runs, resuming, and the networks as one ensemble."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from PIL import Image
from saved_networks import copy_store
from sklearn import metrics as reference

from keras_cnns import CrossValidation, Dataset, Recipe, cross_validate, evaluate, explain, load, predict, reproduce
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.data.folds import Folds, pool_images
from keras_cnns.data.pseudonyms import Pseudonyms
from keras_cnns.errors import EvaluationError, ReportError, ResumeError, SettingError, StoreError, TrainingError
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.cross_fitting import cross_fit
from keras_cnns.evaluation.ensemble import find_runs, load_ensemble
from keras_cnns.evaluation.fold_images import describe_shared_images
from keras_cnns.evaluation.operating_point import fit_operating_point
from keras_cnns.evaluation.out_of_fold import evaluate_out_of_fold
from keras_cnns.evaluation.run_network import load_run_network
from keras_cnns.tracking import Store
from keras_cnns.writing.facts import collect_facts
from keras_cnns.writing.lock import make_lock
from keras_cnns.writing.markdown import to_markdown
from keras_cnns.writing.report import ARTICLE, compose_documents
from keras_cnns.writing.stored_evaluation import restore_evaluation
from tests.processes import start_command

pytestmark = pytest.mark.xdist_group("ray")  # with the tests that start workers, so that one process makes the runs
FOLDS = 2
RECIPE = Recipe(epochs=2)
COMMAND = ("train", "lenet5", "--data", "halves.npz", "--epochs", "2")


@dataclass(frozen=True)
class Made:
    folder: Path
    data: Dataset
    result: CrossValidation
    predictions: tuple[np.ndarray, ...]


def save_halves(folder: Path) -> None:
    """Save the digits below 5 and those from 5 on as two classes, with a test split."""
    train = load("digits", image_size=28).splits["train"]
    parts = dict(zip(("train", "val", "test"), np.split(np.arange(600), [350, 450]), strict=True))
    arrays = {f"{name}_images": train.images[part] for name, part in parts.items()}
    labels = {f"{name}_labels": (train.labels[part] >= 5).astype(np.int64) for name, part in parts.items()}
    np.savez(folder / "halves.npz", **arrays, **labels)


def train_folds(folder: Path, **more: Any) -> CrossValidation:
    return cross_validate(
        "lenet5", str(folder / "halves.npz"), folds=FOLDS, recipe=RECIPE,
        tracking_uri=f"sqlite:///{folder}/mlflow.db", folder=folder / "runs", **more,
    )  # fmt: skip


def read_predictions(folder: Path) -> tuple[np.ndarray, ...]:
    """Return the out-of-fold predictions of each fold in the only cross-validation of a folder."""
    return tuple(np.load(path) for path in sorted(folder.glob("runs/*/folds/*/out_of_fold.npy")))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("folds")
    save_halves(folder)
    result = train_folds(folder)
    return Made(folder, load(str(folder / "halves.npz")), result, read_predictions(folder))


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with a copy of the store."""
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_cross_validation_shows_its_metrics_folds_and_files(made: Made) -> None:
    shown = repr(made.result)
    assert shown.startswith(f"cross-validation of lenet5 on halves.npz, {FOLDS} folds\nrun ")
    accuracy, interval = made.result.evaluation.overall.format("accuracy")
    for part in (made.result.run_id, accuracy, interval, "fold", str(made.result.folder), "report.html"):
        assert part in shown


def pooled_predictions(made: Made, table: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities and the fold of each image, given the table of folds."""
    labels = pool_images(made.data).training.labels
    folds = np.array([int(row["fold"]) for row in csv.DictReader(io.StringIO(table))])
    probabilities = np.empty((len(labels), 2))
    for index, of_fold in enumerate(made.predictions, start=1):
        probabilities[folds == index] = of_fold
    return labels, probabilities, folds


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the threshold with the highest balanced accuracy, by trying all; the nearest to 0.5 of equal ones."""
    values = np.unique(probabilities)
    candidates = (values[:-1] + values[1:]) / 2
    scores = [reference.balanced_accuracy_score(labels, probabilities >= candidate) for candidate in candidates]
    best = candidates[np.array(scores) >= max(scores) - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


@pytest.mark.slow
def test_metrics_equal_those_of_scikit_learn_on_the_pooled_predictions(made: Made) -> None:
    table = next(made.folder.glob("runs/*/folds.csv")).read_text("utf-8")
    labels, probabilities, folds = pooled_predictions(made, table)
    positive, evaluation = probabilities[:, 1], made.result.evaluation
    thresholds = np.empty(len(labels))
    for fold in range(1, FOLDS + 1):
        others = folds != fold
        thresholds[~others] = best_threshold(labels[others], positive[others])
    predicted = positive >= thresholds
    expected = {
        "auc": reference.roc_auc_score(labels, positive),
        "average_precision": reference.average_precision_score(labels, positive),
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "sensitivity": reference.recall_score(labels, predicted),
        "specificity": reference.recall_score(labels, predicted, pos_label=0),
        "f1": reference.f1_score(labels, predicted),
        "mcc": reference.matthews_corrcoef(labels, predicted),
        "brier": reference.brier_score_loss(labels, positive),
    }
    assert {name: evaluation.metrics[name] for name in expected} == pytest.approx(expected)
    assert {"auc", "accuracy"} <= set(evaluation.intervals)
    for fold, result in enumerate(evaluation.by["fold"].values(), start=1):
        own = folds == fold
        assert result.images == own.sum()
        assert result.metrics["auc"] == pytest.approx(reference.roc_auc_score(labels[own], positive[own]))
        assert result.metrics["accuracy"] == pytest.approx((predicted == labels)[own].mean())
    assert made.result.operating_point == fit_operating_point(labels, probabilities)
    assert evaluation.confusion_matrix.counts.sum() == len(labels)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(2, 5), labels=st.sampled_from([0, 3]))
def test_threshold_and_temperature_of_a_fold_do_not_depend_on_its_images(seed: int, count: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, (200, labels) if labels else 200)
    probability = 0.1 + 0.3 * truth + random.uniform(0, 0.5, truth.shape)
    probabilities = probability if labels else np.stack([1 - probability, probability], axis=1)
    groups = random.integers(0, 60, 200)
    folds = Folds(names=tuple(map(str, range(count))), assigned=groups % count, groups=groups)
    before, decisions = cross_fit(truth, probabilities, folds)
    own = folds.held_out(0)
    changed = truth.copy()
    changed[own[:9]] = 1 - truth[own[:9]]
    after, others = cross_fit(changed, probabilities, folds)
    np.testing.assert_array_equal(decisions[own], others[own])
    assert before.temperatures is not None
    assert after.temperatures is not None
    np.testing.assert_array_equal(before.temperatures[own], after.temperatures[own])
    assert len(np.unique(before.temperatures)) == count
    scaled = before.scale(probabilities, multi_label=bool(labels))
    (alone,) = np.unique(before.temperatures[own])
    np.testing.assert_allclose(scaled[own], apply_temperature(probabilities[own], alone, multi_label=bool(labels)))
    assert before.take(own).applied_temperature.shape == (len(own), 1)


def test_intervals_resample_patients_and_multi_label_data_has_metrics_of_each_label(made: Made) -> None:
    random = np.random.default_rng(0)
    patients = np.arange(120) // 3
    truth = random.integers(0, 2, (120, 2))
    split = Split(np.zeros((120, 8, 8, 1), np.uint8), truth, patients=patients.astype(str))
    pooled = replace(made.data, splits={"train": split}, class_names=("mass", "nodule"), positive=None)
    folds = Folds(names=("1", "2"), assigned=patients % 2, groups=patients)
    run = Store(f"sqlite:///{made.folder}/mlflow.db").runs()[0]
    probabilities = 0.2 * truth + random.uniform(0, 0.8, (120, 2))
    found = evaluate_out_of_fold(run, pooled, folds, probabilities, pseudonyms=Pseudonyms(b"key"))
    assert (found.grouped_by, found.groups) == ("patients", 40)
    assert list(found.by_label) == ["mass", "nodule"]
    assert list(found.by["fold"]) == ["1", "2"]
    cases = found.cases
    assert cases["fold"].tolist() == [str(patient % 2 + 1) for patient in patients]
    assert cases["patient"].str.startswith("P-").all()
    np.testing.assert_array_equal(found.predicted, cases[["predicted_mass", "predicted_nodule"]])
    assert any("whole patients" in note for note in found.notes)
    level = found.patient_level
    assert level is not None
    assert {name: result.images for name, result in level.results.items()} == {
        "mean": 40,
        "maximum": 40,
        "noisy-or": 40,
    }
    of_patients, maxima = (
        truth.reshape(40, 3, 2).max(axis=1),
        found.operating_point.scale(probabilities, multi_label=True),
    )
    expected = np.mean([
        reference.roc_auc_score(of_patients[:, label], maxima.reshape(40, 3, 2).max(axis=1)[:, label])
        for label in range(2) if 0 < of_patients[:, label].mean() < 1
    ])  # fmt: skip
    assert level.results["maximum"].metrics["auc"] == pytest.approx(expected)


@pytest.mark.slow
def test_one_parent_run_has_a_nested_run_for_each_fold(made: Made) -> None:
    store, client = Store(f"sqlite:///{made.folder}/mlflow.db"), MlflowClient(f"sqlite:///{made.folder}/mlflow.db")
    runs = sorted(store.runs(parent=made.result.run_id), key=lambda run: run.name)
    assert [run.name for run in runs] == [f"lenet5-fold-{fold}" for fold in (1, 2)]
    assert [run.id for run in runs] == [fold.run_id for fold in made.result.folds]
    parent = client.get_run(made.result.run_id).data
    assert parent.metrics["out_of_fold_auc"] == made.result.evaluation.metrics["auc"]
    assert parent.metrics["out_of_fold_auc_low"] == made.result.evaluation.intervals["auc"].low
    assert parent.metrics["threshold"] == made.result.operating_point["threshold"]
    assert (parent.params["folds"], parent.params["model"]) == ("2", "lenet5")
    assert store.read_file(made.result.run_id, "folds.csv")
    assert store.read_file(made.result.run_id, "evaluation/out_of_fold/report.html")
    images: list[set[str]] = []
    for run, by_fold in zip(runs, made.result.evaluation.by["fold"].values(), strict=True):
        assert (run.status, run.metrics["epochs"]) == ("finished", 2)
        assert run.metrics["out_of_fold_auc"] == by_fold.metrics["auc"]
        rows = list(csv.DictReader(io.StringIO(store.read_file(run.id, "splits.csv") or "")))
        assert {row["split"] for row in rows} == {"train", "validation", "test"}
        assert len({row["image"] for row in rows}) == len(rows) == 450
        images.append({row["image"] for row in rows if row["split"] == "test"})
    assert sum(map(len, images)) == len(set.union(*images)) == 450


@pytest.mark.slow
@pytest.mark.usefixtures("fresh", "quick_evaluations")
def test_the_networks_are_one_ensemble_at_the_pooled_operating_point(made: Made) -> None:
    parent, store, test = made.result.run_id, Store(), made.data.splits["test"]
    networks = [load_run_network(store, store.run(fold.run_id)) for fold in made.result.folds]
    held_out = pool_images(made.data).training
    for network, of_fold, number in zip(networks, made.predictions, "12", strict=True):
        table = csv.DictReader(io.StringIO(store.read_file(parent, "folds.csv") or ""))
        own = np.flatnonzero([row["fold"] == number for row in table])
        np.testing.assert_allclose(network.predict(held_out.images[own]).probabilities, of_fold, atol=1e-6)
    found = evaluate(parent[:12], made.data)
    mean = np.mean([network.predict(test.images).probabilities for network in networks], axis=0)
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-12)
    point = made.result.operating_point
    assert (found.operating_point.threshold, found.operating_point.temperature) == (
        point["threshold"], point["temperature"],
    )  # fmt: skip
    assert "out-of-fold" in found.operating_point.source
    assert (found.run_id, found.external) == (parent, False)
    assert store.read_file(parent, f"{found.artifact_path}/report.html")
    assert found.validation is not None
    assert found.validation.metrics["auc"] == made.result.evaluation.metrics["auc"]
    sensitive = evaluate(parent, made.data, at_sensitivity=0.9, confidence_level=0.9)
    assert sensitive.operating_point.threshold < point["threshold"]
    assert sensitive.answers is not None
    assert sensitive.answers.rule.images == 450
    assert any("calibrated on 450 out-of-fold predictions" in note for note in sensitive.notes)
    assert sensitive.unusual is not None
    assert sensitive.copies is not None
    Image.fromarray(test.images[0, ..., 0]).save("image.png")
    predictions = predict("cross-validation-lenet5", ["image.png"], confidence_level=0.9)
    assert predictions.sets is not None
    assert predictions.unusual is not None
    assert predictions.operating_point.threshold == point["threshold"]
    np.testing.assert_allclose(predictions.probabilities, apply_temperature(mean[:1], point["temperature"]), atol=1e-6)
    alone = [explain(fold.run_id, ["image.png"], class_name="1").heatmaps for fold in made.result.folds]
    together = explain(parent, ["image.png"], class_name="1", sanity_check=True)
    average = np.mean(alone, axis=0)
    np.testing.assert_allclose(together.heatmaps, average / average.max(), atol=1e-5)
    assert (together.run_id, together.probabilities[0]) == (parent, pytest.approx(predictions.probabilities[0, 1]))
    assert together.sanity_check is not None
    assert any("mean of those of 2 networks" in note for note in together.notes)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh", "quick_evaluations")
def test_the_ensemble_is_never_evaluated_on_its_own_training_images(made: Made) -> None:
    parent, without_test = made.result.run_id, {name: made.data.splits[name] for name in ("train", "validation")}
    for reference_ in (parent, made.result.folds[0].run_id):
        with pytest.raises(EvaluationError, match=r"out_of_fold_auc.* such as --split test"):
            evaluate(reference_, made.data, split="validation")
    other_splits = replace(made.data, splits={"validation": made.data.splits["train"]})
    for split in ("validation", "all"):
        with pytest.raises(EvaluationError, match="350 of 350 images are those of cross-validation"):
            evaluate(parent, other_splits, split=split)
    data = replace(made.data, splits=without_test)
    with pytest.raises((EvaluationError, ValueError), match="test split"):
        evaluate(parent, data)
    store = Store()
    ensemble = load_ensemble(store, *find_runs(store, parent))
    images = np.concatenate([made.data.splits[name].images[:40] for name in ("test", "validation", "test", "test")])
    notes = describe_shared_images(store, ensemble, images, "mixed")
    assert notes == [f"40 of 160 images are exact copies of images of cross-validation {parent}."]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh", "quick_evaluations")
def test_a_name_of_several_cross_validations_needs_an_id(made: Made) -> None:
    store, first = Store(), made.result.folds[0]
    client = MlflowClient(store.uri)
    experiment = client.get_run(first.run_id).info.experiment_id
    client.create_run(experiment, tags={**store.run(first.run_id).tags, "cross_validation": "0" * 32})
    with pytest.raises(StoreError, match="matches 2 cross-validations; use an ID: 00000000"):
        evaluate("cross-validation-lenet5", made.data)


@pytest.mark.exhaustive
def test_a_killed_cross_validation_is_resumed_and_trains_nothing_twice(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(made.folder / "halves.npz", tmp_path)
    command = (*COMMAND, "--folds", str(FOLDS), "--cores", "1")
    process = start_command(tmp_path, *command)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/folds/02/epoch-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    monkeypatch.chdir(tmp_path)
    (first,) = tmp_path.glob("runs/*/folds/01/out_of_fold.npy")
    assert not list(tmp_path.glob("runs/*/folds/02/finished"))
    trained_at = first.stat().st_mtime_ns
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/cross_validation.json"))
    with pytest.raises(EvaluationError, match=r"not finished \(1 of 2 folds are trained\); .* --resume"):
        evaluate(record["run_id"], made.data)
    assert main([*command, "--resume", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["run_id"] == record["run_id"]
    assert first.stat().st_mtime_ns == trained_at
    for resumed, uninterrupted in zip(read_predictions(tmp_path), made.predictions, strict=True):
        np.testing.assert_array_equal(resumed, uninterrupted)
    assert printed["out_of_fold"]["metrics"] == dict(made.result.evaluation.metrics)
    store, client = Store(), MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = store.runs()
    assert sorted(run.name for run in runs) == [f"lenet5-fold-{fold}" for fold in (1, 2)]
    for run in runs:
        assert sorted(point.step for point in client.get_metric_history(run.id, "val_loss")) == [1, 2]
        assert len(client.get_run(run.id).outputs.model_outputs) == 1
    assert main([*command, "--resume"]) == 2
    assert "is finished, as run" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.usefixtures("own_ray")
def test_folds_in_worker_processes_give_the_same_result(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tuning
    from tuning.running.cluster import ClusterConfig

    shutil.copy(made.folder / "halves.npz", tmp_path)
    monkeypatch.setattr(ClusterConfig, "count_trial_slots", lambda _: 2)
    options: Mapping[str, Any] = {
        "folds": FOLDS, "cores": 2, "cores_per_trial": 1, "folder": tmp_path / "runs",
        "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
    }  # fmt: skip
    result = tuning.cross_validate("lenet5", str(tmp_path / "halves.npz"), recipe=RECIPE, **options)
    for parallel, one_by_one in zip(read_predictions(tmp_path), made.predictions, strict=True):
        np.testing.assert_array_equal(parallel, one_by_one)
    assert result.evaluation.metrics == made.result.evaluation.metrics
    assert result.evaluation.intervals == made.result.evaluation.intervals
    runs = Store(f"sqlite:///{tmp_path}/mlflow.db").runs()
    assert [(run.status, run.metrics["epochs"]) for run in runs] == [("finished", 2)] * FOLDS


@pytest.mark.slow
@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize("ending", ["dies once", "raises"])
def test_a_fold_is_trained_again_if_its_process_dies_and_fails_if_its_training_does(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    from tuning import cross_validation
    from tuning.running import folds
    from tuning.running.cluster import ClusterConfig

    finished = next(made.folder.glob("runs/*"))

    def stub(*arguments: Any, deaths: int, **more: Any) -> None:  # noqa: ARG001
        folder = arguments[-1]
        if ending == "raises":
            raise TrainingError("the loss is not finite; try a learning_rate below 1")
        if deaths == 0 and folder.name == "01":
            os._exit(1)
        for path in sorted((finished / "folds" / folder.name).iterdir()):  # each complete at once, as in a training
            copied = folder.parent / f".copy-{folder.name}-{path.name}"
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copied)
            copied.replace(folder / path.name)

    monkeypatch.setattr(folds, "run_fold", stub)
    monkeypatch.setattr(ClusterConfig, "count_trial_slots", lambda _: 2)
    shutil.copy(made.folder / "halves.npz", tmp_path)
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    arguments: dict[str, Any] = {
        "folds": FOLDS, "recipe": RECIPE, "cores": 2, "folder": tmp_path / "runs",
        "tracking_uri": store.uri,
    }  # fmt: skip
    if ending == "raises":
        with pytest.raises(TrainingError, match="learning_rate below 1"):
            cross_validation.cross_validate("lenet5", str(tmp_path / "halves.npz"), **arguments)
        assert {run.status for run in store.runs()} == {"failed"}
        return
    found = cross_validation.cross_validate("lenet5", str(tmp_path / "halves.npz"), **arguments)
    assert found.evaluation.metrics == made.result.evaluation.metrics
    assert {run.status for run in store.runs()} == {"finished"}


def test_options_that_exclude_each_other_are_reported_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (("--folds", "3", "--fold", "1/3"), "--fold trains one fold and --folds all of them"),
        (("--folds", "3", "--test"), "--test is not possible with --folds"),
        (("--fold-by", "site"), "--fold-by site (fold_by='site'): digits has no such column; it has none."),
        (("--folds", "300"), "300 folds are not possible; use 2 to 100"),
        (("--cores", "1"), "--cores is for a cross-validation; add --folds 5"),
    ):
        assert main(("train", "lenet5", *options)) == 2
        error = capfd.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_nothing_to_resume_and_an_impossible_monitor_are_errors(digits: Dataset, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "folder": tmp_path, "folds": 2}
    with pytest.raises(ResumeError, match="no unfinished cross-validation of lenet5"):
        cross_validate("lenet5", digits, resume=True, **arguments)
    train = digits.splits["train"]
    rare = np.concatenate([np.flatnonzero(train.labels != 9)[:200], np.flatnonzero(train.labels == 9)[:4]])
    few = replace(digits, splits={"train": train.take(rare)})
    with pytest.raises(SettingError, match="monitor='val_accuracy'"):
        cross_validate("lenet5", few, recipe=Recipe(monitor="val_auc"), **arguments)
    assert not list(tmp_path.glob("cross-validation-*"))


@pytest.mark.usefixtures("fresh", "quick_evaluations")
def test_a_cross_validation_is_written_up(made: Made) -> None:
    facts, parent = collect_facts(Store(), made.result.run_id), made.result.run_id
    article = to_markdown(compose_documents(facts, ("evaluation",))[ARTICLE]).replace("\\", "")
    assert "cross-validated together, with 2 folds" in article
    assert f"On the {len(made.result.evaluation.labels)} images, each predicted by the network" in article
    assert f"{made.result.evaluation.metrics['auc']:.3f}" in article
    assert "chosen for each fold on the out-of-fold predictions of the other folds" in article
    assert facts["run"]["id"] == parent
    drawn = restore_evaluation(Store(), parent, facts["evaluation"])
    assert drawn is not None
    np.testing.assert_array_equal(drawn.probabilities, made.result.evaluation.probabilities)
    np.testing.assert_array_equal(drawn.predicted, made.result.evaluation.predicted)
    Path("lock.json").write_text(json.dumps(make_lock(facts)))
    with pytest.raises(ReportError, match="is a cross-validation"):
        reproduce("lock.json")
