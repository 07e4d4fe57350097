"""Several labels an image: means over the labels of what scikit-learn says of each, and a run of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept import fitted, keep
from networks import small
from PIL import Image
from sklearn import metrics as reference

from keras_cnns import Dataset, evaluate, explain, predict
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation import scores
from keras_cnns.evaluation.calibration import (
    choose_threshold,
    fit_temperature,
    settled_by_validation,
    two_answers,
    with_temperature,
)
from keras_cnns.evaluation.intervals import intervals
from keras_cnns.evaluation.metrics import decide, measure, measures_of
from keras_cnns.evaluation.network import gives_labels
from keras_cnns.tracking import Store

CLOSE = 1e-9
HEADS = {"auxiliary_classifiers": True, "modules": (1, 2, 1), "auxiliary_after": (2, 3)}


def drawn(images: int, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = (generator.random((images, labels)) < generator.random(labels)).astype(np.int64)
    return truth, np.clip(np.round(generator.random((images, labels)) * 0.7 + truth * 0.3, 2), 1e-3, 1 - 1e-3)


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 30), labels=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
def test_metrics_are_means_of_scikit_learns(images: int, labels: int, seed: int) -> None:
    truth, probabilities = drawn(images, labels, seed)
    thresholds = tuple(np.random.default_rng(seed).uniform(0.2, 0.8, labels).tolist())
    taken = (probabilities >= np.array(thresholds)).astype(int)
    found = measure(truth, probabilities, threshold=thresholds)
    each = range(labels)
    both = [label for label in each if 0 < truth[:, label].sum() < images]
    some = [label for label in each if truth[:, label].any()]
    expected = {
        "accuracy": np.mean([reference.accuracy_score(truth[:, label], taken[:, label]) for label in each]),
        "brier": np.mean(
            [reference.brier_score_loss(truth[:, label], probabilities[:, label], pos_label=1) for label in each]
        ),
    }
    if some:
        expected["sensitivity"] = np.mean([reference.recall_score(truth[:, label], taken[:, label]) for label in some])
    if both:
        expected["auc"] = np.mean([reference.roc_auc_score(truth[:, label], probabilities[:, label]) for label in both])
    for name, value in expected.items():
        assert abs(found[name] - value) < CLOSE, name
    assert ("auc" in found) == bool(both)
    followed = scores(truth, probabilities)
    loss = np.mean([reference.log_loss(truth[:, label], probabilities[:, label], labels=[0, 1]) for label in each])
    assert abs(followed["loss"] - loss) < CLOSE
    assert abs(followed["accuracy"] - np.mean((probabilities >= 0.5) == truth)) < CLOSE
    assert followed.get("auc") == pytest.approx(expected.get("auc"), abs=CLOSE)


def test_two_labels_are_not_two_classes() -> None:
    truth, probabilities = drawn(50, 2, 0)
    assert decide(probabilities, (0.5, 0.5)).shape == (50, 2)
    assert decide(probabilities, 0.5).shape == (50,)
    assert measure(truth, probabilities) == measure(truth, probabilities, threshold=(0.5, 0.5))
    one = measure(truth[:, 0], two_answers(probabilities[:, 0]))
    other = measure(truth[:, 1], two_answers(probabilities[:, 1]))
    assert measure(truth, probabilities)["ece"] == pytest.approx((one["ece"] + other["ece"]) / 2)


def test_intervals_hold_the_means() -> None:
    truth, probabilities = drawn(150, 3, 1)
    found = intervals(measures_of(truth, probabilities, temperature=1.5), 150, resamples=400)
    values = measure(truth, probabilities, temperature=1.5)
    assert set(found) == set(values)
    assert found["auc"].low < values["auc"] < found["auc"].high


def test_validation_settles_a_threshold_a_label_and_one_temperature() -> None:
    truth, probabilities = drawn(300, 3, 2)
    truth[:, 1] = 0
    settled = settled_by_validation(truth, probabilities)
    assert set(settled) == {"threshold_0", "threshold_2", "temperature"}
    assert settled["threshold_2"] == choose_threshold(truth[:, 2], two_answers(probabilities[:, 2]))
    assert settled["temperature"] == fit_temperature(truth.ravel(), two_answers(probabilities.ravel()))
    scaled = with_temperature(probabilities, 2.0, multi_label=True)
    odds = np.log(probabilities / (1 - probabilities))
    np.testing.assert_allclose(np.log(scaled / (1 - scaled)), odds / 2, atol=1e-9)


NAMES = ("left", "right", "never")


def halves(count: int, seed: int) -> Split:
    """Images whose left half, right half, both or none are bright."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (count, 2))
    pixels = generator.integers(0, 140, (count, 12, 12, 1))
    pixels[:, :, :6, 0] += 60 * labels[:, 0, None, None]
    pixels[:, :, 6:, 0] += 60 * labels[:, 1, None, None]
    return Split(pixels.astype(np.uint8), np.concatenate([labels, np.zeros((count, 1), int)], axis=1))


@pytest.fixture(scope="module")
def data() -> Dataset:
    splits = {name: halves(count, seed) for seed, (name, count) in enumerate(
        {"train": 300, "validation": 100, "test": 120}.items())}  # fmt: skip
    return Dataset(name="halves", source="halves", splits=splits, class_names=NAMES)


@pytest.fixture(scope="module")
def uri(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('labels')}/mlflow.db"
    keep(Store(uri), fitted(data, epochs=5, activation="sigmoid"), data, name="labels")
    return uri


def test_a_run_of_labels_is_measured(data: Dataset, uri: str, tmp_path: Path) -> None:
    found = evaluate("labels", data, tracking_uri=uri, report=tmp_path / "labels.html")
    test = data.splits["test"].labels
    assert found.multi_label
    assert not np.allclose(found.probabilities.sum(axis=1), 1), "labels do not share one probability"
    each = [reference.roc_auc_score(test[:, label], found.probabilities[:, label]) for label in (0, 1)]
    assert found.metrics["auc"] == pytest.approx(np.mean(each), abs=CLOSE)
    assert found.by_label["right"].metrics["auc"] == pytest.approx(each[1], abs=CLOSE)
    assert "auc" not in found.by_label["never"].metrics
    run = Store(uri).run("labels")
    assert found.threshold == (run.metrics["threshold_0"], run.metrics["threshold_1"], 0.5)
    assert run.metrics["test_label_right_auc"] == found.by_label["right"].metrics["auc"]
    assert any("no threshold from validation images for never" in note for note in found.notes)
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert "By label" in page
    assert "mean over labels" in page


def test_a_run_of_labels_predicts_and_explains(
    data: Dataset, uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = data.splits["test"]
    files = []
    for place in range(6):
        files.append(tmp_path / f"{place}.png")
        Image.fromarray(test.images[place, ..., 0]).save(files[-1])
    found = predict("labels", files, tracking_uri=uri)
    assert found.classes.shape == (6, 3)
    command = ("predict", "labels", *map(str, files), "--tracking-uri", uri)
    assert main(command) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [row["predicted"] for row in rows] == [";".join(names) for names in found.names]
    assert main((*command, "--json")) == 0
    assert [image["predicted"] for image in json.loads(capfd.readouterr().out)] == list(map(list, found.names))
    explained = explain("labels", files, class_name="left", tracking_uri=uri)
    np.testing.assert_allclose(explained.probabilities, found.calibrated[:, 0])


def test_labels_are_known_by_the_sigmoid_that_the_main_output_has() -> None:
    for activation, labels in (("sigmoid", True), ("softmax", False)):
        network = small("googlenet", classifier_activation=activation, side=96, **HEADS)
        assert network.layers[-1].name == "main_output", "auxiliary classifiers come between"
        assert gives_labels(network) == labels


def test_classes_and_labels_do_not_fit(data: Dataset, uri: str) -> None:
    one_class = {name: Split(split.images, split.labels[:, 0]) for name, split in data.splits.items()}
    with pytest.raises(EvaluationError, match=r"has one class and the network of run .* gives labels"):
        evaluate("labels", Dataset(name="d", source="d", splits=one_class, class_names=NAMES), tracking_uri=uri)
