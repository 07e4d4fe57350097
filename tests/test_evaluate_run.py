"""Evaluation and prediction of a trained run: metrics, report, counts of test-set evaluations, error messages."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_networks import copy_store
from sklearn import metrics as reference

from keras_cnns import Dataset, Recipe, evaluate, load, predict, train
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import DataError, EvaluationError, StoreError
from keras_cnns.evaluation import metrics
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.confusion import ConfusionMatrix
from keras_cnns.evaluation.metric import Metric
from keras_cnns.evaluation.metrics import METRICS
from keras_cnns.evaluation.run_network import load_run_network
from keras_cnns.tracking import EvaluationCounts, Store
from keras_cnns.training.run import TrainedRun
from tests.progress_lines import without_progress


@dataclass(frozen=True)
class Made:
    """A store with a run that classifies digits as below five or not."""

    folder: Path
    uri: str
    source: Path
    data: Dataset
    trained: TrainedRun

    @property
    def id(self) -> str:
        return self.trained.run_id


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("evaluated")
    digits = load("digits", image_size=28)
    images = np.concatenate([digits.splits[name].images for name in ("train", "validation")])[..., 0]
    labels = (np.concatenate([digits.splits[name].labels for name in ("train", "validation")]) >= 5).astype(np.int64)
    source = folder / "halves.npz"
    parts = np.split(np.arange(len(labels)), [600, 900, 1300])
    names = ("train", "val", "test")
    np.savez(source, **{f"{name}_images": images[part] for name, part in zip(names, parts, strict=False)},
             **{f"{name}_labels": labels[part] for name, part in zip(names, parts, strict=False)})  # fmt: skip
    uri = f"sqlite:///{folder}/mlflow.db"
    data = load(source)
    trained = train("lenet5", data, recipe=Recipe(epochs=2, batch_size=32), tracking_uri=uri, folder=folder / "runs")
    return Made(folder, uri, source, data, trained)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the store and nothing else."""
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """Collects the text of a page and the addresses that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))


def test_training_stores_the_operating_point_of_the_validation_images(made: Made) -> None:
    run = Store(made.uri).run(made.id)
    network = load_run_network(Store(made.uri), run)
    validation = made.data.splits["validation"]
    probabilities = network.predict(validation.images).probabilities
    assert made.trained.operating_point == {name: run.metrics[name] for name in ("threshold", "temperature")}
    false_positive_rate, true_positive_rate, _ = reference.roc_curve(validation.labels, probabilities[:, 1])
    predicted = probabilities[:, 1] >= run.metrics["threshold"]
    youden = predicted[validation.labels == 1].mean() - predicted[validation.labels == 0].mean()
    assert youden == pytest.approx((true_positive_rate - false_positive_rate).max())
    assert network.class_names == made.data.class_names
    assert network.image_shape == (28, 28, 1)


@pytest.mark.usefixtures("quick_evaluations")
def test_an_evaluation_is_computed_counted_and_stored(made: Made, fresh: Path) -> None:
    uri = f"sqlite:///{fresh}/mlflow.db"
    before = Store(uri).run(made.id)
    assert not any(name.startswith("test_") for name in before.metrics)
    found = evaluate(made.id, made.data, tracking_uri=uri)
    test = made.data.splits["test"]
    expected = made.trained.best_model.predict(test.images.astype("float32"), verbose=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    positive, predicted = found.probabilities[:, 1], found.probabilities[:, 1] >= before.metrics["threshold"]
    assert found.metrics["auc"] == pytest.approx(reference.roc_auc_score(test.labels, positive), abs=1e-9)
    assert found.metrics["sensitivity"] == pytest.approx(reference.recall_score(test.labels, predicted), abs=1e-9)
    assert found.metrics["accuracy"] == pytest.approx(reference.accuracy_score(test.labels, predicted), abs=1e-9)
    assert found.test_set_evaluations == EvaluationCounts(by_run=1, total=1, runs=1)
    kept = ConfusionMatrix.from_dict(
        json.loads(Store(uri).read_file(made.id, "evaluation/test/evaluation.json") or "")["confusion"]
    )
    np.testing.assert_array_equal(kept.counts, reference.confusion_matrix(test.labels, predicted))
    assert kept.class_names == found.class_names
    assert Store(uri).read_file(made.id, "evaluation/validation/evaluation.json") is None

    after = Store(uri).run(made.id)
    assert after.status == "finished"
    for name, interval in found.intervals.items():
        kept = [after.metrics[f"test_{name}{end}"] for end in ("_low", "", "_high")]
        assert kept == [interval.low, found.metrics[name], interval.high]
    assert not any(name.startswith("test_set_evaluations") for name in after.metrics)

    again = evaluate(made.id, made.data, tracking_uri=uri)
    assert (again.metrics, again.intervals) == (found.metrics, found.intervals)
    assert again.test_set_evaluations == EvaluationCounts(by_run=2, total=2, runs=1)
    assert evaluate(made.id, made.data, split="validation", tracking_uri=uri).test_set_evaluations is None


def test_the_report_loads_nothing_else(made: Made, fresh: Path) -> None:
    names = ("<b>low</b>", "high & higher")
    data = replace(made.data, class_names=names)
    found = evaluate(
        made.id,
        data,
        class_map=dict(zip(names, "01", strict=True)),
        tracking_uri=f"sqlite:///{fresh}/mlflow.db",
        report=fresh / "result.html",
    )
    kept = Path(found.report_folder)
    assert kept.is_relative_to(fresh / "mlartifacts"), "next to the store, even if it was moved"
    text = (fresh / "result.html").read_text(encoding="utf-8")
    assert text == (kept / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"url\((?!#)|@import", text)
    page = Page(text)
    assert len(page.addresses) == 24, "12 images with heatmaps"
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    for part in (made.id, data.fingerprint, "First evaluation on this test set", "sensitivity",
                 f"{found.metrics['auc']:.4f}", "external dataset", "<b>low</b> = 0, high & higher = 1",
                 f"{found.operating_point.scaled_threshold:.4f}"):  # fmt: skip
        assert part in page.text
    assert "<b>low" not in text
    for plots in (fresh / "result.png", kept / "report.png"):
        with Image.open(plots) as image:
            assert min(image.size) > 800
    assert {
        name for name in Store(f"sqlite:///{fresh}/mlflow.db").run(made.id).metrics if name.endswith("test_auc")
    } == {"external_test_auc"}


@pytest.mark.usefixtures("quick_evaluations")
def test_test_set_evaluations_are_counted_over_all_runs_and_processes(made: Made, fresh: Path) -> None:
    uri = f"sqlite:///{fresh}/mlflow.db"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: store.count_test_set_evaluation(made.id, "f00d"), [Store(uri) for _ in range(12)]))
    trained = train("lenet5", made.data, recipe=Recipe(epochs=1), test=True, experiment="more", tracking_uri=uri)
    assert Store(uri).count_test_set_evaluation(made.id, "f00d") == EvaluationCounts(by_run=13, total=13, runs=1)
    assert set(trained.test) == {"test_loss", "test_accuracy", "test_auc"}
    found = evaluate(made.id, made.data, tracking_uri=uri)
    assert found.test_set_evaluations == EvaluationCounts(by_run=1, total=2, runs=2), "train --test counts too"
    with pytest.raises(StoreError, match="'lenet5' matches 2 runs"):
        Store(uri).run("lenet5")


@pytest.mark.usefixtures("quick_evaluations")
def test_another_machine_needs_only_the_store(made: Made, fresh: Path) -> None:
    shutil.copyfile(made.source, fresh / "halves.npz")
    original = made.folder.with_name("moved away")
    made.folder.rename(original)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "keras_cnns", "evaluate", made.id[:8], "--data", "halves.npz", "--json"],
            cwd=fresh, capture_output=True, text=True, check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")},
        )  # fmt: skip
    finally:
        original.rename(made.folder)
    assert (done.returncode, without_progress(done.stderr)) == (0, "")
    found = json.loads(done.stdout)
    assert found["test_set_evaluations"] == {"by_run": 1, "total": 1, "runs": 1}
    assert Path(found["report"], "report.html").is_file()
    low, high = found["intervals"]["auc"]
    assert low <= found["metrics"]["auc"] <= high


@pytest.mark.usefixtures("quick_evaluations")
def test_groups_reordered_classes_and_missing_classes(made: Made, fresh: Path) -> None:
    uri = f"sqlite:///{fresh}/mlflow.db"
    test = made.data.splits["test"]
    plain = evaluate(made.id, made.data, tracking_uri=uri)
    grouped = evaluate(made.id, made.data, tracking_uri=uri, groups=np.arange(len(test)) // 4)
    assert (grouped.metrics, grouped.groups) == (plain.metrics, 100)
    assert grouped.intervals != plain.intervals
    assert any("assume that images are independent" in note for note in plain.notes)
    assert not any("assume that images are independent" in note for note in grouped.notes)
    with pytest.raises(EvaluationError, match="one group for each image"):
        evaluate(made.id, made.data, tracking_uri=uri, groups=np.arange(3))

    swapped = replace(made.data, class_names=("1", "0"), splits={"test": Split(test.images, 1 - test.labels)})
    assert evaluate(made.id, swapped, tracking_uri=uri).metrics == plain.metrics
    ones = Split(test.images[test.labels == 1], test.labels[test.labels == 1])
    one_class = evaluate(made.id, replace(made.data, splits={"test": ones}), tracking_uri=uri)
    assert "auc" not in one_class.metrics
    assert "sensitivity" in one_class.metrics
    single = replace(made.data, splits={"test": Split(test.images[:1], test.labels[:1])})
    assert evaluate(made.id, single, tracking_uri=uri).intervals == {}
    seen = replace(made.data, splits={**made.data.splits, "test": made.data.splits["train"]})
    assert any("600 of 600" in note for note in evaluate(made.id, seen, tracking_uri=uri).notes)


@pytest.mark.usefixtures("quick_evaluations")
def test_a_run_with_many_classes_is_evaluated(fresh: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trained = train("lenet5", load("digits", image_size=28), recipe=Recipe(epochs=1), experiment="ten", seed=3)
    assert set(trained.operating_point) == {"temperature"}
    capfd.readouterr()
    assert main(("evaluate", trained.run_id, "--image-size", "28", "--split", "validation")) == 0
    out, err = capfd.readouterr()
    assert without_progress(err) == ""
    for part in ("balanced accuracy", "0.9", " to ", "too optimistic for new images", "the most probable class"):
        assert part in out
    metrics = Store(f"sqlite:///{fresh}/mlflow.db").run(trained.run_id).metrics
    assert metrics["validation_accuracy"] == pytest.approx(metrics["val_accuracy"])
    assert metrics["validation_auc"] == pytest.approx(metrics["val_auc"])


def save_images(made: Made) -> list[np.ndarray]:
    images = [image[..., 0] for image in made.data.splits["test"].images[:3]]
    Path("images/inner").mkdir(parents=True)
    for name, image in zip(("a.png", "b.bmp", "inner/c.png"), images, strict=True):
        Image.fromarray(image).save(Path("images", name))
    return images


def test_images_are_predicted_as_csv_and_json(made: Made, fresh: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = save_images(made)
    Image.fromarray(images[0]).convert("RGB").resize((60, 50)).save("large.jpg")
    assert main(("predict", made.id[:6], "images", "large.jpg")) == 0
    out, err = capfd.readouterr()
    assert without_progress(err).startswith(
        "1 of 4 images have another aspect ratio than the image size and were padded"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"] for row in rows] == ["images/a.png", "images/b.bmp", "images/inner/c.png", "large.jpg"]
    assert list(rows[0]) == ["file", "predicted", "0", "1", "threshold 1", "out of distribution"]
    expected = made.trained.best_model.predict(np.stack(images).astype("float32")[..., np.newaxis], verbose=0)
    calibrated = apply_temperature(expected, made.trained.operating_point["temperature"])
    for row, probability, shown in zip(rows, expected, calibrated, strict=False):
        assert float(row["1"]) == pytest.approx(shown[1], abs=1e-5)
        assert row["predicted"] == str(int(probability[1] >= made.trained.operating_point["threshold"]))
        assert row["predicted"] == str(int(float(row["1"]) >= float(row["threshold 1"])))
    assert main(("predict", "lenet5", "images/a.png", "--json")) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert found["file"] == "images/a.png"
    assert found["probabilities"]["1"] == pytest.approx(calibrated[0, 1], abs=1e-5)
    assert found["thresholds"] == {"1": pytest.approx(float(rows[0]["threshold 1"]))}
    assert predict("lenet5", [fresh / "images"]).probabilities.shape == (3, 2)


def test_a_broken_file_is_named_and_does_not_prevent_other_predictions(
    made: Made, fresh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_images(made)
    Path("images/b.bmp").write_bytes(b"BM no image")
    assert main(("predict", "lenet5", "images")) == 2
    out, err = capfd.readouterr()
    err = without_progress(err)
    assert [row["file"] for row in csv.DictReader(io.StringIO(out))] == ["images/a.png", "images/inner/c.png"]
    assert err.startswith("keras-cnns: 1 of 3 files cannot be read and have no prediction: images/b.bmp: ")
    assert err.count("\n") == 1
    assert main(("predict", "lenet5", "images", "--skip-broken")) == 0
    assert without_progress(capfd.readouterr().err).startswith("skipped images/b.bmp: ")
    assert [file.file for file in predict("lenet5", [fresh / "images"]).broken] == [str(fresh / "images" / "b.bmp")]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("evaluate", "nobody", "--data", "halves.npz"), ["no run 'nobody'", "(lenet5)"]),
        (("evaluate", "lenet5", "--data", "digits"), ["no test split", "--split validation"]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--split", "train"), ["'train'", "test, or validation"]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--split", "tset"), ["Did you mean 'test'"]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--image-size", "32", "--channels", "3"),
         ["32x32x3", "28x28x1", "--image-size 28", "--channels 1"]),
        (("evaluate", "lenet5", "--data", "digits", "--image-size", "28", "--split", "validation"),
         ["2, 3, 4, 5, 6, 7, 8, 9 cannot be matched", "the classes are 0, 1, 2", "--class-map 2="]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--class-map", "2=1"), ["halves.npz has no class '2'"]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--class-map", "1"), ["--class-map 1: write DATASET_CLASS="]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--positive", "2"), ["no class '2'", "choose 0 or 1"]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--report", "result.txt"), ["result.txt", ".html"]),
        (("evaluate", "lenet5", "--data", "halves.npz", "--report", "nowhere/r.html"), ["nowhere/r.html", "folder"]),
        (("evaluate", "lenet5", "--data", "nowhere.npz"), ["nowhere.npz", "does not exist"]),
        (("evaluate", "lenet5", "--tracking-uri", "sqlite:///none.db"), ["none.db", "keras-cnns train"]),
        (("predict", "nobody", "images/a.png"), ["no run 'nobody'"]),
        (("predict", "lenet5", "broken.png"), ["broken.png", "fix or remove"]),
        (("predict", "lenet5", "missing.png"), ["missing.png", "does not exist"]),
        (("predict", "lenet5", "empty"), ["empty", "no images"]),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line_and_not_counted(
    arguments: tuple[str, ...], parts: list[str], made: Made, fresh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(made.source, "halves.npz")
    save_images(made)
    Path("broken.png").write_bytes(b"\x89PNG\r\n")
    Path("empty").mkdir()
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    err = without_progress(err)
    assert out == ""
    assert err.startswith("keras-cnns: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    store, fingerprint = Store(f"sqlite:///{fresh}/mlflow.db"), made.data.splits["test"].fingerprint
    assert store.count_test_set_evaluation(made.id, fingerprint).by_run == 1


def test_a_metric_that_cannot_be_computed_ends_an_evaluation_before_it_is_counted(
    made: Made, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Metric(name="broken", title="broken", description="", function=lambda outcomes: outcomes.weights)
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, broken))
    metrics.all_metrics.cache_clear()
    store = Store(f"sqlite:///{fresh}/mlflow.db")
    before = store.run(made.id).metrics
    try:
        with pytest.raises(EvaluationError, match="metric broken: its function returns an array of shape"):
            evaluate(made.id, made.data)
    finally:
        metrics.all_metrics.cache_clear()
    assert store.run(made.id).metrics == before
    assert store.count_test_set_evaluation(made.id, made.data.splits["test"].fingerprint).by_run == 1


def test_a_run_without_a_network_is_reported(made: Made, fresh: Path) -> None:
    store = Store(f"sqlite:///{fresh}/mlflow.db")
    unfinished = store.start_group("g", experiment="e", params={}, tags={})
    with pytest.raises(StoreError, match="has no saved network"):
        store.fetch_network(unfinished, fresh)
    with pytest.raises(DataError, match="no test split"):
        evaluate(made.id, replace(made.data, splits={"train": made.data.splits["train"]}))
    (file,) = fresh.glob("mlartifacts/models/*/artifacts/data/model.keras")
    file.write_bytes(b"PK\x03\x04 no network")
    with pytest.raises(EvaluationError, match=f"run {made.id}: its network cannot be loaded"):
        evaluate(made.id, made.data)
