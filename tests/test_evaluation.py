"""Metrics, operating points, calibration and confidence intervals."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from keras_cnns.evaluation.calibration import (
    BINS,
    apply_temperature,
    binary_probabilities,
    fit_temperature,
    reliability_diagram,
)
from keras_cnns.evaluation.intervals import bootstrap_intervals
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metric import sum_terms
from keras_cnns.evaluation.metrics import METRICS, all_metrics, compute_metrics, compute_scores, make_weighted_metrics
from keras_cnns.evaluation.operating_point import (
    OperatingPoint,
    choose_threshold,
    fit_operating_point,
    predict_classes,
)
from keras_cnns.evaluation.results import MetricResult
from keras_cnns.evaluation.statistics.proportions import clopper_pearson

CLOSE = 1e-9
NAMES = {metric.name for metric in METRICS if not metric.after_scaling}
TEMPERATURE = 1.7


@dataclass
class Case:
    labels: np.ndarray
    probabilities: np.ndarray
    threshold: float | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw predictions: few images, ties, a single class, equal predictions, certain ones."""
    classes, images = draw(st.integers(2, 5)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = generator.integers(0, draw(st.integers(1, classes)), images)
    kind = draw(st.sampled_from(["random", "tied", "equal", "certain", "correct"]))
    weights = generator.random((images, classes)) + 1e-3
    if kind == "tied":
        weights = generator.integers(1, 3, (images, classes)).astype(float)
    elif kind == "equal":
        weights = np.repeat(weights[:1], images, axis=0)
    elif kind in ("certain", "correct"):
        weights = np.eye(classes)[labels if kind == "correct" else generator.integers(0, classes, images)]
    threshold = draw(st.none() | st.floats(0.0, 1.0)) if classes == 2 else None
    return Case(labels, weights / weights.sum(axis=1, keepdims=True), threshold)


WITH_REFERENCE = {
    "accuracy", "auc", "average_precision", "balanced_accuracy", "brier", "brier_scaled", "ece", "ece_scaled", "f1",
    "lr_negative", "lr_positive", "mcc", "npv", "ppv", "sensitivity", "specificity",
}  # fmt: skip


def reference_metrics(case: Case) -> dict[str, float]:
    """Return the metrics of scikit-learn, without those that it does not define or sets to 0, and the ECE."""
    labels, probabilities = case.labels, case.probabilities
    classes = probabilities.shape[1]
    predicted = predict_classes(probabilities, case.threshold)
    present = np.unique(labels)
    found = {"accuracy": reference.accuracy_score(labels, predicted)}
    for suffix, values in (("", probabilities), ("_scaled", apply_temperature(probabilities, TEMPERATURE))):
        brier = (values[:, 1], {"pos_label": 1}) if classes == 2 else (values, {"labels": np.arange(classes)})
        found[f"brier{suffix}"] = reference.brier_score_loss(labels, brier[0], **brier[1])
        found[f"ece{suffix}"] = reliability_diagram(labels, values).error
    if len(present) > 1:
        found["balanced_accuracy"] = reference.balanced_accuracy_score(labels, predicted)
    if len(present) > 1 and len(np.unique(predicted)) > 1:
        found["mcc"] = reference.matthews_corrcoef(labels, predicted)
    if classes == 2:
        found["f1"] = reference.f1_score(labels, predicted, zero_division=np.nan)
        for rate, value, label in (("sensitivity", "ppv", 1), ("specificity", "npv", 0)):
            found[rate] = reference.recall_score(labels, predicted, pos_label=label, zero_division=np.nan)
            found[value] = reference.precision_score(labels, predicted, pos_label=label, zero_division=np.nan)
        if len(present) == 2:
            ratios = reference.class_likelihood_ratios(labels, predicted, replace_undefined_by=np.nan)
            found["lr_positive"], found["lr_negative"] = ratios
        if 1 in present:
            found["average_precision"] = reference.average_precision_score(labels, probabilities[:, 1])
        if len(present) == 2:
            found["auc"] = reference.roc_auc_score(labels, probabilities[:, 1])
    else:
        found["f1"] = reference.f1_score(labels, predicted, average="macro")
        found["sensitivity"] = reference.recall_score(labels, predicted, labels=present, average="macro")
        confusions = reference.multilabel_confusion_matrix(labels, predicted, labels=present)
        found["specificity"] = np.mean(confusions[:, 0, 0] / confusions[:, 0].sum(axis=1))
        with np.errstate(invalid="ignore"):
            found["ppv"] = np.mean(confusions[:, 1, 1] / confusions[:, :, 1].sum(axis=1))
            found["npv"] = np.mean(confusions[:, 0, 0] / confusions[:, :, 0].sum(axis=1))
        if len(present) == classes:
            truth = np.eye(classes)[labels]
            found["average_precision"] = reference.average_precision_score(truth, probabilities, average="macro")
            found["auc"] = reference.roc_auc_score(truth, probabilities, average="macro")
    return {name: float(value) for name, value in found.items() if not np.isnan(value)}


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_every_metric_equals_its_reference_or_is_left_out(case: Case) -> None:
    found = compute_metrics(case.labels, case.probabilities, threshold=case.threshold, temperature=TEMPERATURE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference_metrics(case)
    assert set(found) & WITH_REFERENCE == set(expected)
    for name, value in expected.items():
        assert abs(found[name] - value) < CLOSE, name


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_every_metric_is_in_its_range_on_all_images_and_in_every_resample(case: Case) -> None:
    arguments = {"threshold": case.threshold, "temperature": TEMPERATURE}
    values = compute_metrics(case.labels, case.probabilities, **arguments)
    weights = np.random.default_rng(0).multinomial(
        len(case.labels), np.full(len(case.labels), 1 / len(case.labels)), 50
    )
    resampled = make_weighted_metrics(case.labels, case.probabilities, **arguments)(weights.T.astype(float))
    binary = case.probabilities.shape[1] == 2
    assert list(resampled) == [metric.name for metric in METRICS if binary or not metric.only_two_classes]
    for metric in (metric for metric in METRICS if metric.name in resampled):
        totals = sum_terms(resampled[metric.name])
        defined = totals[np.isfinite(totals)]
        assert ((defined > metric.minimum - CLOSE) & (defined < metric.maximum + CLOSE)).all(), metric.name
        assert metric.minimum <= values.get(metric.name, metric.minimum) <= metric.maximum


@settings(max_examples=60, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_a_weight_of_two_equals_having_the_image_twice(case: Case, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 3, (len(case.labels), 1))
    rows = np.repeat(np.arange(len(case.labels)), weights[:, 0])
    if set(case.labels[rows]) != set(case.labels):
        return
    weighted = make_weighted_metrics(case.labels, case.probabilities, threshold=case.threshold)(weights.astype(float))
    repeated = compute_metrics(case.labels[rows], case.probabilities[rows], threshold=case.threshold)
    for name, value in repeated.items():
        assert abs(np.abs(weighted[name]).sum() - abs(value)) < CLOSE, name


def test_metrics_that_are_not_defined_are_left_out() -> None:
    half = np.full((4, 2), 0.5)
    assert set(compute_metrics(np.array([0, 1, 0, 1]), half)) == NAMES - {
        "mcc", "ppv", "lr_positive", "calibration_slope"
    }  # fmt: skip
    assert set(compute_metrics(np.zeros(3, int), half[:3])) == {"accuracy", "specificity", "npv", "brier", "ece"}
    assert compute_metrics(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, np.nan]])) == {}
    assert compute_metrics(np.array([], int), np.empty((0, 2))) == {}
    assert set(compute_metrics(np.array([1]), np.array([[0.2, 0.8]]))) == {
        "accuracy", "sensitivity", "ppv", "f1", "average_precision", "brier", "ece"
    }  # fmt: skip


def test_the_threshold_applies_to_class_1() -> None:
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert compute_metrics(labels, probabilities)["sensitivity"] == 0.5
    assert compute_metrics(labels, probabilities, threshold=0.3)["sensitivity"] == 1.0
    assert compute_scores(labels, probabilities, threshold=0.3)["accuracy"] == 1.0


def test_expected_calibration_error_by_hand() -> None:
    """Two bins: probabilities 0.62 and 0.64 with one positive image, and 0.1 with a negative one."""
    probabilities = binary_probabilities(np.array([0.62, 0.64, 0.1]))
    diagram = reliability_diagram(np.array([0, 1, 0]), probabilities)
    assert diagram.images.tolist() == [0, 1] + [0] * 7 + [2] + [0] * 5
    assert diagram.error == pytest.approx((abs(0.62 + 0.64 - 1) + 0.1) / 3)
    assert (diagram.low[9], diagram.high[9]) == pytest.approx(clopper_pearson(1, 2))
    assert np.isnan(diagram.low[0])
    edge = reliability_diagram(np.array([0]), np.array([[6 / BINS, 9 / BINS]]))
    assert edge.images.argmax() == 8, "a bin includes its upper edge"


def test_the_calibration_error_of_more_than_two_classes_is_that_of_the_most_probable_one() -> None:
    """Confidences 0.62 and 0.64 with one correct prediction, and 0.9 with a correct one."""
    probabilities = np.array([[0.62, 0.38, 0.0], [0.36, 0.0, 0.64], [0.1, 0.9, 0.0]])
    diagram = reliability_diagram(np.array([0, 0, 1]), probabilities)
    assert diagram.images.tolist() == [0] * 9 + [2, 0, 0, 0, 1, 0]
    assert diagram.error == pytest.approx((abs(0.62 + 0.64 - 1) + abs(0.9 - 1)) / 3)


def test_the_intervals_of_a_reliability_diagram_consider_patients() -> None:
    labels, probabilities = np.repeat([1, 1, 1, 0], 5), np.full((20, 2), 0.5)
    alone = reliability_diagram(labels, probabilities)
    whole = reliability_diagram(labels, probabilities, np.repeat(["a", "b", "c", "d"], 5))
    assert np.nanmax(whole.high - whole.low) > 1.5 * np.nanmax(alone.high - alone.low)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_recovered(temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (40_000, 3))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (right.cumsum(axis=1) < generator.random((len(right), 1))).sum(axis=1)
    off = apply_temperature(right, 1 / temperature)
    assert fit_temperature(labels, off) == pytest.approx(temperature, rel=0.03)
    np.testing.assert_allclose(apply_temperature(off, temperature), right, atol=1e-12)
    assert (off.argmax(axis=1) == right.argmax(axis=1)).all()


def test_a_temperature_of_few_errors_is_shrunk_towards_one_and_that_of_many_is_not() -> None:
    """The temperature of all images is 0.51. Of the few ones, one of 99 is misclassified."""
    labels, probabilities = predictions(40_000, seed=3)
    wrong = probabilities.argmax(axis=1) != labels
    few = np.concatenate([np.flatnonzero(~wrong)[:98], np.flatnonzero(wrong)[:1]])
    assert fit_temperature(labels[few], probabilities[few], spread=1e6) < 0.1
    assert fit_temperature(labels[few], probabilities[few]) == pytest.approx(0.65, abs=0.05)
    assert fit_temperature(labels, probabilities) == pytest.approx(
        fit_temperature(labels, probabilities, spread=1e6), rel=0.005
    )


def test_perfect_useless_or_missing_predictions_have_no_temperature() -> None:
    labels = np.array([0, 1, 0, 1])
    assert fit_temperature(labels, np.array([[0.8, 0.2], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])) is None
    assert fit_temperature(labels, np.array([[0.2, 0.8], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])) is None
    assert fit_temperature(labels, np.full((4, 2), np.nan)) is None
    assert fit_temperature(labels[:0], np.empty((0, 2))) is None


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_no_threshold_has_a_higher_youden_index_than_the_chosen_one(case: Case) -> None:
    chosen = choose_threshold(case.labels, case.probabilities)
    if case.probabilities.shape[1] > 2 or len(np.unique(case.labels)) < 2:
        assert chosen is None
        return

    def youden(threshold: float) -> float:
        found = compute_metrics(case.labels, case.probabilities, threshold=threshold)
        return found["sensitivity"] + found["specificity"] - 1

    best = max(youden(value) for value in case.probabilities[:, 1])
    if chosen is None:
        assert best <= CLOSE
    else:
        assert youden(chosen) == pytest.approx(best)
        assert abs(case.probabilities[:, 1] - chosen).min() > 0


def test_the_operating_point_has_the_values_that_validation_determines() -> None:
    labels = np.array([0, 0, 1, 1, 0])
    positive = np.array([0.1, 0.3, 0.4, 0.9, 0.8])
    fitted = fit_operating_point(labels, np.stack([1 - positive, positive], axis=1))
    assert fitted["threshold"] == pytest.approx(0.35)
    assert fitted["temperature"] > 0
    assert set(fit_operating_point(labels, np.full((5, 2), np.nan))) == set()


def predictions(images: int, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes))
    logits[np.arange(images), labels] += 2
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_intervals_are_reproducible_and_contain_the_value() -> None:
    labels, probabilities = predictions(200)
    metrics = make_weighted_metrics(labels, probabilities, temperature=1.3)
    found = bootstrap_intervals(metrics, 200)
    assert set(found) == {metric.name for metric in METRICS}
    assert found == bootstrap_intervals(metrics, 200)
    assert found != bootstrap_intervals(metrics, 200, seed=1)
    values = compute_metrics(labels, probabilities)
    for name in NAMES - {"ece"}:
        assert found[name].low < values[name] < found[name].high


def test_resampling_patients_widens_the_intervals() -> None:
    labels, probabilities = (np.repeat(part, 5, axis=0) for part in predictions(60))
    metrics = make_weighted_metrics(labels, probabilities)
    single, whole = (bootstrap_intervals(metrics, 300, groups=groups)["auc"] for groups in (None, np.arange(300) // 5))
    assert whole.high - whole.low > 1.7 * (single.high - single.low)
    again = bootstrap_intervals(metrics, 300, groups=np.array([f"patient {number // 5}" for number in range(300)]))
    assert again["auc"].high - again["auc"].low > 1.7 * (single.high - single.low)


def test_one_image_one_group_or_constant_metrics_have_no_interval() -> None:
    labels, probabilities = predictions(20)
    assert bootstrap_intervals(make_weighted_metrics(labels[:1], probabilities[:1]), 1) == {}
    assert bootstrap_intervals(make_weighted_metrics(labels, probabilities), 20, groups=np.zeros(20)) == {}
    perfect = bootstrap_intervals(make_weighted_metrics(labels, np.eye(2)[labels]), 20)
    assert perfect == {}, "20 correct predictions are not certainty"


def evaluated(labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None = None) -> MetricResult:
    point = OperatingPoint(threshold=None, temperature=1.3, source="made up")
    return LabelledPredictions(
        labels=labels, probabilities=probabilities, operating_point=point, groups=groups
    ).compute()


def test_proportions_have_intervals_also_if_all_predictions_are_correct() -> None:
    labels = np.array([0, 1] * 20)
    found = evaluated(labels, binary_probabilities(np.where(labels, 0.9, 0.2))).intervals
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx(clopper_pearson(40, 40))
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert (found[name].low, found[name].high) == pytest.approx(clopper_pearson(20, 20))
    assert not {"balanced_accuracy", "f1", "mcc", "auc"} & found.keys(), "20 correct predictions are not certainty"
    wrong = evaluated(labels, binary_probabilities(np.where(labels, 0.2, 0.9))).intervals
    assert (wrong["sensitivity"].low, wrong["sensitivity"].high) == pytest.approx(clopper_pearson(0, 20))


def test_the_interval_of_each_proportion_is_that_of_its_images() -> None:
    labels, probabilities = predictions(200)
    predicted = probabilities.argmax(axis=1)
    found = evaluated(labels, probabilities)
    correct = predicted == labels
    for name, among in (
        ("accuracy", np.ones(200, bool)), ("sensitivity", labels == 1), ("specificity", labels == 0),
        ("ppv", predicted == 1), ("npv", predicted == 0),
    ):  # fmt: skip
        expected = clopper_pearson((correct & among).sum(), among.sum())
        assert (found.intervals[name].low, found.intervals[name].high) == pytest.approx(expected), name
        assert found.intervals[name].low < found.metrics[name] < found.intervals[name].high


def test_patients_widen_the_intervals_of_proportions() -> None:
    labels, probabilities = (np.repeat(part, 5, axis=0) for part in predictions(60))
    alone, whole = (evaluated(labels, probabilities, groups).intervals for groups in (None, np.arange(300) // 5))
    for name in ("accuracy", "sensitivity", "ppv"):
        assert whole[name].high - whole[name].low > 1.7 * (alone[name].high - alone[name].low)
    one = evaluated(labels, probabilities, np.zeros(300)).intervals
    assert one == {}


def test_a_mean_over_classes_is_not_a_proportion() -> None:
    labels, probabilities = predictions(90, classes=3)
    found = evaluated(labels, probabilities).intervals
    weighted = make_weighted_metrics(labels, probabilities, temperature=1.3)
    assert found["sensitivity"] == bootstrap_intervals(weighted, 90)["sensitivity"]
    correct = (probabilities.argmax(axis=1) == labels).sum()
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx(clopper_pearson(correct, 90))


@settings(max_examples=15, deadline=None)
@given(case=cases())
def test_every_interval_is_in_the_range_of_its_metric(case: Case) -> None:
    for name, interval in evaluated(case.labels, case.probabilities).intervals.items():
        metric = all_metrics()[name]
        assert metric.minimum <= interval.low <= interval.high <= metric.maximum
        assert np.isfinite([interval.low, interval.high]).all()


def test_an_infinite_end_is_no_interval() -> None:
    """In some resamples, the only overlapping images are left out, and the calibration slope is infinite."""
    labels, positive = np.array([0] * 20 + [1] * 20), np.linspace(0.05, 0.95, 40)
    positive[[19, 20]] = positive[[20, 19]]
    found = evaluated(labels, binary_probabilities(positive))
    assert found.metrics["calibration_slope"] > 1
    assert "calibration_slope" not in found.intervals


def test_a_metric_that_is_zero_has_an_interval() -> None:
    labels = np.array([0, 1] * 20)
    metrics = make_weighted_metrics(labels, np.eye(2)[np.repeat([0, 1], 20)])
    assert compute_metrics(labels, np.eye(2)[np.repeat([0, 1], 20)])["mcc"] == 0
    interval = bootstrap_intervals(metrics, 40)["mcc"]
    assert interval.low < 0 < interval.high


def test_resamples_without_a_class_are_dropped_and_counted() -> None:
    labels, probabilities = predictions(30)
    labels[:] = 0
    labels[:2] = 1
    found = bootstrap_intervals(make_weighted_metrics(labels, probabilities), 30)
    assert found["accuracy"].dropped == 0
    assert found["auc"].dropped == pytest.approx(2000 * (28 / 30) ** 30, rel=0.25)


def test_intervals_have_their_nominal_coverage() -> None:
    """A short simulation; benchmarks/interval_coverage.py covers all metrics with more repetitions."""
    covered = []
    accuracy = [metric for metric in METRICS if metric.name == "accuracy"]
    for seed in range(300):
        metrics = make_weighted_metrics(*predictions(120, seed=seed), metrics=accuracy)
        found = bootstrap_intervals(metrics, 120, resamples=500, seed=seed)
        # The true accuracy: the logits are normal, with a difference of mean 2 and variance 2.
        covered.append(found["accuracy"].low <= 0.92135 <= found["accuracy"].high)
    assert 0.915 <= np.mean(covered) <= 0.985


def test_intervals_of_600_images_take_less_than_five_seconds() -> None:
    begun = time.perf_counter()
    bootstrap_intervals(make_weighted_metrics(*predictions(600), temperature=1.2), 600)
    assert time.perf_counter() - begun < 5
