"""Calibration of probabilities: reliability diagram, expected calibration error and temperature scaling.

For two classes, the probability of class 1 is compared with the fraction of images of class 1. For more classes, the
confidence of an image, the probability of its most probable class, is compared with the accuracy (Guo, Pleiss, Sun and
Weinberger, "On Calibration of Modern Neural Networks", 2017). Probabilities are grouped into 15 bins of equal width;
bin m holds those from (m - 1)/15, exclusive, to m/15. The expected calibration error is the mean over images of the
absolute difference between the mean probability and the fraction of their bin.

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

from keras_cnns.evaluation.intervals import number_groups
from keras_cnns.evaluation.statistics.proportions import clustered_interval

BINS = 15
TEMPERATURE_SPREAD = 0.25
"""Standard deviation of the prior of the inverse temperature, see `fit_temperature`."""


@dataclass(frozen=True, eq=False)
class ReliabilityDiagram:
    """A reliability diagram; values of an empty bin are NaN.

    Attributes:
        images: Number of images in each bin.
        probability: Mean probability of class 1, or mean confidence, in each bin.
        fraction: Fraction of images of class 1, or accuracy, in each bin.
        low: Lower end of the 95 % confidence interval of this fraction.
        high: Upper end of this interval.
    """

    images: np.ndarray
    probability: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error."""
        filled = self.images > 0
        gaps = np.abs(self.probability - self.fraction)[filled]
        return float((gaps * self.images[filled]).sum() / self.images.sum())


def bin_predictions(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each image the probability of class 1 or the confidence, whether that is the class, and the bin."""
    binary = probabilities.shape[1] == 2
    probability = (probabilities[:, 1] if binary else probabilities.max(axis=1)).astype(np.float64)
    occurred = labels == (1 if binary else probabilities.argmax(axis=1))
    return probability, occurred, np.clip(np.ceil(probability * BINS).astype(int) - 1, 0, BINS - 1)


def reliability_diagram(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None = None
) -> ReliabilityDiagram:
    """Compute the reliability diagram.

    Args:
        labels: The class of each image.
        probabilities: The predicted probabilities.
        groups: The group of each image, such as its patient, which the intervals consider.
    """
    probability, occurred, bins = bin_predictions(labels, probabilities)
    images = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, values, BINS) / images for values in (probability, occurred)]
    group_of_image = number_groups(groups, len(labels))
    ends = np.full((2, BINS), np.nan)
    for index in np.flatnonzero(images):
        inside = bins == index
        counts = (np.bincount(group_of_image[inside], values) for values in (occurred[inside], inside[inside]))
        ends[:, index] = clustered_interval(*counts) or np.nan
    return ReliabilityDiagram(images, *means, *ends)


def calibration_gaps(labels: np.ndarray, probabilities: np.ndarray) -> Any:
    """Return a sparse matrix (images, bins) that holds the probability minus 1 or 0 in the bin of each image.

    The sum of the absolute column sums, divided by the number of images, is the expected calibration error.
    """
    probability, occurred, bins = bin_predictions(labels, probabilities)
    return csr_array((probability - occurred, (np.arange(len(labels)), bins)), (len(labels), BINS))


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


def fit_temperature(
    labels: np.ndarray, probabilities: np.ndarray, *, spread: float = TEMPERATURE_SPREAD
) -> float | None:
    """Return the temperature that minimises the cross-entropy on these images, shrunk towards 1.

    Few images, or few errors among them, hardly determine the temperature, and one that is far too low makes the
    probabilities of other images worse than none. So the inverse temperature, the factor of the logits, has a normal
    prior with mean 1, and the temperature is its posterior mode: a ridge penalty, whose influence decreases as the
    information of the images increases. `benchmarks/temperature.py` compares it with other rules.

    It is None if a probability is not finite, if all images are classified correctly (the cross-entropy alone has its
    optimum at 0), or if the probabilities are no better than chance (it has its optimum at infinity).

    Args:
        labels: The class of each image.
        probabilities: The predicted probabilities.
        spread: Standard deviation of the prior of the inverse temperature.
    """
    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    logits = to_logits(probabilities)
    true_logits = logits[np.arange(len(labels)), labels]

    def slope(inverse_temperature: float, penalty: float = 1 / (len(labels) * spread**2)) -> float:
        """Return the derivative of the penalised cross-entropy by the inverse temperature, which is monotonic."""
        expected = (softmax(logits * inverse_temperature, axis=1) * logits).sum(axis=1)
        return float((expected - true_logits).mean()) + penalty * (inverse_temperature - 1)

    if slope(0.0, penalty=0.0) >= 0 or not true_logits.any():
        return None
    upper = 1.0
    while slope(upper) <= 0:
        upper *= 2
    return 1 / float(brentq(slope, 0.0, upper, xtol=1e-12))
