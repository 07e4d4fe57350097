"""Multi-label classification: metrics, operating point, and a run that is evaluated, predicted and explained."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from saved_networks import save_run, train_network
from sklearn import metrics as reference

from keras_cnns import Dataset, evaluate, explain, predict
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.calibration import apply_temperature, binary_probabilities, fit_temperature
from keras_cnns.evaluation.intervals import bootstrap_intervals
from keras_cnns.evaluation.metrics import compute_metrics, compute_scores, make_weighted_metrics
from keras_cnns.evaluation.operating_point import choose_threshold, fit_operating_point, predict_classes
from keras_cnns.evaluation.run_network import is_multi_label
from keras_cnns.testing.small_networks import build_small
from keras_cnns.tracking import Store

CLOSE = 1e-9
HEADS = {"auxiliary_classifiers": True, "modules": (1, 2, 1), "auxiliary_after": (2, 3)}


def draw_predictions(images: int, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = (generator.random((images, labels)) < generator.random(labels)).astype(np.int64)
    return truth, np.clip(np.round(generator.random((images, labels)) * 0.7 + truth * 0.3, 2), 1e-3, 1 - 1e-3)


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 30), labels=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
def test_metrics_equal_the_means_of_scikit_learn_over_labels(images: int, labels: int, seed: int) -> None:
    truth, probabilities = draw_predictions(images, labels, seed)
    thresholds = tuple(np.random.default_rng(seed).uniform(0.2, 0.8, labels).tolist())
    predicted = (probabilities >= np.array(thresholds)).astype(int)
    found = compute_metrics(truth, probabilities, threshold=thresholds)
    each = range(labels)
    both = [label for label in each if 0 < truth[:, label].sum() < images]
    some = [label for label in each if truth[:, label].any()]
    expected = {
        "accuracy": np.mean([reference.accuracy_score(truth[:, label], predicted[:, label]) for label in each]),
        "brier": np.mean(
            [reference.brier_score_loss(truth[:, label], probabilities[:, label], pos_label=1) for label in each]
        ),
    }
    if some:
        expected["sensitivity"] = np.mean(
            [reference.recall_score(truth[:, label], predicted[:, label]) for label in some]
        )
    if both:
        expected["auc"] = np.mean([reference.roc_auc_score(truth[:, label], probabilities[:, label]) for label in both])
    for name, value in expected.items():
        assert abs(found[name] - value) < CLOSE, name
    assert ("auc" in found) == bool(both)
    monitored = compute_scores(truth, probabilities)
    loss = np.mean([reference.log_loss(truth[:, label], probabilities[:, label], labels=[0, 1]) for label in each])
    assert abs(monitored["loss"] - loss) < CLOSE
    assert abs(monitored["accuracy"] - np.mean((probabilities >= 0.5) == truth)) < CLOSE
    assert monitored.get("auc") == pytest.approx(expected.get("auc"), abs=CLOSE)


def test_two_labels_are_distinguished_from_two_classes() -> None:
    truth, probabilities = draw_predictions(50, 2, 0)
    assert predict_classes(probabilities, (0.5, 0.5)).shape == (50, 2)
    assert predict_classes(probabilities, 0.5).shape == (50,)
    assert compute_metrics(truth, probabilities) == compute_metrics(truth, probabilities, threshold=(0.5, 0.5))
    one = compute_metrics(truth[:, 0], binary_probabilities(probabilities[:, 0]))
    other = compute_metrics(truth[:, 1], binary_probabilities(probabilities[:, 1]))
    assert compute_metrics(truth, probabilities)["ece"] == pytest.approx((one["ece"] + other["ece"]) / 2)


def test_intervals_contain_the_means() -> None:
    truth, probabilities = draw_predictions(150, 3, 1)
    found = bootstrap_intervals(make_weighted_metrics(truth, probabilities, temperature=1.5), 150, resamples=400)
    values = compute_metrics(truth, probabilities, temperature=1.5)
    assert set(found) == set(values)
    assert found["auc"].low < values["auc"] < found["auc"].high


def test_the_operating_point_has_a_threshold_per_label_and_one_temperature() -> None:
    truth, probabilities = draw_predictions(300, 3, 2)
    truth[:, 1] = 0
    fitted_point = fit_operating_point(truth, probabilities)
    assert set(fitted_point) == {"threshold_0", "threshold_2", "temperature"}
    assert fitted_point["threshold_2"] == choose_threshold(truth[:, 2], binary_probabilities(probabilities[:, 2]))
    assert fitted_point["temperature"] == fit_temperature(truth.ravel(), binary_probabilities(probabilities.ravel()))
    scaled = apply_temperature(probabilities, 2.0, multi_label=True)
    odds = np.log(probabilities / (1 - probabilities))
    np.testing.assert_allclose(np.log(scaled / (1 - scaled)), odds / 2, atol=1e-9)


NAMES = ("left", "right", "never")


def draw_half_images(count: int, seed: int) -> Split:
    """Draw images whose left half, right half, both or none are bright."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (count, 2))
    pixels = generator.integers(0, 140, (count, 12, 12, 1))
    pixels[:, :, :6, 0] += 60 * labels[:, 0, None, None]
    pixels[:, :, 6:, 0] += 60 * labels[:, 1, None, None]
    return Split(pixels.astype(np.uint8), np.concatenate([labels, np.zeros((count, 1), int)], axis=1))


@pytest.fixture(scope="module")
def data() -> Dataset:
    splits = {name: draw_half_images(count, seed) for seed, (name, count) in enumerate(
        {"train": 300, "validation": 100, "test": 120}.items())}  # fmt: skip
    return Dataset(name="halves", source="halves", splits=splits, class_names=NAMES)


@pytest.fixture(scope="module")
def uri(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('labels')}/mlflow.db"
    save_run(Store(uri), train_network(data, epochs=5, activation="sigmoid"), data, name="labels")
    return uri


def test_a_multi_label_run_is_evaluated(data: Dataset, uri: str, tmp_path: Path) -> None:
    found = evaluate("labels", data, tracking_uri=uri, report=tmp_path / "labels.html")
    test = data.splits["test"].labels
    assert found.multi_label
    assert not np.allclose(found.probabilities.sum(axis=1), 1), "the probabilities of labels are independent"
    each = [reference.roc_auc_score(test[:, label], found.probabilities[:, label]) for label in (0, 1)]
    assert found.metrics["auc"] == pytest.approx(np.mean(each), abs=CLOSE)
    assert found.by_label["right"].metrics["auc"] == pytest.approx(each[1], abs=CLOSE)
    assert "auc" not in found.by_label["never"].metrics
    run = Store(uri).run("labels")
    assert found.operating_point.threshold == (run.metrics["threshold_0"], run.metrics["threshold_1"], 0.5)
    assert run.metrics["test_label_right_auc"] == found.by_label["right"].metrics["auc"]
    assert any("no threshold from validation images for never" in note for note in found.notes)
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert "By label" in page
    assert "mean over labels" in page


def test_a_multi_label_run_predicts_and_explains(
    data: Dataset, uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = data.splits["test"]
    files = []
    for index in range(6):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(test.images[index, ..., 0]).save(files[-1])
    found = predict("labels", files, tracking_uri=uri)
    assert found.classes.shape == (6, 3)
    command = ("predict", "labels", *map(str, files), "--tracking-uri", uri)
    assert main(command) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [row["predicted"] for row in rows] == [";".join(names) for names in found.predicted_names]
    assert main((*command, "--json")) == 0
    assert [image["predicted"] for image in json.loads(capfd.readouterr().out)] == list(
        map(list, found.predicted_names)
    )
    explained = explain("labels", files, class_name="left", tracking_uri=uri)
    np.testing.assert_allclose(explained.probabilities, found.probabilities[:, 0])


def test_a_sigmoid_at_the_main_output_makes_a_network_multi_label() -> None:
    for activation, labels in (("sigmoid", True), ("softmax", False)):
        network = build_small("googlenet", classifier_activation=activation, side=96, **HEADS)
        assert network.layers[-1].name == "main_output", "auxiliary classifiers are between it and the sigmoid"
        assert is_multi_label(network) == labels


def test_single_label_images_are_rejected_for_a_multi_label_run(data: Dataset, uri: str) -> None:
    one_class = {name: Split(split.images, split.labels[:, 0]) for name, split in data.splits.items()}
    with pytest.raises(EvaluationError, match=r"the images are single-label, and the network of run .* is multi-label"):
        evaluate("labels", Dataset(name="d", source="d", splits=one_class, class_names=NAMES), tracking_uri=uri)
