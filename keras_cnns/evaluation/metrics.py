"""Metrics of predicted probabilities against true labels.

`compute_scores` returns the metrics that training monitors. `WeightedMetrics` returns the metrics of an evaluation as
functions of image weights, so that one definition gives the value itself (weights of 1), all resamples of a bootstrap
and a jackknife. Each metric equals that of scikit-learn wherever it is defined. A metric that is not defined is left
out, also where scikit-learn returns 0 for it.

`labels` are class indices of shape (images,), or 0 or 1 for each label, shape (images, labels). `probabilities` have
shape (images, classes), or (images, labels). For `threshold` see `predict_classes`; the default is 0.5 for each label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from keras_cnns.evaluation.calibration import apply_temperature, binary_probabilities, calibration_gaps
from keras_cnns.evaluation.operating_point import DEFAULT_THRESHOLD, Threshold, predict_classes

Metrics = dict[str, np.ndarray]


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


def compute_metrics(
    labels: np.ndarray, probabilities: np.ndarray, *, threshold: Threshold = None, temperature: float | None = None
) -> dict[str, float]:
    """Compute every metric of `WeightedMetrics` that is defined; none if a probability is not finite."""
    if not len(labels) or not np.isfinite(probabilities).all():
        return {}
    metrics = make_weighted_metrics(labels, probabilities, threshold=threshold, temperature=temperature)
    values = {
        name: float(np.abs(value).sum() if value.ndim == 2 else value[0])
        for name, value in metrics(np.ones((len(labels), 1))).items()
    }
    return {name: value for name, value in values.items() if np.isfinite(value)}


def make_weighted_metrics(
    labels: np.ndarray, probabilities: np.ndarray, *, threshold: Threshold = None, temperature: float | None = None
) -> Callable[[np.ndarray], Metrics]:
    """Return the metrics as a function of image weights, as `WeightedMetrics` does.

    With several labels, each metric is the mean of the binary metrics over the labels for which it is defined on these
    images; for the AUC, for instance, the labels that some images have and others do not. In a resample where one of
    them is not defined, the mean is NaN. The expected calibration error has the bins of all labels.
    """
    if labels.ndim == 1:
        single = None if isinstance(threshold, tuple) else threshold
        return WeightedMetrics(labels, probabilities, threshold=single, temperature=temperature)
    thresholds = threshold if isinstance(threshold, tuple) else default_thresholds(labels)
    by_label = [
        WeightedMetrics(truth, binary_probabilities(probability), threshold=own, temperature=temperature)
        for truth, probability, own in zip(labels.T, probabilities.T, thresholds, strict=True)
    ]
    points = [metrics(np.ones((len(labels), 1))) for metrics in by_label]

    def mean_over_labels(weights: np.ndarray) -> Metrics:
        means = {}
        computed = [metrics(weights) for metrics in by_label]
        for name in points[0]:
            values = [
                metrics[name] for metrics, point in zip(computed, points, strict=True) if np.isfinite(point[name]).all()
            ]
            if not values:
                means[name] = np.full(weights.shape[1], np.nan)
            else:
                means[name] = np.concatenate(values) / len(values) if values[0].ndim == 2 else np.mean(values, axis=0)
        return means

    return mean_over_labels


def default_thresholds(labels: np.ndarray) -> tuple[float, ...]:
    """Return a threshold of 0.5 for each label."""
    return (DEFAULT_THRESHOLD,) * int(labels.shape[1])


class WeightedMetrics:
    """Metrics of single-label classification as functions of image weights.

    accuracy, balanced_accuracy, f1, mcc
        Metrics of the predicted classes. F1 is that of class 1 or, with more than two classes, the mean over classes.
        Balanced accuracy is the mean sensitivity over the classes that have images.
    sensitivity, specificity
        Those of class 1 or, with more than two classes, the mean over classes, each against the rest.
    auc, average_precision
        Area under the ROC curve and average precision, of class 1 or the mean over classes, each against the rest.
    brier
        The mean squared error of the probability of class 1 or, with more than two classes, of all probabilities,
        summed over classes, from 0 to 2.
    ece
        The expected calibration error, see `calibration`.
    brier_scaled, ece_scaled
        The same after temperature scaling; left out without a temperature.
    """

    def __init__(
        self,
        labels: np.ndarray,
        probabilities: np.ndarray,
        *,
        threshold: float | None = None,
        temperature: float | None = None,
    ) -> None:
        self.classes = probabilities.shape[1]
        self.present = np.unique(labels)
        probabilities = probabilities.astype(np.float64)
        predicted = predict_classes(probabilities, threshold)
        self.true = sparse_one_hot(labels, self.classes)
        self.predicted = sparse_one_hot(predicted, self.classes)
        self.correct = sparse_one_hot(labels, self.classes, predicted == labels)
        complete = len(self.present) == self.classes
        ranked = [1] if self.classes == 2 else list(range(self.classes)) if complete else []
        self.ranks = [rank_images(probabilities[:, index], labels == index) for index in ranked]
        self.errors = {"": squared_errors(labels, probabilities)}
        self.gaps = {"": calibration_gaps(labels, probabilities)}
        if temperature is not None:
            scaled = apply_temperature(probabilities, temperature)
            self.errors["_scaled"] = squared_errors(labels, scaled)
            self.gaps["_scaled"] = calibration_gaps(labels, scaled)

    def __call__(self, weights: np.ndarray) -> Metrics:
        """Compute the metrics.

        Args:
            weights: The weight of each image in each resample, shape (images, resamples).

        Returns:
            Each metric, shape (resamples,), NaN where it is not defined. For the expected calibration error, the
            signed contribution of each bin, shape (bins, resamples).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            metrics = self.class_metrics(weights)
            areas = [areas_under_curves(ranks, weights) for ranks in self.ranks]
            if areas:
                metrics["auc"] = np.mean([auc for auc, _ in areas], axis=0)
                metrics["average_precision"] = np.mean([precision for _, precision in areas], axis=0)
            total = weights.sum(axis=0)
            for suffix, errors in self.errors.items():
                metrics[f"brier{suffix}"] = errors @ weights / total
                metrics[f"ece{suffix}"] = self.gaps[suffix].T @ weights / total
        return metrics

    def class_metrics(self, weights: np.ndarray) -> Metrics:
        """Compute the metrics of the predicted classes."""
        true, predicted, correct = (matrix.T @ weights for matrix in (self.true, self.predicted, self.correct))
        total, hits = weights.sum(axis=0), correct.sum(axis=0)
        sensitivities = correct / true
        specificities = (total - true - predicted + correct) / (total - true)
        f1 = 2 * correct / (true + predicted)
        mean_sensitivity = sensitivities[self.present].mean(axis=0)
        spread = np.sqrt((total**2 - (predicted**2).sum(axis=0)) * (total**2 - (true**2).sum(axis=0)))
        binary = self.classes == 2
        return {
            "accuracy": hits / total,
            "balanced_accuracy": mean_sensitivity if len(self.present) > 1 else np.full_like(total, np.nan),
            "sensitivity": sensitivities[1] if binary else mean_sensitivity,
            "specificity": specificities[1] if binary else specificities[self.present].mean(axis=0),
            "f1": f1[1] if binary else np.nansum(f1, axis=0) / np.isfinite(f1).sum(axis=0),
            "mcc": (hits * total - (predicted * true).sum(axis=0)) / spread,
        }


def sparse_one_hot(indices: np.ndarray, size: int, values: np.ndarray | None = None) -> Any:
    """Return a sparse matrix (images, size) with 1, or the value of the image, at the index of each image."""
    images = np.arange(len(indices))
    data = np.ones(len(indices)) if values is None else values.astype(np.float64)
    return csr_array((data, (images, indices)), (len(indices), size))


def squared_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the squared error of each image, shape (images,), the mean of which is the Brier score."""
    if probabilities.shape[1] == 2:
        return np.asarray((probabilities[:, 1] - (labels == 1)) ** 2)
    return np.asarray(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1))


def rank_images(probability: np.ndarray, positive: np.ndarray) -> tuple[Any, Any]:
    """Rank images by descending probability; equal probabilities share a rank.

    Returns:
        Two sparse matrices (images, ranks), of the positive and of the negative images, with 1 at each image's rank.
    """
    values, ranks = np.unique(-probability, return_inverse=True)
    return sparse_one_hot(ranks, len(values), positive), sparse_one_hot(ranks, len(values), ~positive)


def areas_under_curves(ranks: tuple[Any, Any], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the area under the ROC curve and the average precision of each resample."""
    positive, negative = (matrix.T @ weights for matrix in ranks)
    true_positives, false_positives = positive.cumsum(axis=0), negative.cumsum(axis=0)
    positives, negatives = true_positives[-1], false_positives[-1]
    auc = (negative * (true_positives - positive / 2)).sum(axis=0) / (positives * negatives)
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    return auc, (positive * precision).sum(axis=0) / positives
