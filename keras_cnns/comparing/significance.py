"""Statistics over seeds: the confidence interval of a mean, paired tests, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special  # much faster to import than scipy.stats

LEVEL = 0.95
SMALLEST_SPREAD = 1e-12

Pair = tuple[int, int]


def confidence_interval(values: Sequence[float], *, minimum: float = 0.0, maximum: float = 1.0) -> tuple[float, float]:
    """Return the 95 % confidence interval of a mean over seeds (Student's t); NaN for fewer than two values.

    Args:
        values: One value per seed.
        minimum: The lowest value that the mean can have; the interval ends there.
        maximum: The highest value that the mean can have.
    """
    if len(values) < 2:
        return math.nan, math.nan
    mean, margin = float(np.mean(values)), margin_of_error(values)
    return max(minimum, mean - margin), min(maximum, mean + margin)


def margin_of_error(values: Sequence[float]) -> float:
    """Return the half-width of the 95 % confidence interval of a mean; smaller differences are not significant."""
    return float(special.stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * standard_error(values)


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of the mean of two or more values."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def paired_differences(first: Mapping[int, float], second: Mapping[int, float]) -> np.ndarray:
    """Return the differences of scores by seed, for the seeds that both have, shape (seeds,)."""
    return np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])


def paired_t_test(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Return the p-value of a two-sided paired t-test over the seeds that both have; None for fewer than two seeds.

    If all differences are equal, their variance is zero and the t-test is undefined. The p-value of a sign test is
    returned instead, which does not depend on the size of the difference.
    """
    found = paired_differences(first, second)
    if len(found) < 2:
        return None
    if np.ptp(found) < SMALLEST_SPREAD:
        return 1.0 if abs(found[0]) < SMALLEST_SPREAD else float(2.0 ** (1 - len(found)))
    return float(2 * special.stdtr(len(found) - 1, -abs(found.mean()) / standard_error(found)))


def holm_correction(p_values: Mapping[Pair, float]) -> dict[Pair, float]:
    """Return p-values corrected for multiple testing (Holm 1979, "A Simple Sequentially Rejective Multiple Test")."""
    corrected: dict[Pair, float] = {}
    highest = 0.0
    for rank, pair in enumerate(sorted(p_values, key=lambda pair: p_values[pair])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[pair]))
        corrected[pair] = highest
    return corrected
