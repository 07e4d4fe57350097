"""What several seeds say: of a mean, of a difference, and of many differences at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special  # scipy.stats takes as long to import as all else that a comparison needs

LEVEL = 0.95

Pair = tuple[int, int]


def interval_of_mean(values: Sequence[float], *, least: float = 0.0, most: float = 1.0) -> tuple[float, float]:
    """Return the 95 % interval of a mean over seeds, by Student's t, within what it can be; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan, math.nan
    mean, half = float(np.mean(values)), reach(values)
    return max(least, mean - half), min(most, mean + half)


def reach(values: Sequence[float]) -> float:
    """Return half the width of the 95 % interval of a mean: from which size on a difference shows."""
    return float(special.stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * standard_error(values)


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of the mean of two values or more."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def differences(one: Mapping[int, float], other: Mapping[int, float]) -> np.ndarray:
    """Return the differences of scores with the same seeds."""
    return np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def paired_test(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """Return the p-value of a two-sided t-test over the seeds that both share; None of fewer than two.

    Differences that are all the same have no spread to test by. Then it is the chance that all signs agree, which
    claims nothing about how large a difference may be.
    """
    found = differences(one, other)
    if len(found) < 2:
        return None
    if np.ptp(found) < 1e-12:
        return 1.0 if abs(found[0]) < 1e-12 else float(2.0 ** (1 - len(found)))
    return float(2 * special.stdtr(len(found) - 1, -abs(found.mean()) / standard_error(found)))


def holm(p_values: Mapping[Pair, float]) -> dict[Pair, float]:
    """Return p-values corrected for their number (Holm 1979, "A Simple Sequentially Rejective Multiple Test")."""
    corrected: dict[Pair, float] = {}
    highest = 0.0
    for place, pair in enumerate(sorted(p_values, key=lambda pair: p_values[pair])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[pair]))
        corrected[pair] = highest
    return corrected
