"""Calibration of probabilities: reliability diagram, expected calibration error and temperature scaling.

The definitions are those of Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017. The
confidence of an image is the probability of its most probable class. Confidences are grouped into 15 bins of equal
width; bin m holds confidences from (m - 1)/15, exclusive, to m/15. The expected calibration error is the mean over
images of the absolute difference between the mean confidence and the accuracy of their bin.

`labels` are class indices of shape (images,), `probabilities` have shape (images, classes). In multi-label
classification each label of each image is a separate binary prediction, see `binary_probabilities`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.special import softmax

BINS = 15


@dataclass(frozen=True, eq=False)
class ReliabilityDiagram:
    """A reliability diagram.

    Attributes:
        images: Number of images in each bin.
        confidence: Mean confidence in each bin; NaN if the bin is empty.
        accuracy: Accuracy in each bin; NaN if the bin is empty.
    """

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error."""
        filled = self.images > 0
        gaps = np.abs(self.confidence - self.accuracy)[filled]
        return float((gaps * self.images[filled]).sum() / self.images.sum())


def bin_predictions(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the confidence of each image, whether its most probable class is correct, and its bin."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    return confidence, correct, np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def reliability_diagram(labels: np.ndarray, probabilities: np.ndarray) -> ReliabilityDiagram:
    """Compute the mean confidence and the accuracy in each bin."""
    confidence, correct, bins = bin_predictions(labels, probabilities)
    images = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = (np.bincount(bins, values, BINS) / images for values in (confidence, correct))
        return ReliabilityDiagram(images, *means)


def calibration_gaps(labels: np.ndarray, probabilities: np.ndarray) -> Any:
    """Return a sparse matrix (images, bins) that holds confidence minus correctness in the bin of each image.

    The sum of the absolute column sums, divided by the number of images, is the expected calibration error.
    """
    confidence, correct, bins = bin_predictions(labels, probabilities)
    return csr_array((confidence - correct, (np.arange(len(labels)), bins)), (len(labels), BINS))


def to_logits(probabilities: np.ndarray) -> np.ndarray:
    """Return logits of the probabilities, shifted so that the largest logit of each image is 0."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    return np.asarray(logits - logits.max(axis=1, keepdims=True))


def binary_probabilities(probability: np.ndarray) -> np.ndarray:
    """Return the probabilities of the negative and the positive class, shape (..., 2), given those of the positive."""
    return np.stack([1 - probability, probability], axis=-1)


def apply_temperature(
    probabilities: np.ndarray, temperature: float | np.ndarray, *, multi_label: bool = False
) -> np.ndarray:
    """Return the probabilities after division of the logits by a temperature, or by that of each image (images, 1).

    The most probable class does not change. With `multi_label`, each column is the independent probability of a label.
    """
    if multi_label:
        binary = binary_probabilities(probabilities.ravel().astype(np.float64))
        return apply_temperature(binary, temperature)[:, 1].reshape(probabilities.shape)
    return np.asarray(softmax(to_logits(probabilities) / temperature, axis=1))


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the temperature that minimises the cross-entropy on these images.

    It is None if a probability is not finite, if all images are classified correctly (the optimum is 0), or if the
    probabilities are no better than chance (the optimum is infinite).
    """
    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    logits = to_logits(probabilities)
    true_logits = logits[np.arange(len(labels)), labels]

    def slope(inverse_temperature: float) -> float:
        """Return the derivative of the cross-entropy by the inverse temperature, which is monotonic."""
        expected = (softmax(logits * inverse_temperature, axis=1) * logits).sum(axis=1)
        return float((expected - true_logits).mean())

    if slope(0.0) >= 0 or not true_logits.any():
        return None
    upper = 1.0
    while slope(upper) <= 0:
        upper *= 2
    return 1 / float(brentq(slope, 0.0, upper, xtol=1e-12))
