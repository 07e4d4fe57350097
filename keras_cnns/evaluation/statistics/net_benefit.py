"""Decision curves: the net benefit of treating the patients that a classifier finds, compared with all or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, kw_only=True, eq=False)
class DecisionCurve:
    """Net benefits at several threshold probabilities; that of treating nobody is 0.

    Attributes:
        thresholds: The probability of disease at which one would treat, shape (thresholds,), above 0 and below 1.
        model: The net benefit of treating those whose predicted probability is at or above the threshold.
        treat_all: The net benefit of treating everybody.
    """

    thresholds: np.ndarray
    model: np.ndarray
    treat_all: np.ndarray


def decision_curve(
    positive: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> DecisionCurve:
    """Compute a decision curve (Vickers and Elkin 2006, "Decision Curve Analysis").

    The net benefit is the fraction of true positives minus the fraction of false positives times t / (1 - t), where t
    is the threshold probability: who treats at a probability of 10 % accepts nine false positives for a true one.

    Args:
        positive: Whether each image is positive, shape (images,); at least one image.
        probabilities: The predicted probability of each image.
        thresholds: Threshold probabilities, above 0 and below 1.
    """
    odds = thresholds / (1 - thresholds)
    # How many probabilities are at or above each threshold.
    true_positives, false_positives = (
        len(values) - np.searchsorted(np.sort(values), thresholds, side="left")
        for values in (probabilities[positive], probabilities[~positive])
    )
    prevalence = positive.mean()
    return DecisionCurve(
        thresholds=thresholds,
        model=(true_positives - odds * false_positives) / len(positive),
        treat_all=prevalence - odds * (1 - prevalence),
    )
