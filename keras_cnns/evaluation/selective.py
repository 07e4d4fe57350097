"""Selective classification: answer the images with the highest confidence, and abstain from the others.

The terms are those of El-Yaniv and Wiener (2010, "On the Foundations of Noise-Free Selective Classification") and of
Geifman and El-Yaniv (2017, "Selective Classification for Deep Neural Networks"): the coverage is the fraction of images
that are answered, and the selective risk is the fraction of the answers that are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cnns.evaluation.operating_point import Threshold

SMALLEST = np.finfo(np.float64).tiny
MAX_POINTS = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskCoverageCurve:
    """The selective risk at each coverage.

    Attributes:
        coverage: Fraction of the images that are answered, ascending to 1, shape (points,).
        risk: Fraction of these that are classified wrongly.
        confidence: The lowest confidence that is answered.
        area: The area under the curve (AURC): the mean risk over all numbers of answered images.
    """

    coverage: np.ndarray
    risk: np.ndarray
    confidence: np.ndarray
    area: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-compatible values, with at most 200 points."""
        points = np.unique(np.linspace(0, len(self.coverage) - 1, MAX_POINTS).round().astype(int))
        values = {name: getattr(self, name)[points].tolist() for name in ("coverage", "risk", "confidence")}
        return {"area": self.area, **values}


def decision_confidence(probabilities: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return how certain the decision on each image is, from 0 to 1, shape (images,).

    It is the probability of the predicted class. With a decision threshold, it is this probability after the log odds
    were shifted so that the threshold becomes 0.5, because an image at the threshold is the least certain one.

    Args:
        probabilities: Shape (images, classes).
        threshold: The decision threshold for class 1 of two classes; None if the most probable class is predicted.
    """
    if not isinstance(threshold, float) or probabilities.shape[1] != 2:
        return np.asarray(probabilities.max(axis=1))
    shares = np.maximum(probabilities, SMALLEST) / np.maximum([1 - threshold, threshold], SMALLEST)
    return np.asarray(shares.max(axis=1) / shares.sum(axis=1))


def min_confidence(confidence: np.ndarray, coverage: float) -> float:
    """Return the highest confidence at or above which at least a fraction `coverage` of the images lies."""
    answered = int(np.ceil(coverage * len(confidence) - 1e-9))
    return float(np.sort(confidence)[::-1][max(answered, 1) - 1])


def risk_coverage_curve(confidence: np.ndarray, correct: np.ndarray) -> RiskCoverageCurve:
    """Compute the risk-coverage curve. Images of equal confidence are answered together.

    Args:
        confidence: The confidence of each image, shape (images,).
        correct: Whether each image is classified correctly, shape (images,).
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], ~correct[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, [True]))  # of each group of equal confidences
    risk = wrong.cumsum()[last] / (last + 1)
    return RiskCoverageCurve(
        coverage=(last + 1) / len(ranked),
        risk=risk,
        confidence=ranked[last],
        area=float(np.average(risk, weights=np.diff(last, prepend=-1))),
    )
