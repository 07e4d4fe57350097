"""How far a metric could be from what it would be on endless images like these: the bootstrap.

Images, or whole groups of images such as a patient's, are drawn again with replacement; the interval is Efron's BCa
(bias-corrected and accelerated), made wider for small numbers by Student's t as Hesterberg (2015, "What Teachers
Should Know About the Bootstrap") does for percentiles. An expected calibration error is a sum of distances, which
chance makes larger and a resample larger still, so it has an interval of another kind, see `ends_of_distance`.
`benchmarks/interval_coverage.py` shows how often both cover the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

RESAMPLES = 2000
LEVEL = 0.95
CELLS_AT_A_TIME = 4_000_000
MOST_JACKKNIFE_BLOCKS = 500
FEWEST_DEFINED = 0.5
HALVINGS = 30

Measure = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a metric lies with a probability of 95 %.

    Attributes:
        low: The lower end.
        high: The upper end.
        dropped: How many resamples the metric is not defined on; they are left out.
    """

    low: float
    high: float
    dropped: int


def intervals(
    measure: Measure,
    images: int,
    *,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the interval of each metric that has one.

    A metric has none where there is one image or group only, where it is the same on all resamples, as with
    predictions that are all right, and where half of the resamples or more do not define it.

    Args:
        measure: The metrics, given how often each image counts, shape (images, resamples): each of shape
            (resamples,) or, where it is a sum of absolute parts, its parts, of shape (parts, resamples).
        images: How many images there are.
        groups: What each image belongs to that is drawn as a whole, such as its patient; shape (images,).
        resamples: How many times to draw.
        seed: Seed of the draws.
    """
    unit = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1 if images else 0
    if units < 2:
        return {}
    at_a_time = max(1, CELLS_AT_A_TIME // images)
    points = measure(np.ones((images, 1)))
    drawn = collected(measure(counts[unit]) for counts in draw(units, resamples, seed, at_a_time))
    left_out = collected(measure(counts[unit]) for counts in leave_out(units, at_a_time))
    found = {}
    for name, point in points.items():
        values = drawn[name][..., np.isfinite(drawn[name]).reshape(-1, resamples).all(axis=0)]
        number = values.shape[-1]
        defined = np.isfinite(point).all() and number > FEWEST_DEFINED * resamples
        if defined and point.any() and np.ptp(values, axis=-1).any():
            if values.ndim == 2:
                low, high = ends_of_distance(point, values, units)
            else:
                low, high = ends(float(point[0]), values, left_out[name], units)
            found[name] = Interval(low=low, high=high, dropped=resamples - number)
    return found


def draw(units: int, resamples: int, seed: int, at_a_time: int) -> Iterator[np.ndarray]:
    """Yield how often each unit is drawn, shape (units, some of the resamples)."""
    generator = np.random.default_rng(seed)
    for begin in range(0, resamples, at_a_time):
        number = min(at_a_time, resamples - begin)
        drawn = generator.integers(0, units, (units, number)) * number + np.arange(number)
        yield np.bincount(drawn.ravel(), minlength=units * number).reshape(units, number).astype(np.float64)


def leave_out(units: int, at_a_time: int) -> Iterator[np.ndarray]:
    """Yield counts that leave one unit out in turn or, of very many, one of 500 blocks of them.

    Blocks have the acceleration of single units: of block sums the third moment and the cubed deviation, over the
    square root of their number, grow alike.
    """
    blocks = min(units, MOST_JACKKNIFE_BLOCKS)
    block = np.random.default_rng(0).permutation(units) % blocks
    for begin in range(0, blocks, at_a_time):
        left = np.arange(begin, min(blocks, begin + at_a_time))
        yield (block[:, np.newaxis] != left).astype(np.float64)


def collected(parts: Iterator[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join metrics that were measured a part at a time."""
    measured = list(parts)
    return {name: np.concatenate([part[name] for part in measured], axis=-1) for name in measured[0]}


def reach(units: int) -> float:
    """Return how many standard deviations an interval reaches to each side, 1.96 for endless units."""
    return float(stdtrit(units - 1, (1 + LEVEL) / 2) * np.sqrt(units / (units - 1)))


def ends(point: float, values: np.ndarray, left_out: np.ndarray, units: int) -> tuple[float, float]:
    """Return the ends of the interval."""
    below = ((values < point).sum() + (values == point).sum() / 2) / len(values)
    bias = ndtri(np.clip(below, 0.5 / len(values), 1 - 0.5 / len(values)))
    defined = left_out[np.isfinite(left_out)]
    influence = defined.sum() / max(1, len(defined)) - defined
    spread = (influence**2).sum()
    acceleration = (influence**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    normal = bias + np.array([-reach(units), reach(units)])
    adjusted = ndtr(bias + normal / (1 - acceleration * normal))
    low, high = np.quantile(values, adjusted)
    return float(low), float(high)


def ends_of_distance(point: np.ndarray, values: np.ndarray, units: int) -> tuple[float, float]:
    """Return the ends of the interval of a sum of absolute parts.

    Chance makes such a sum larger, so it is not taken for its own truth: the true parts could be the observed ones
    times any factor, and the chance of the resamples is added to them. The lower end is the sum whose parts give the
    observed sum or more with a probability of 2.5 %, or 0 where chance alone gives it; the upper end is the one whose
    parts do so with 97.5 %, and can lie below what is observed.

    Args:
        point: The parts as observed, shape (parts, 1).
        values: The parts of each resample, shape (parts, resamples).
        units: How many units are drawn from.
    """
    chance, observed = values - point, np.abs(point).sum()

    def factor_with(share: float) -> float:
        def reached(factor: float) -> bool:
            return bool((np.abs(factor * point + chance).sum(axis=0) >= observed).mean() >= share)

        low, high = 0.0, 1.0
        if reached(low):
            return low
        while not reached(high):
            high *= 2
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high

    low, high = (float(factor_with(share) * observed) for share in ndtr([-reach(units), reach(units)]))
    return low, high
