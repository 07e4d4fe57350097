"""Tests of two classifiers on the same images, which may be in clusters such as patients.

A test without clusters is the same as one in which each image is a cluster of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtr, ndtri

from keras_cnns.evaluation.intervals import number_groups
from keras_cnns.evaluation.statistics.proportions import TAIL

SMALLEST_VARIANCE = 1e-15  # of areas under the curve, below which only rounding errors differ from 0


@dataclass(frozen=True, kw_only=True)
class AucComparison:
    """A comparison of the areas under two ROC curves.

    Attributes:
        areas: Both areas.
        covariance: Their estimated covariance matrix, shape (2, 2); NaN if there are fewer than two clusters with
            positive or with negative images.
        difference: The second area minus the first.
        p: The p-value of a two-sided test of equal areas; None if the variance of the difference is unknown, or 0 even
            though the areas differ.
        interval: The 95 % confidence interval of the difference; None if its variance is unknown or 0.
    """

    areas: tuple[float, float]
    covariance: np.ndarray
    difference: float
    p: float | None
    interval: tuple[float, float] | None


def compare_areas(
    positive: np.ndarray, first: np.ndarray, second: np.ndarray, clusters: np.ndarray | None = None
) -> AucComparison | None:
    """Compare the areas under the ROC curves of two classifiers; None unless there are positive and negative images.

    The test is that of DeLong, DeLong and Clarke-Pearson (1988, "Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves: A Nonparametric Approach") or, for clusters, that of Obuchowski (1997,
    "Nonparametric Analysis of Clustered ROC Curve Data"). The interval is symmetric, and ends at -1 and 1.

    Args:
        positive: Whether each image is positive, shape (images,).
        first: The score of each image by the first classifier, higher for positive images, shape (images,).
        second: The score of each image by the second classifier.
        clusters: The cluster of each image, shape (images,).
    """
    if positive.all() or not positive.any():
        return None
    areas, covariance = estimate_areas(positive, (first, second), clusters)
    difference = float(areas[1] - areas[0])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    p: float | None = None
    interval = None
    if variance > SMALLEST_VARIANCE:
        error = math.sqrt(variance)
        margin = float(ndtri(1 - TAIL)) * error
        p = float(2 * ndtr(-abs(difference) / error))
        interval = max(-1.0, difference - margin), min(1.0, difference + margin)
    elif not math.isnan(variance) and abs(difference) < math.sqrt(SMALLEST_VARIANCE):
        p = 1.0
    return AucComparison(
        areas=(float(areas[0]), float(areas[1])), covariance=covariance, difference=difference, p=p, interval=interval
    )


def estimate_areas(
    positive: np.ndarray, scores: Sequence[np.ndarray], clusters: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas under ROC curves and their covariance matrix, shapes (classifiers,) and (classifiers,) * 2.

    The algorithm is that of Sun and Xu (2014, "Fast Implementation of DeLong's Algorithm for Comparing the Areas Under
    Correlated Receiver Operating Characteristic Curves"), which ranks the images instead of comparing each pair. The
    covariance is NaN if there are fewer than two clusters with positive or with negative images.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    # How often a positive image has a higher score than a negative one: for each positive one, and for each negative.
    above, below = np.empty((positives, len(scores))), np.empty((negatives, len(scores)))
    for index, score in enumerate(scores):
        ranks = midranks(score)
        above[:, index] = (ranks[positive] - midranks(score[positive])) / negatives
        below[:, index] = 1 - (ranks[~positive] - midranks(score[~positive])) / positives
    areas = above.mean(axis=0)
    cluster_of_image = number_groups(clusters, len(positive))
    of_positives, of_negatives = cluster_of_image[positive], cluster_of_image[~positive]
    counts = [len(np.unique(found)) for found in (of_positives, of_negatives, cluster_of_image)]
    if min(counts) < 2:
        return areas, np.full((len(scores), len(scores)), np.nan)
    weights = [number / (number - 1) for number in counts]
    sums = [np.zeros((counts[2], len(scores))) for _ in range(2)]
    np.add.at(sums[0], of_positives, (above - areas) / positives)
    np.add.at(sums[1], of_negatives, (below - areas) / negatives)
    across = weights[2] * sums[0].T @ sums[1]
    covariance = weights[0] * sums[0].T @ sums[0] + weights[1] * sums[1].T @ sums[1] + across + across.T
    return areas, covariance


def midranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[inverse])


def mcnemar(first: np.ndarray, second: np.ndarray, clusters: np.ndarray | None = None) -> float:
    """Return the p-value of a two-sided test that two classifiers are correct equally often.

    The test is the exact one of McNemar (1947), a binomial test of the images that only one of them classifies
    correctly, without a continuity correction or mid-p. For clusters, it is the permutation test that exchanges the two
    classifiers in whole clusters, with the exact distribution over all exchanges.

    Args:
        first: Whether the first classifier is correct for each image, shape (images,).
        second: Whether the second classifier is correct for each image.
        clusters: The cluster of each image, shape (images,).
    """
    differences = second.astype(np.int64) - first.astype(np.int64)
    if clusters is not None:
        differences = np.bincount(np.unique(clusters, return_inverse=True)[1], differences).round().astype(np.int64)
    sizes, numbers = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    # Each cluster with a difference of `size` adds 0 or `2 * size` to the smallest sum, with equal probability.
    distribution = np.ones(1)
    for size, number in zip(sizes.tolist(), numbers.tolist(), strict=True):
        added = np.zeros(number * size + 1)
        added[::size] = binomial_probabilities(number)
        distribution = np.convolve(distribution, added)
    sums = 2 * np.arange(len(distribution)) - (len(distribution) - 1)
    return float(min(1.0, distribution[np.abs(sums) >= abs(int(differences.sum()))].sum()))


def binomial_probabilities(trials: int) -> np.ndarray:
    """Return the probability of 0, 1, ..., `trials` successes with a probability of one half, shape (trials + 1,)."""
    successes = np.arange(trials + 1)
    logarithms = gammaln(trials + 1) - gammaln(successes + 1) - gammaln(trials - successes + 1) - trials * math.log(2)
    return np.asarray(np.exp(logarithms))
