"""Thresholds at a sensitivity or specificity, results per patient, at another prevalence and after recalibration."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_networks import copy_store, save_run, train_network
from sklearn import metrics as reference

from keras_cnns import Dataset, evaluate, load
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.calibration import apply_temperature, binary_probabilities
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import (
    AT_SENSITIVITY,
    AT_SPECIFICITY,
    OperatingPoint,
    ThresholdRule,
    choose_threshold,
    scale_threshold,
)
from keras_cnns.evaluation.patient_level import COMBINATIONS, compute_patient_level
from keras_cnns.evaluation.prevalence import compute_at_prevalence
from keras_cnns.evaluation.recalibration import recalibrate
from keras_cnns.evaluation.validation import VALIDATION_CASES
from keras_cnns.tracking import Store

pytestmark = pytest.mark.usefixtures("quick_evaluations")
POINT = OperatingPoint(threshold=0.5, temperature=None, source="validation images")


@dataclass(frozen=True)
class Made:
    """A store with a run on digits below five or not, in which each patient has up to three images."""

    folder: Path
    data: Dataset
    run: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("thresholds")
    train = load("digits").splits["train"]
    labels = (train.labels >= 5).astype(np.int64)
    splits = {}
    for name, part in zip(("train", "validation", "test"), np.split(np.arange(900), [400, 650]), strict=True):
        numbers = np.empty(len(part), np.int64)
        for label in (0, 1):
            own = labels[part] == label
            numbers[own] = 2 * (np.arange(own.sum()) // 3) + label
        patients = np.array([f"{name}-{number:03}" for number in numbers])
        splits[name] = Split(train.images[part], labels[part], patients=patients, columns={"site": numbers % 3})
    data = Dataset(name="halves", source="halves", splits=splits, class_names=("low", "high"), positive="high")
    run = save_run(Store(f"sqlite:///{folder}/mlflow.db"), train_network(data), data, name="halves")
    return Made(folder, data, run)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(2, 60), steps=st.sampled_from([3, 10, 10**6]),
       value=st.floats(0.01, 0.99))  # fmt: skip
def test_a_threshold_attains_its_sensitivity_or_specificity_and_no_higher_or_lower_one_does(
    seed: int, images: int, steps: int, value: float
) -> None:
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, 2, images - 2)]
    probability = generator.integers(0, steps + 1, images) / steps
    for kind, label in ((AT_SENSITIVITY, 1), (AT_SPECIFICITY, 0)):
        threshold = choose_threshold(labels, binary_probabilities(probability), ThresholdRule(kind, value))
        assert threshold is not None

        def rate(limit: float, label: int = label) -> float:
            return float(((probability >= limit) == label)[labels == label].mean())

        assert rate(threshold) >= value - 1e-12
        others = [limit for limit in [*np.unique(probability), 2.0] if (limit > threshold) == (label == 1)]
        assert all(rate(limit) < value or np.isclose(rate(limit), rate(threshold)) for limit in others)


@pytest.mark.parametrize(("name", "label"), [("at_sensitivity", 1), ("at_specificity", 0)])
def test_the_threshold_is_chosen_on_the_stored_validation_predictions(
    name: str, label: int, made: Made, fresh: Path
) -> None:
    found = evaluate(made.run, made.data, report=fresh / "report.html", **{name: 0.9})
    text = Store().read_file(made.run, VALIDATION_CASES)
    known = pd.read_csv(io.StringIO(text or ""))
    own = known[known["true_class"] == made.data.class_names[label]]
    decided = (own["probability_high"] >= found.operating_point.threshold) == bool(label)
    assert 0.9 <= decided.mean() < 0.95
    metric = name.removeprefix("at_")
    assert found.validation is not None
    assert found.validation.metrics[metric] == pytest.approx(decided.mean())
    interval = found.validation.intervals[metric]
    assert f"{interval.low:.3f} to {interval.high:.3f}" in (fresh / "report.html").read_text("utf-8")
    # An external dataset needs no validation images.
    external = replace(made.data, name="elsewhere", splits={"test": made.data.splits["test"]})
    assert evaluate(made.run, external, **{name: 0.9}).operating_point.threshold == found.operating_point.threshold


@pytest.mark.usefixtures("fresh")
def test_a_given_threshold_is_one_for_the_probabilities_that_users_read(made: Made) -> None:
    found = evaluate(made.run, made.data, threshold=0.3)
    assert found.operating_point.scaled_threshold == pytest.approx(0.3)
    assert ((found.cases["probability_high"] >= 0.3) == (found.cases["predicted_class"] == "high")).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.5}, r"threshold=1.5 is not possible; use a number between 0 and 1"),
        ({"at_sensitivity": 0.9, "at_specificity": 0.9}, "exclude each other"),
        ({"prevalence": 0.0}, "prevalence=0.0 is not possible"),
    ],
)
def test_an_impossible_threshold_or_prevalence_is_reported_in_one_line(
    arguments: dict[str, float], message: str, made: Made
) -> None:
    with pytest.raises(EvaluationError, match=message) as raised:
        evaluate("unused", made.data, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("fresh")
def test_the_cases_of_an_evaluation_give_its_metrics_with_other_tools(made: Made) -> None:
    found = evaluate(made.run, made.data, by="site")
    folder = Path(found.report_folder)
    table = pd.read_csv(folder / "predictions.csv")
    pd.testing.assert_frame_equal(table, pd.read_parquet(folder / "predictions.parquet"), check_dtype=False)
    assert list(table) == [
        "image", "patient", "split", "true_class", "predicted_class", "probability_low", "probability_high", "site",
        "out_of_distribution",
    ]  # fmt: skip
    truth = table["true_class"] == "high"
    assert found.metrics["auc"] == pytest.approx(reference.roc_auc_score(truth, table["probability_high"]))
    assert found.metrics["accuracy"] == pytest.approx((table["true_class"] == table["predicted_class"]).mean())
    assert found.metrics["brier_scaled"] == pytest.approx(((table["probability_high"] - truth) ** 2).mean())
    record = json.loads((folder / "evaluation.json").read_text("utf-8"))
    decided = table["probability_high"] >= record["threshold"]
    assert (decided == (table["predicted_class"] == "high")).all()
    assert record["metrics"] == dict(found.metrics)
    assert record["patient_level"]["results"]["mean"]["images"] == table["patient"].nunique()


def predictions(seed: int, images: int = 60) -> LabelledPredictions:
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, 2, images - 2)]
    probability = np.clip(0.5 * generator.random(images) + 0.4 * labels, 1e-3, 1 - 1e-3)
    return LabelledPredictions(
        labels=labels, probabilities=binary_probabilities(probability), operating_point=POINT, groups=None
    )


@pytest.mark.parametrize("temperature", [None, 1.7])
def test_the_images_of_a_patient_are_combined_as_with_pandas(temperature: float | None) -> None:
    own = replace(predictions(0), operating_point=replace(POINT, temperature=temperature))
    patients = np.random.default_rng(1).integers(0, 20, 60).astype(str)
    level = compute_patient_level(own, patients, None)
    assert level is not None
    probability = own.probabilities[:, 1]
    if temperature is not None:
        probability = apply_temperature(own.probabilities, temperature)[:, 1]
    table = pd.DataFrame({"patient": patients, "label": own.labels, "p": probability}).groupby("patient")
    combined = {"mean": table["p"].mean(), "maximum": table["p"].max(),
                "noisy-or": 1 - table["p"].apply(lambda values: np.prod(1 - values))}  # fmt: skip
    truth = table["label"].max()
    for name in COMBINATIONS:
        result = level.results[name]
        assert (result.images, result.positives) == (len(truth), truth.sum())
        assert result.metrics["auc"] == pytest.approx(reference.roc_auc_score(truth, combined[name]))
        limit = 0.5 if temperature is None else scale_threshold(0.5, temperature)
        assert result.metrics["accuracy"] == pytest.approx(((combined[name] >= limit) == truth).mean())
    assert not level.thresholds_from_patients


@pytest.mark.usefixtures("fresh")
def test_the_threshold_for_patients_is_chosen_on_validation_patients(made: Made) -> None:
    found = evaluate(made.run, made.data)
    assert found.patient_level is not None
    assert found.patient_level.thresholds_from_patients
    assert len(set(found.patient_level.thresholds.values())) == 3
    assert found.patient_level.results["mean"].metrics["auc"] >= found.metrics["auc"]


def test_patients_with_several_classes_are_left_out_without_a_positive_class_and_counted() -> None:
    own = replace(predictions(0), positive_is_known=False)
    patients = np.array([f"{label}{index % 5}" for index, label in enumerate(own.labels)])
    patients[:2] = "mixed"
    level = compute_patient_level(own, patients, None)
    assert level is not None
    assert list(level.results) == ["mean"]
    assert level.left_out == 1
    assert level.results["mean"].images == len(np.unique(patients)) - 1
    assert compute_patient_level(own, np.arange(60), None) is None, "one image for each patient"


@given(seed=st.integers(0, 1000), prevalence=st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=10)
def test_predictive_values_at_a_prevalence_follow_from_bayes_theorem(seed: int, prevalence: float) -> None:
    own = predictions(seed)
    metrics = own.compute().metrics
    found = compute_at_prevalence(own, prevalence).metrics
    sensitivity, specificity = metrics["sensitivity"], metrics["specificity"]
    positive = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    if positive > 0:
        assert found["ppv"] == pytest.approx(sensitivity * prevalence / positive)
    if positive < 1:
        assert found["npv"] == pytest.approx(specificity * (1 - prevalence) / (1 - positive))
    same = compute_at_prevalence(own, float(own.labels.mean())).metrics
    assert same == pytest.approx({name: metrics[name] for name in same})


def test_recalibration_improves_a_miscalibrated_network_and_not_a_calibrated_one() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(800)
    labels = (generator.random(800) < truth).astype(np.int64)
    shifted = 1 / (1 + np.exp(-(2 * np.log(truth / (1 - truth)) + 1.5)))
    for probability in (shifted, truth):
        own = LabelledPredictions(
            labels=labels, probabilities=binary_probabilities(probability), operating_point=POINT, groups=None
        )
        result = recalibrate(own)
        assert result is not None
        before = own.compute().metrics
        of_truth = np.mean((truth - labels) ** 2)
        assert result.metrics["brier"] == pytest.approx(of_truth, abs=0.005)
        assert (before["brier"] > of_truth + 0.02) == (probability is shifted)
        assert result.metrics["auc"] == pytest.approx(before["auc"], abs=0.01)
    few = LabelledPredictions(labels=labels[:30], probabilities=binary_probabilities(truth[:30]), operating_point=POINT,
                              groups=None)  # fmt: skip
    assert recalibrate(few) is None
