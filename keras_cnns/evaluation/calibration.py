"""Whether probabilities mean what they say, and what validation images settle for all others.

Expected calibration error, reliability diagram and temperature scaling are those of Guo, Pleiss, Sun and Weinberger,
"On Calibration of Modern Neural Networks", 2017: an image's confidence is the probability of its likeliest class;
confidences fall into 15 bins of equal width, the m-th from (m - 1)/15, exclusive, to m/15; the error is the mean over
images of the distance between their bin's mean confidence and its share of right answers.

Where an image has any number of labels, each label of each image is a question of its own with two answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram.

    Attributes:
        images: How many images each bin has.
        confidence: Their mean confidence; NaN in an empty bin.
        accuracy: The share of right answers; NaN in an empty bin.
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


def bins_of(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidence of each image and the bin it falls into."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    return confidence, np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """Return how often the network is right at each confidence."""
    confidence, bins = bins_of(probabilities)
    right = probabilities.argmax(axis=1) == labels
    images = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            images=images,
            confidence=np.bincount(bins, confidence, BINS) / images,
            accuracy=np.bincount(bins, right, BINS) / images,
        )


def calibration_gaps(labels: np.ndarray, probabilities: np.ndarray) -> Any:
    """Return a matrix (images, bins) with confidence less rightness in each image's bin; its sums make the error."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - a training that only takes a temperature needs none

    confidence, bins = bins_of(probabilities)
    right = probabilities.argmax(axis=1) == labels
    return csr_array((confidence - right, (np.arange(len(labels)), bins)), (len(labels), BINS))


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Return logits that give these probabilities, their largest 0 for each image."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    return np.asarray(logits - logits.max(axis=1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits of 0 or less."""
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def two_answers(probability: np.ndarray) -> np.ndarray:
    """Return the probabilities of no and yes, of shape (..., 2), where only that of yes is given."""
    return np.stack([1 - probability, probability], axis=-1)


def with_temperature(probabilities: np.ndarray, temperature: float, *, multi_label: bool = False) -> np.ndarray:
    """Return probabilities whose logits are divided by a temperature; the likeliest class stays the same.

    Args:
        probabilities: Shape (images, classes).
        temperature: What the logits are divided by.
        multi_label: Whether each column is the probability of a label, independent of the others.
    """
    if multi_label:
        answers = two_answers(probabilities.ravel().astype(np.float64))
        return with_temperature(answers, temperature)[:, 1].reshape(probabilities.shape)
    return softmax(logits_of(probabilities) / temperature)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the temperature with the least cross-entropy on these images.

    None where there is none: all images are right, so that ever surer probabilities would fit ever better, or the
    probabilities are no better than a guess, so that ever flatter ones would.
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - slow to import

    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    logits = logits_of(probabilities)
    of_truth = logits[np.arange(len(labels)), labels]

    def slope(sharpness: float) -> float:
        """The derivative of the cross-entropy by the inverse of the temperature; it never falls."""
        return float(((softmax(logits * sharpness) * logits).sum(axis=1) - of_truth).mean())

    if slope(0.0) >= 0 or not of_truth.any():
        return None
    sharpest = 1.0
    while slope(sharpest) <= 0:
        sharpest *= 2
    return 1 / float(brentq(slope, 0.0, sharpest, xtol=1e-12))


def choose_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the probability of class 1 from which on an image should count as one of it.

    It has the largest sum of sensitivity and specificity (Youden's J) on these images, lies in the middle between
    two of their probabilities and, of several with the same J, nearest to 0.5. None for more than two classes, for
    images of one class, and where no threshold is better than a guess.
    """
    if probabilities.shape[1] != 2 or not np.isfinite(probabilities).all() or len(np.unique(labels)) < 2:
        return None
    values, ranks = np.unique(probabilities[:, 1].astype(np.float64), return_inverse=True)
    positives, negatives = (np.bincount(ranks[labels == label], minlength=len(values)) for label in (1, 0))
    missed, cleared = np.cumsum(positives)[:-1], np.cumsum(negatives)[:-1]
    youden = cleared / negatives.sum() - missed / positives.sum()
    if not len(youden) or youden.max() <= 0:
        return None
    between = (values[:-1] + values[1:]) / 2
    best = np.flatnonzero(youden >= youden.max() - 1e-12)
    return float(between[best[np.abs(between[best] - 0.5).argmin()]])


def settled_by_validation(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return what the validation images settle, each where there is one.

    Args:
        labels: The class of each image, or 0 or 1 for each of its labels, shape (images, labels).
        probabilities: Shape (images, classes), or (images, labels).

    Returns:
        `temperature` and `threshold` or, for several labels an image, one temperature for all and `threshold_0`,
        `threshold_1`, ..., one for each label.
    """
    if labels.ndim == 2:
        found = {
            f"threshold_{label}": choose_threshold(labels[:, label], two_answers(probabilities[:, label]))
            for label in range(labels.shape[1])
        }
        found["temperature"] = fit_temperature(labels.ravel(), two_answers(probabilities.ravel()))
    else:
        found = {
            "threshold": choose_threshold(labels, probabilities),
            "temperature": fit_temperature(labels, probabilities),
        }
    return {name: value for name, value in found.items() if value is not None}
