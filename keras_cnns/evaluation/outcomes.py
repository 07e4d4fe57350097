"""Labels and predictions of images, with the weights of a bootstrap: what metrics are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from keras_cnns.evaluation.statistics.recalibration import binary_logits, calibration_intercepts, calibration_slopes


@dataclass(frozen=True, eq=False)
class Outcomes:
    """True labels and predictions of images.

    Attributes:
        labels: The class of each image, shape (images,).
        probabilities: Shape (images, classes), float64.
        predicted: The predicted class of each image, shape (images,).
    """

    labels: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray

    @cached_property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.probabilities.shape[1])

    @cached_property
    def present(self) -> np.ndarray:
        """The classes that have images."""
        return np.unique(self.labels)

    @cached_property
    def one_hot_labels(self) -> Any:
        """The true class of each image as a sparse matrix (images, classes)."""
        return sparse_one_hot(self.labels, self.classes)

    @cached_property
    def one_hot_predicted(self) -> Any:
        """The predicted class of each image as a sparse matrix (images, classes)."""
        return sparse_one_hot(self.predicted, self.classes)

    @cached_property
    def one_hot_correct(self) -> Any:
        """The true class of each image that is predicted correctly, as a sparse matrix (images, classes)."""
        return sparse_one_hot(self.labels, self.classes, self.correct)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each image is predicted correctly, shape (images,)."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def logits(self) -> np.ndarray:
        """The logit of class 1 of two classes, shape (images,)."""
        return binary_logits(self.probabilities)

    @cached_property
    def ranks(self) -> list[tuple[Any, Any]]:
        """`rank_images` for class 1 of two classes, or for each class; empty if one of more classes has no images."""
        complete = len(self.present) == self.classes
        ranked = [1] if self.classes == 2 else range(self.classes) if complete else []
        return [rank_images(self.probabilities[:, index], self.labels == index) for index in ranked]


class WeightedOutcomes:
    """Outcomes, and a weight for each image in each resample of a bootstrap.

    Counts are sums of weights. The value of a metric is that of a resample where all weights are 1. In multi-label
    classification there is an object for each label, with two classes.

    Attributes:
        labels: The true class of each image, shape (images,).
        probabilities: The probability of each class, shape (images, classes), float64.
        predicted: The predicted class of each image, shape (images,).
        weights: Shape (images, resamples), float64.
        classes: Number of classes.
        present: The classes that have images.
        images: The outcomes without weights.
    """

    def __init__(self, images: Outcomes, weights: np.ndarray) -> None:
        self.images, self.weights = images, weights
        self.labels, self.probabilities, self.predicted = images.labels, images.probabilities, images.predicted
        self.classes, self.present = images.classes, images.present

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of a value per image, shape (images,), in each resample, shape (resamples,)."""
        return np.asarray(values @ self.weights / self.total)

    def class_1_or_mean(self, values: np.ndarray) -> np.ndarray:
        """Return the value of class 1 of two classes, or the mean over the classes that have images.

        `values` have shape (classes, resamples), and the result has shape (resamples,).
        """
        return np.asarray(values[1] if self.classes == 2 else values[self.present].mean(axis=0))

    @cached_property
    def total(self) -> np.ndarray:
        """The number of images, shape (resamples,)."""
        return np.asarray(self.weights.sum(axis=0))

    @cached_property
    def true_counts(self) -> np.ndarray:
        """The number of images of each class, shape (classes, resamples)."""
        return np.asarray(self.images.one_hot_labels.T @ self.weights)

    @cached_property
    def predicted_counts(self) -> np.ndarray:
        """The number of images predicted as each class, shape (classes, resamples)."""
        return np.asarray(self.images.one_hot_predicted.T @ self.weights)

    @cached_property
    def correct_counts(self) -> np.ndarray:
        """The number of images of each class that are predicted as this class, shape (classes, resamples)."""
        return np.asarray(self.images.one_hot_correct.T @ self.weights)

    @cached_property
    def sensitivities(self) -> np.ndarray:
        """The sensitivity of each class, shape (classes, resamples); NaN without images of the class."""
        return np.asarray(self.correct_counts / self.true_counts)

    @cached_property
    def specificities(self) -> np.ndarray:
        """The specificity of each class against the rest, shape (classes, resamples); NaN without other images."""
        others = self.total - self.true_counts
        return np.asarray((others - self.predicted_counts + self.correct_counts) / others)

    @cached_property
    def sensitivity(self) -> np.ndarray:
        """The sensitivity of class 1 of two classes, or the mean over classes, shape (resamples,)."""
        return self.class_1_or_mean(self.sensitivities)

    @cached_property
    def specificity(self) -> np.ndarray:
        """The specificity of class 1 of two classes, or the mean over classes, shape (resamples,)."""
        return self.class_1_or_mean(self.specificities)

    @cached_property
    def positive_predictive_value(self) -> np.ndarray:
        """The fraction of the predictions of class 1 that are right, or the mean over classes, shape (resamples,)."""
        return self.class_1_or_mean(self.correct_counts / self.predicted_counts)

    @cached_property
    def negative_predictive_value(self) -> np.ndarray:
        """The fraction of the other predictions that are right, or the mean over classes, shape (resamples,)."""
        others = self.total - self.predicted_counts
        return self.class_1_or_mean((others - self.true_counts + self.correct_counts) / others)

    @cached_property
    def calibration_slope(self) -> np.ndarray:
        """The calibration slope of class 1 of two classes, shape (resamples,)."""
        return calibration_slopes(self.images.logits, self.labels == 1, self.weights)

    @cached_property
    def calibration_intercept(self) -> np.ndarray:
        """The calibration intercept of class 1 of two classes, shape (resamples,)."""
        return calibration_intercepts(self.images.logits, self.labels == 1, self.weights)

    @cached_property
    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """The area under the ROC curve and the average precision, shape (resamples,).

        They are those of class 1 of two classes, or means over all classes, each against the rest.
        """
        if not self.images.ranks:
            undefined = np.full_like(self.total, np.nan)
            return undefined, undefined
        areas = [areas_under_curves(ranks, self.weights) for ranks in self.images.ranks]
        auc, average_precision = np.mean(areas, axis=0)
        return auc, average_precision


def sparse_one_hot(indices: np.ndarray, size: int, values: np.ndarray | None = None) -> Any:
    """Return a sparse matrix (images, size) with 1, or the value of the image, at the index of each image."""
    images = np.arange(len(indices))
    data = np.ones(len(indices)) if values is None else values.astype(np.float64)
    return csr_array((data, (images, indices)), (len(indices), size))


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
