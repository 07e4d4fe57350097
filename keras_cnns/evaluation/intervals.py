"""Confidence intervals of metrics by the bootstrap.

Images, or whole groups of images such as those of a patient, are resampled with replacement. The interval is Efron's
BCa (bias-corrected and accelerated), widened for small samples by Student's t as Hesterberg (2015, "What Teachers
Should Know About the Bootstrap") does for percentile intervals. An expected calibration error is a sum of absolute
differences, which is biased upwards by chance, and more so in a resample; its interval is that of
`absolute_sum_interval`. `benchmarks/interval_coverage.py` measures the coverage of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

RESAMPLES = 2000
CONFIDENCE_LEVEL = 0.95
MAX_CELLS_PER_CHUNK = 4_000_000
MAX_JACKKNIFE_BLOCKS = 500
MIN_DEFINED_SHARE = 0.5
BISECTION_STEPS = 30

MetricFunction = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval.

    Attributes:
        low: The lower end.
        high: The upper end.
        dropped: Number of resamples left out because the metric is not defined on them.
    """

    low: float
    high: float
    dropped: int


def bootstrap_intervals(
    metrics: MetricFunction,
    images: int,
    *,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the confidence interval of each metric that has one.

    A metric has no interval if there is only one image or group, if it has the same value in all resamples (as when
    all predictions are correct), if it is not defined in half of the resamples or more, or if an end is infinite.

    Args:
        metrics: Computes the metrics from the weights of the images, shape (images, resamples). Each metric has shape
            (resamples,); a metric that is a sum of absolute terms returns its terms, shape (terms, resamples).
        images: Number of images.
        groups: The group of each image, such as its patient, shape (images,). Groups are resampled as a whole.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    unit_of_image = number_groups(groups, images)
    units = int(unit_of_image.max()) + 1 if images else 0
    if units < 2:
        return {}
    chunk = max(1, MAX_CELLS_PER_CHUNK // images)
    points = metrics(np.ones((images, 1)))
    resampled = concatenate(metrics(counts[unit_of_image]) for counts in resample_units(units, resamples, seed, chunk))
    left_out = concatenate(metrics(counts[unit_of_image]) for counts in leave_out_units(units, chunk))
    intervals = {}
    for name, point in points.items():
        values = resampled[name][..., ~np.isnan(resampled[name]).reshape(-1, resamples).any(axis=0)]
        number = values.shape[-1]
        defined = np.isfinite(point).all() and number > MIN_DEFINED_SHARE * resamples
        if defined and (point.ndim == 1 or point.any()) and (values != values[..., :1]).any():
            if values.ndim == 2:
                low, high = absolute_sum_interval(point, values, units)
            else:
                low, high = bca_interval(float(point[0]), values, left_out[name], units)
            if np.isfinite([low, high]).all():
                intervals[name] = Interval(low=low, high=high, dropped=resamples - number)
    return intervals


def number_groups(groups: np.ndarray | None, images: int) -> np.ndarray:
    """Return the number of each image's group from 0, shape (images,); without groups, each image is one."""
    return np.arange(images) if groups is None else np.asarray(np.unique(groups, return_inverse=True)[1])


def resample_units(units: int, resamples: int, seed: int, chunk: int) -> Iterator[np.ndarray]:
    """Yield how often each unit is in each resample, in chunks of shape (units, up to `chunk` resamples)."""
    generator = np.random.default_rng(seed)
    for begin in range(0, resamples, chunk):
        number = min(chunk, resamples - begin)
        cells = generator.integers(0, units, (units, number)) * number + np.arange(number)
        yield np.bincount(cells.ravel(), minlength=units * number).reshape(units, number).astype(np.float64)


def leave_out_units(units: int, chunk: int) -> Iterator[np.ndarray]:
    """Yield the weights of a jackknife, which leaves out one unit at a time or, with many units, one of 500 blocks.

    Blocks give the same acceleration as single units, because the third moment of block sums and their cubed
    deviation, divided by the square root of the number of blocks, grow alike.
    """
    blocks = min(units, MAX_JACKKNIFE_BLOCKS)
    block_of_unit = np.random.default_rng(0).permutation(units) % blocks
    for begin in range(0, blocks, chunk):
        left_out = np.arange(begin, min(blocks, begin + chunk))
        yield (block_of_unit[:, np.newaxis] != left_out).astype(np.float64)


def concatenate(chunks: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate the metrics of several chunks of resamples."""
    computed = list(chunks)
    return {name: np.concatenate([chunk[name] for chunk in computed], axis=-1) for name in computed[0]}


def half_width(units: int) -> float:
    """Return the half-width of an interval in standard deviations; it approaches 1.96 as units are added."""
    return float(stdtrit(units - 1, (1 + CONFIDENCE_LEVEL) / 2) * np.sqrt(units / (units - 1)))


def bca_interval(point: float, values: np.ndarray, left_out: np.ndarray, units: int) -> tuple[float, float]:
    """Return the BCa interval of a value, given its values in the resamples and in the jackknife (`left_out`)."""
    below = ((values < point).sum() + (values == point).sum() / 2) / len(values)
    bias = ndtri(np.clip(below, 0.5 / len(values), 1 - 0.5 / len(values)))
    defined = left_out[np.isfinite(left_out)]
    influence = defined.sum() / max(1, len(defined)) - defined
    spread = (influence**2).sum()
    acceleration = (influence**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    normal = bias + np.array([-half_width(units), half_width(units)])
    with np.errstate(invalid="ignore"):  # between infinite values
        low, high = np.quantile(values, ndtr(bias + normal / (1 - acceleration * normal)))
    return float(low), float(high)


def absolute_sum_interval(point: np.ndarray, values: np.ndarray, units: int) -> tuple[float, float]:
    """Return the interval of a sum of absolute terms.

    Chance increases such a sum, so the observed terms are not used as the true ones. The true terms are assumed to be
    the observed terms times a factor, with the deviations of the resamples as noise. The lower end is the sum that
    would reach the observed sum with a probability of 2.5 %, or 0 if noise alone reaches it that often. The upper end
    is the sum that would reach it with a probability of 97.5 %; it can be smaller than the observed sum. The observed
    terms `point` have shape (terms, 1), those of the resamples (`values`) have shape (terms, resamples).
    """
    noise, observed = values - point, np.abs(point).sum()

    def factor_for(probability: float) -> float:
        def is_reached(factor: float) -> bool:
            return bool((np.abs(factor * point + noise).sum(axis=0) >= observed).mean() >= probability)

        low, high = 0.0, 1.0
        if is_reached(low):
            return low
        while not is_reached(high):
            high *= 2
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if is_reached(middle) else (middle, high)
        return high

    tails = ndtr([-half_width(units), half_width(units)])
    low, high = (float(factor_for(tail) * observed) for tail in tails)
    return low, high
