"""Measures of predicted probabilities against labels.

`scores` is what a training follows. `Measures` is what a result is defended with: each metric as a function of how
often every image is counted, so that one definition gives the value itself (each image once), all resamples of a
bootstrap, and a jackknife. Each equals scikit-learn's wherever that has a value; where it has none, or where
scikit-learn puts a 0 for "not defined", the metric is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from keras_cnns.evaluation.calibration import calibration_gaps, two_answers, with_temperature

Metrics = dict[str, np.ndarray]
# Of two classes one number, of several labels an image one for each; none where the likeliest class counts.
Threshold: TypeAlias = float | tuple[float, ...] | None
HALF = 0.5


def scores(labels: np.ndarray, probabilities: np.ndarray, *, threshold: Threshold = None) -> dict[str, float]:
    """Measure predictions.

    Args:
        labels: The true class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        probabilities: The probability of each class, shape (images, classes); or of each label.
        threshold: From which probability of class 1 on, of two classes, an image counts as one of it; for several
            labels an image, one for each label, 0.5 by default.

    Returns:
        `loss` (mean cross-entropy, nats), `accuracy` and, where the images are of all classes, `auc`: the area
        under the ROC curve, for more than two classes the mean over one class against the rest. For several labels
        an image each is the mean over the labels, the AUC over those that some images have and some have not.
    """
    if labels.ndim == 2:
        chosen = np.where(labels == 1, probabilities, 1 - probabilities).astype(np.float64)
        right = decide(probabilities, threshold or halves(labels)) == labels
        ranked_by = [(labels[:, label] == 1, probabilities[:, label]) for label in range(labels.shape[1])]
        ranked_by = [(truth, found) for truth, found in ranked_by if truth.any() and not truth.all()]
    else:
        classes = probabilities.shape[1]
        chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        right = decide(probabilities, threshold) == labels
        complete = len(np.unique(labels)) == classes >= 2
        ranked_by = [(labels == index, probabilities[:, index]) for index in range(classes if complete else 0)]
    measured = {"loss": float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean()), "accuracy": float(right.mean())}
    if ranked_by and np.isfinite(probabilities).all():
        measured["auc"] = float(np.mean([roc_auc_score(truth, found) for truth, found in ranked_by]))
    return measured


def measure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    threshold: Threshold = None,
    temperature: float | None = None,
) -> dict[str, float]:
    """Return every metric of `Measures` that these predictions have; none where a probability is not finite."""
    if not len(labels) or not np.isfinite(probabilities).all():
        return {}
    measures = measures_of(labels, probabilities, threshold=threshold, temperature=temperature)
    measured = measures(np.ones((len(labels), 1)))
    values = {name: float(np.abs(value).sum() if value.ndim == 2 else value[0]) for name, value in measured.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def measures_of(
    labels: np.ndarray, probabilities: np.ndarray, *, threshold: Threshold = None, temperature: float | None = None
) -> Callable[[np.ndarray], Metrics]:
    """Return the metrics of classes, or of labels where `labels` has a column for each, as `Measures` has them."""
    if labels.ndim == 2:
        thresholds = threshold if isinstance(threshold, tuple) else halves(labels)
        return LabelMeasures(labels, probabilities, thresholds=thresholds, temperature=temperature)
    single = None if isinstance(threshold, tuple) else threshold
    return Measures(labels, probabilities, threshold=single, temperature=temperature)


def halves(labels: np.ndarray) -> tuple[float, ...]:
    """Return the threshold of each label where nothing else settles it."""
    return tuple(HALF for _ in range(labels.shape[1]))


def decide(probabilities: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return what each image is taken for.

    That is the likeliest class or, of two, class 1 from a threshold of its probability on; with a threshold for each
    label 0 or 1 for each, shape (images, labels).
    """
    if isinstance(threshold, tuple):
        return (probabilities >= np.array(threshold)).astype(np.int64)
    if threshold is None or probabilities.shape[1] != 2:
        return np.asarray(probabilities.argmax(axis=1))
    return (probabilities[:, 1] >= threshold).astype(np.int64)


class Measures:
    """Metrics as functions of how often each image is counted.

    accuracy, balanced_accuracy, f1, mcc
        of the classes decided on. F1 is that of class 1 or, for more than two classes, the mean over classes;
        balanced accuracy is the mean of the sensitivities of the classes that there are images of.
    sensitivity, specificity
        of class 1 or, for more than two classes, the mean over each class against the rest.
    auc, average_precision
        area under the ROC curve, and average precision, of class 1 or the mean over each class against the rest.
    brier
        the mean squared distance of probabilities and truth: for two classes of class 1's probability, for more the
        sum over classes, from 0 to 2.
    ece
        expected calibration error, see `calibration`.
    brier_scaled, ece_scaled
        the same two of the probabilities after temperature scaling.

    Args:
        labels: The true class of each image, shape (images,).
        probabilities: The probability of each class, shape (images, classes), finite.
        threshold: From which probability of class 1 on, of two classes, an image counts as one of it; by default
            the likelier class counts.
        temperature: Divides the logits for the two `_scaled` metrics, which are left out without it.
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
        self.probabilities = probabilities.astype(np.float64)
        predicted = decide(probabilities, threshold)
        self.present = np.unique(labels)
        self.true = indicator(labels, self.classes)
        self.predicted = indicator(predicted, self.classes)
        self.right = indicator(labels, self.classes, (predicted == labels).astype(np.float64))
        self.curves = [ranked(self.probabilities[:, index], labels == index) for index in self.ranked_classes()]
        self.errors = {"": squared_errors(labels, self.probabilities)}
        self.gaps = {"": calibration_gaps(labels, self.probabilities)}
        if temperature is not None:
            scaled = with_temperature(self.probabilities, temperature)
            self.errors["_scaled"] = squared_errors(labels, scaled)
            self.gaps["_scaled"] = calibration_gaps(labels, scaled)

    def ranked_classes(self) -> list[int]:
        """Return the classes that have a curve against the rest; none where one of several has no images."""
        if self.classes == 2:
            return [1]
        return list(range(self.classes)) if len(self.present) == self.classes else []

    def __call__(self, counts: np.ndarray) -> Metrics:
        """Measure.

        Args:
            counts: How often each image counts, shape (images, resamples).

        Returns:
            The metrics of each resample, each of shape (resamples,), NaN where one is not defined; but of the
            expected calibration error the share that each bin has in it, signed, of shape (bins, resamples).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            measured = self.of_decisions(counts)
            areas = [areas_under(curve, counts) for curve in self.curves]
            if areas:
                measured["auc"] = np.mean([auc for auc, _ in areas], axis=0)
                measured["average_precision"] = np.mean([precision for _, precision in areas], axis=0)
            total = counts.sum(axis=0)
            for suffix, errors in self.errors.items():
                measured[f"brier{suffix}"] = errors @ counts / total
                measured[f"ece{suffix}"] = self.gaps[suffix].T @ counts / total
        return measured

    def of_decisions(self, counts: np.ndarray) -> Metrics:
        """Measure what was decided on."""
        true, predicted, right = (matrix.T @ counts for matrix in (self.true, self.predicted, self.right))
        total, hits = counts.sum(axis=0), right.sum(axis=0)
        sensitivities = right / true
        specificities = (total - true - predicted + right) / (total - true)
        f1 = 2 * right / (true + predicted)
        of_present = sensitivities[self.present].mean(axis=0)
        spread = np.sqrt((total**2 - (predicted**2).sum(axis=0)) * (total**2 - (true**2).sum(axis=0)))
        binary = self.classes == 2
        return {
            "accuracy": hits / total,
            "balanced_accuracy": of_present if len(self.present) > 1 else np.full_like(total, np.nan),
            "sensitivity": sensitivities[1] if binary else of_present,
            "specificity": specificities[1] if binary else specificities[self.present].mean(axis=0),
            "f1": f1[1] if binary else mean_of_defined(f1),
            "mcc": (hits * total - (predicted * true).sum(axis=0)) / spread,
        }


class LabelMeasures:
    """The same metrics of several labels an image: means over the labels of the two-class metrics.

    A label counts in the metrics that it has on these images: the AUC only where some images have it and some have
    not. A resample that lacks one of those has no value.

    Args:
        labels: 0 or 1 for each label, shape (images, labels).
        probabilities: The probability of each label, shape (images, labels), finite.
        thresholds: From which probability on an image counts as having each label.
        temperature: As in `Measures`, one for all labels.
    """

    def __init__(
        self, labels: np.ndarray, probabilities: np.ndarray, *, thresholds: tuple[float, ...], temperature: float | None
    ) -> None:
        self.parts = [
            Measures(labels[:, label], two_answers(probabilities[:, label]), threshold=own, temperature=temperature)
            for label, own in enumerate(thresholds)
        ]
        once = [part(np.ones((len(labels), 1))) for part in self.parts]
        self.defined = {name: [bool(np.isfinite(point[name]).all()) for point in once] for name in once[0]}

    def __call__(self, counts: np.ndarray) -> Metrics:
        """Measure as `Measures` does; the parts of a calibration error are the bins of all labels."""
        measured = [part(counts) for part in self.parts]
        means = {}
        for name, defined in self.defined.items():
            values = [part[name] for part, has in zip(measured, defined, strict=True) if has]
            if not values:
                means[name] = np.full(counts.shape[1], np.nan)
            elif values[0].ndim == 2:
                means[name] = np.concatenate(values) / len(values)
            else:
                means[name] = np.mean(values, axis=0)
        return means


def indicator(classes: np.ndarray, number: int, values: np.ndarray | None = None) -> Any:
    """Return a matrix (images, number) with 1, or a value, at each image's class, and 0 elsewhere."""
    images = np.arange(len(classes))
    return csr_array((np.ones(len(classes)) if values is None else values, (images, classes)), (len(classes), number))


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN, and NaN where all are."""
    defined = np.isfinite(values)
    return np.asarray(np.where(defined, values, 0.0).sum(axis=0) / defined.sum(axis=0))


def squared_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's part of the Brier score."""
    if probabilities.shape[1] == 2:
        return np.asarray((probabilities[:, 1] - (labels == 1)) ** 2)
    truth = np.eye(probabilities.shape[1])[labels]
    return np.asarray(((probabilities - truth) ** 2).sum(axis=1))


def ranked(probability: np.ndarray, positive: np.ndarray) -> tuple[Any, Any]:
    """Return matrices (images, ranks) that put the positive, and the other, images at the rank of their probability.

    Rank 0 is the highest probability; equal ones share a rank.
    """
    values, ranks = np.unique(-probability, return_inverse=True)
    return (
        indicator(ranks, len(values), positive.astype(np.float64)),
        indicator(ranks, len(values), (~positive).astype(np.float64)),
    )


def areas_under(curve: tuple[Any, Any], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the area under the ROC curve and the average precision of each resample."""
    positive, negative = (matrix.T @ counts for matrix in curve)
    found, false = positive.cumsum(axis=0), negative.cumsum(axis=0)
    positives, negatives = found[-1], false[-1]
    auc = (negative * (found - positive / 2)).sum(axis=0) / (positives * negatives)
    precision = found / np.maximum(found + false, 1)
    return auc, (positive * precision).sum(axis=0) / positives
