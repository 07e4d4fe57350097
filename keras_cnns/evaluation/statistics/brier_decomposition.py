"""Decomposition of the Brier score of two classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BrierDecomposition:
    """The components of a Brier score, which is reliability - resolution + uncertainty + within_bins.

    Attributes:
        reliability: Mean squared difference between the mean probability of a bin and its fraction of positive images;
            0 for calibrated probabilities.
        resolution: Variance of the fractions of positive images between bins; higher is better.
        uncertainty: Variance of the classes, which does not depend on the probabilities.
        within_bins: What the bins hide: the variance of the probabilities within bins minus twice their covariance with
            the classes.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


def decompose_brier_score(positive: np.ndarray, probabilities: np.ndarray, bins: np.ndarray) -> BrierDecomposition:
    """Decompose the Brier score as Murphy (1973, "A New Vector Partition of the Probability Score").

    Murphy's components sum to the Brier score only if all probabilities of a bin are equal. The term within bins of
    Stephenson, Coelho and Jolliffe (2008, "Two Extra Components in the Brier Score Decomposition") makes the sum exact.

    Args:
        positive: Whether each image is positive, shape (images,); at least one image.
        probabilities: The predicted probability of each image, shape (images,).
        bins: The bin of each image, shape (images,).
    """
    bin_of_image = np.unique(bins, return_inverse=True)[1]
    images = np.bincount(bin_of_image)
    fraction, mean = (np.bincount(bin_of_image, values) / images for values in (positive, probabilities))
    share, prevalence = images / len(positive), positive.mean()
    deviation = probabilities - mean[bin_of_image]
    return BrierDecomposition(
        reliability=float((share * (mean - fraction) ** 2).sum()),
        resolution=float((share * (fraction - prevalence) ** 2).sum()),
        uncertainty=float(prevalence * (1 - prevalence)),
        within_bins=float((deviation * (deviation - 2 * positive)).mean()),
    )
