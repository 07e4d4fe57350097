"""Confidence bands of ROC and precision-recall curves by the bootstrap, pointwise.

Images or whole groups of images are resampled as for the intervals of metrics. The band of a ROC curve holds 95 % of
the sensitivities at each specificity; that of a precision-recall curve 95 % of the precisions at each recall.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.intervals import CONFIDENCE_LEVEL, MAX_CELLS_PER_CHUNK, number_groups, resample_units
from keras_cnns.evaluation.outcomes import rank_images

RESAMPLES = 500
POINTS = 101


@dataclass(frozen=True, kw_only=True, eq=False)
class Bands:
    """Confidence bands at equidistant positions from 0 to 1.

    Attributes:
        positions: 1 - specificity, or recall.
        sensitivity: Lower and upper end of the sensitivity, shape (2, positions).
        precision: Lower and upper end of the precision, shape (2, positions).
    """

    positions: np.ndarray
    sensitivity: np.ndarray
    precision: np.ndarray


def compute_bands(positive: np.ndarray, probability: np.ndarray, groups: np.ndarray | None, seed: int = 0) -> Bands:
    """Compute the bands of both curves.

    Args:
        positive: Whether each image is positive, shape (images,).
        probability: The probability of the positive class, shape (images,).
        groups: The group of each image, which is resampled as a whole; None for single images.
        seed: Seed of the resampling.
    """
    unit_of_image = number_groups(groups, len(positive))
    ranks = rank_images(probability, positive)
    positions = np.linspace(0, 1, POINTS)
    chunk = max(1, MAX_CELLS_PER_CHUNK // len(positive))
    sensitivities, precisions = [], []
    for counts in resample_units(int(unit_of_image.max()) + 1, RESAMPLES, seed, chunk):
        for true, false in curves(ranks, counts[unit_of_image]):
            recall = np.r_[0, true / true[-1]]
            sensitivities.append(np.interp(positions, np.r_[0, false / false[-1]], recall))
            precision = np.r_[1, true / np.maximum(true + false, 1)]
            precisions.append(precision[np.minimum(np.searchsorted(recall, positions), len(true))])
    tails = [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2]
    bands = (np.quantile(values, tails, axis=0) for values in (sensitivities, precisions))
    return Bands(positions=positions, sensitivity=next(bands), precision=next(bands))


def curves(ranks: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the cumulative true and false positives of each resample that has images of both kinds."""
    true, false = ((matrix.T @ weights).cumsum(axis=0) for matrix in ranks)
    for column in np.flatnonzero((true[-1] > 0) & (false[-1] > 0)):
        yield true[:, column], false[:, column]
