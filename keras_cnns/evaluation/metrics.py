"""Metrics of predicted probabilities against true labels.

`compute_scores` returns the metrics that training monitors, and `compute_metrics` those of an evaluation, which are the
entries of `METRICS` and plugins. Each of `METRICS` equals the metric of scikit-learn wherever it is defined. A metric
that is not defined is left out, also where scikit-learn returns 0 for it.

`labels` are class indices of shape (images,), or 0 or 1 for each label, shape (images, labels). `probabilities` have
shape (images, classes), or (images, labels). For `threshold` see `predict_classes`; the default is 0.5 for each label.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_auc_score

from keras_cnns.evaluation.calibration import BINS, apply_temperature, binary_probabilities, calibration_gaps
from keras_cnns.evaluation.metric import TOLERANCE, Metric, sum_terms
from keras_cnns.evaluation.operating_point import DEFAULT_THRESHOLD, Threshold, predict_classes
from keras_cnns.evaluation.outcomes import Outcomes, WeightedOutcomes
from keras_cnns.plugins import load_plugins


def balanced_accuracy(outcomes: WeightedOutcomes) -> np.ndarray:
    """Return the mean sensitivity of the classes that have images, if these are at least two."""
    if len(outcomes.present) < 2:
        return np.full_like(outcomes.total, np.nan)
    return np.asarray(outcomes.sensitivities[outcomes.present].mean(axis=0))


def f1(outcomes: WeightedOutcomes) -> np.ndarray:
    """Return F1 of class 1 of two classes, or the mean over the classes that have images or are predicted."""
    values = 2 * outcomes.correct_counts / (outcomes.true_counts + outcomes.predicted_counts)
    if outcomes.classes == 2:
        return np.asarray(values[1])
    return np.asarray(np.nansum(values, axis=0) / np.isfinite(values).sum(axis=0))


def mcc(outcomes: WeightedOutcomes) -> np.ndarray:
    """Return the correlation coefficient of labels and predictions (Gorodkin 2004 for more than two classes)."""
    true, predicted, total = outcomes.true_counts, outcomes.predicted_counts, outcomes.total
    spread = np.sqrt((total**2 - (predicted**2).sum(axis=0)) * (total**2 - (true**2).sum(axis=0)))
    return np.asarray((outcomes.correct_counts.sum(axis=0) * total - (predicted * true).sum(axis=0)) / spread)


def likelihood_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return a ratio of two rates of class 1, which is infinite where only the denominator is 0."""
    undefined = np.where(numerator > TOLERANCE, np.inf, np.nan)
    return np.where(denominator > TOLERANCE, numerator / denominator, undefined)


def brier(outcomes: WeightedOutcomes) -> np.ndarray:
    """Return the mean squared error of the probability of class 1 of two classes, or of all, summed over classes."""
    labels, probabilities = outcomes.labels, outcomes.probabilities
    if outcomes.classes == 2:
        return outcomes.mean((probabilities[:, 1] - (labels == 1)) ** 2)
    return outcomes.mean(((probabilities - np.eye(outcomes.classes)[labels]) ** 2).sum(axis=1))


def ece(outcomes: WeightedOutcomes) -> np.ndarray:
    """Return the contribution of each bin to the expected calibration error, shape (bins, resamples)."""
    gaps = calibration_gaps(outcomes.labels, outcomes.probabilities)
    return np.asarray(gaps.T @ outcomes.weights / outcomes.total)


METRICS = (
    Metric(
        name="accuracy",
        title="accuracy",
        description="fraction of correct predictions",
        function=lambda outcomes: outcomes.correct_counts.sum(axis=0) / outcomes.total,
        proportion=lambda outcomes: (outcomes.correct, np.ones_like(outcomes.correct)),
    ),
    Metric(
        name="balanced_accuracy",
        title="balanced accuracy",
        description="mean sensitivity of the classes",
        function=balanced_accuracy,
    ),
    Metric(
        name="sensitivity",
        title="sensitivity",
        description="fraction of the images of {positive} that are predicted as {positive}",
        function=lambda outcomes: outcomes.sensitivity,
        needs_positive=True,
        one_versus_rest=True,
        proportion=lambda outcomes: (outcomes.correct, outcomes.labels == 1),
    ),
    Metric(
        name="specificity",
        title="specificity",
        description="fraction of the other images that are not predicted as {positive}",
        function=lambda outcomes: outcomes.specificity,
        needs_positive=True,
        one_versus_rest=True,
        proportion=lambda outcomes: (outcomes.correct, outcomes.labels == 0),
    ),
    Metric(
        name="ppv",
        title="PPV",
        description="positive predictive value: fraction of the images predicted as {positive} that are {positive}",
        function=lambda outcomes: outcomes.positive_predictive_value,
        needs_positive=True,
        one_versus_rest=True,
        proportion=lambda outcomes: (outcomes.correct, outcomes.predicted == 1),
    ),
    Metric(
        name="npv",
        title="NPV",
        description="negative predictive value: fraction of the other predictions that are right",
        function=lambda outcomes: outcomes.negative_predictive_value,
        needs_positive=True,
        one_versus_rest=True,
        proportion=lambda outcomes: (outcomes.correct, outcomes.predicted == 0),
    ),
    Metric(
        name="lr_positive",
        title="LR+",
        description="positive likelihood ratio: sensitivity / (1 - specificity)",
        function=lambda outcomes: likelihood_ratio(outcomes.sensitivity, 1 - outcomes.specificity),
        maximum=math.inf,
        needs_positive=True,
        only_two_classes=True,
    ),
    Metric(
        name="lr_negative",
        title="LR-",
        description="negative likelihood ratio: (1 - sensitivity) / specificity",
        function=lambda outcomes: likelihood_ratio(1 - outcomes.sensitivity, outcomes.specificity),
        maximum=math.inf,
        higher_is_better=False,
        needs_positive=True,
        only_two_classes=True,
    ),
    Metric(
        name="f1",
        title="F1",
        description="harmonic mean of precision and sensitivity",
        function=f1,
        needs_positive=True,
        one_versus_rest=True,
    ),
    Metric(
        name="mcc",
        title="MCC",
        description="Matthews correlation coefficient of labels and predictions, 0 for chance",
        function=mcc,
        minimum=-1.0,
    ),
    Metric(
        name="auc",
        title="AUC",
        description="area under the ROC curve, 0.5 for chance",
        function=lambda outcomes: outcomes.areas[0],
        one_versus_rest=True,
    ),
    Metric(
        name="average_precision",
        title="average precision",
        description="mean precision over all levels of recall",
        function=lambda outcomes: outcomes.areas[1],
        needs_positive=True,
        one_versus_rest=True,
    ),
    Metric(
        name="brier",
        title="Brier score",
        description="mean squared error of the probabilities, summed over classes if there are more than two",
        function=brier,
        maximum=2.0,
        higher_is_better=False,
    ),
    Metric(
        name="ece",
        title="ECE",
        description=f"expected calibration error in {BINS} bins, of the probability of {{positive}} or, for more than "
        "two classes, of the most probable one; the interval corrects for its upward bias",
        function=ece,
        higher_is_better=False,
        absolute_sum=True,
    ),
    Metric(
        name="calibration_slope",
        title="calibration slope",
        description="slope of a logistic recalibration; below 1 if the probabilities are too extreme",
        function=lambda outcomes: outcomes.calibration_slope,
        minimum=-math.inf,
        maximum=math.inf,
        best=1.0,
        only_two_classes=True,
    ),
    Metric(
        name="calibration_intercept",
        title="calibration intercept",
        description="calibration-in-the-large, in logits; below 0 if the probabilities of {positive} are too high",
        function=lambda outcomes: outcomes.calibration_intercept,
        minimum=-math.inf,
        maximum=math.inf,
        best=0.0,
        needs_positive=True,
        only_two_classes=True,
    ),
    Metric(
        name="brier_scaled",
        title="Brier score, scaled",
        description="Brier score after temperature scaling",
        function=brier,
        maximum=2.0,
        higher_is_better=False,
        after_scaling=True,
    ),
    Metric(
        name="ece_scaled",
        title="ECE, scaled",
        description="ECE after temperature scaling",
        function=ece,
        higher_is_better=False,
        after_scaling=True,
        absolute_sum=True,
    ),
    Metric(
        name="calibration_slope_scaled",
        title="calibration slope, scaled",
        description="calibration slope after temperature scaling",
        function=lambda outcomes: outcomes.calibration_slope,
        minimum=-math.inf,
        maximum=math.inf,
        best=1.0,
        only_two_classes=True,
        after_scaling=True,
    ),
    Metric(
        name="calibration_intercept_scaled",
        title="calibration intercept, scaled",
        description="calibration intercept after temperature scaling",
        function=lambda outcomes: outcomes.calibration_intercept,
        minimum=-math.inf,
        maximum=math.inf,
        best=0.0,
        needs_positive=True,
        only_two_classes=True,
        after_scaling=True,
    ),
)


@functools.cache
def all_metrics() -> dict[str, Metric]:
    """Return all metrics of an evaluation by name: `METRICS`, and plugins."""
    taken = [metric.name for metric in METRICS]
    plugins = load_plugins("metrics", Metric, taken=taken, names=lambda metric: [metric.name])
    return {metric.name: metric for metric in (*METRICS, *plugins)}


def compute_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    threshold: Threshold = None,
    temperature: float | np.ndarray | None = None,
    decisions: np.ndarray | None = None,
    metrics: Iterable[Metric] | None = None,
) -> dict[str, float]:
    """Compute every metric, by default of `all_metrics`, that is defined; none if a probability is not finite.

    The arguments are those of `make_weighted_metrics`.

    Raises:
        EvaluationError: The function of a metric cannot be used, see `Metric.compute`.
    """
    if not len(labels) or not np.isfinite(probabilities).all():
        return {}
    compute = make_weighted_metrics(
        labels, probabilities, threshold=threshold, temperature=temperature, decisions=decisions, metrics=metrics
    )
    values = {name: float(sum_terms(value)[0]) for name, value in compute(np.ones((len(labels), 1))).items()}
    return {name: all_metrics()[name].clip(value) for name, value in values.items() if np.isfinite(value)}


def make_weighted_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    threshold: Threshold = None,
    temperature: float | np.ndarray | None = None,
    decisions: np.ndarray | None = None,
    metrics: Iterable[Metric] | None = None,
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return the metrics, by default `all_metrics`, as a function of image weights.

    One function gives the values themselves (weights of 1), all resamples of a bootstrap and a jackknife. It takes the
    weight of each image in each resample, shape (images, resamples), and returns what `Metric.compute` does by name.
    Metrics after temperature scaling are left out without a temperature. `decisions` are the predicted classes, in
    the shape of `labels`, if these do not follow from one threshold for all images.

    With several labels, each metric is the mean of the binary metrics over the labels for which it is defined on these
    images; for the AUC, for instance, the labels that some images have and others do not. In a resample where one of
    them is not defined, the mean is NaN. A metric that is a sum of absolute terms has the terms of all labels.
    """
    chosen = list(all_metrics().values() if metrics is None else metrics)
    if labels.ndim == 2:
        return make_means_over_labels(labels, probabilities, threshold, temperature, decisions, chosen)
    probabilities = probabilities.astype(np.float64)
    predicted = predict_classes(probabilities, threshold) if decisions is None else decisions
    unscaled = Outcomes(labels, probabilities, predicted)
    outcomes = {False: unscaled}
    if temperature is not None:
        outcomes[True] = replace(unscaled, probabilities=apply_temperature(probabilities, temperature))

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        weighted = {after_scaling: WeightedOutcomes(own, weights) for after_scaling, own in outcomes.items()}
        usable = [
            metric
            for metric in chosen
            if metric.after_scaling in weighted and (unscaled.classes == 2 or not metric.only_two_classes)
        ]
        return {metric.name: metric.compute(weighted[metric.after_scaling]) for metric in usable}

    return compute


def make_means_over_labels(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: Threshold,
    temperature: float | np.ndarray | None,
    decisions: np.ndarray | None,
    metrics: Iterable[Metric],
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return the means over labels of metrics as a function of image weights, see `make_weighted_metrics`."""
    thresholds = threshold if isinstance(threshold, tuple) else default_thresholds(labels)
    by_label = [
        make_weighted_metrics(
            truth,
            binary_probabilities(probability),
            threshold=own,
            temperature=temperature,
            decisions=None if decisions is None else decisions[:, label],
            metrics=metrics,
        )
        for label, (truth, probability, own) in enumerate(zip(labels.T, probabilities.T, thresholds, strict=True))
    ]
    points = [compute(np.ones((len(labels), 1))) for compute in by_label]

    def compute_means(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = {}
        computed = list(zip((compute(weights) for compute in by_label), points, strict=True))
        for name in points[0]:
            values = [found[name] for found, point in computed if np.isfinite(point[name]).all()]
            if not values:
                means[name] = np.full(weights.shape[1], np.nan)
            else:
                means[name] = np.concatenate(values) / len(values) if values[0].ndim == 2 else np.mean(values, axis=0)
        return means

    return compute_means


def default_thresholds(labels: np.ndarray) -> tuple[float, ...]:
    """Return a threshold of 0.5 for each label."""
    return (DEFAULT_THRESHOLD,) * int(labels.shape[1])


def compute_scores(labels: np.ndarray, probabilities: np.ndarray, *, threshold: Threshold = None) -> dict[str, float]:
    """Compute `loss` (mean cross-entropy in nats), `accuracy` and `auc`.

    With more than two classes, `auc` is the mean over classes, each against the rest; it is left out unless all classes
    have images. With several labels, each metric is the mean over labels; `auc` is the mean over the labels that some
    images have and others do not.
    """
    if labels.ndim == 2:
        true_probability = np.where(labels == 1, probabilities, 1 - probabilities)
        predicted = predict_classes(probabilities, threshold or default_thresholds(labels))
        binary = [labels[:, label] == 1 for label in range(labels.shape[1])]
        defined = [index for index, positive in enumerate(binary) if positive.any() and not positive.all()]
    else:
        classes = probabilities.shape[1]
        true_probability = probabilities[np.arange(len(labels)), labels]
        predicted = predict_classes(probabilities, threshold)
        binary = [labels == index for index in range(classes)]
        defined = list(range(classes)) if len(np.unique(labels)) == classes >= 2 else []
    losses = -np.log(np.clip(true_probability.astype(np.float64), 1e-7, 1.0))
    scores = {"loss": float(losses.mean()), "accuracy": float((predicted == labels).mean())}
    if defined and np.isfinite(probabilities).all():
        scores["auc"] = float(np.mean([roc_auc_score(binary[index], probabilities[:, index]) for index in defined]))
    return scores
