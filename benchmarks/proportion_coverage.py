"""Coverage of the 95 % intervals of proportions, of independent images and of patients with several images.

Independent images: the coverage of Clopper-Pearson and Wilson is computed exactly for many true proportions; the table
has its mean and its minimum. Patients: they have one to seven images, and a chance of success of their own, from a beta
distribution with the given correlation between images of a patient. The clustered interval is compared with those that
ignore patients, that take each patient for one image, and without the cluster that the design effect adds.

    python benchmarks/proportion_coverage.py [REPEATS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product

import numpy as np
from scipy.stats import binom

from keras_cnns.evaluation.statistics.proportions import clopper_pearson, clustered_interval, wilson

Bounds = tuple[float, float] | None


def without_added_cluster(successes: np.ndarray, trials: np.ndarray) -> Bounds:
    """Return the interval with the plain design effect; all trials are independent if all have the same outcome."""
    total, clusters = trials.sum(), len(trials)
    share = successes.sum() / total
    if share in (0, 1):
        return clopper_pearson(successes.sum(), total)
    variance = clusters / (clusters - 1) * ((successes - share * trials) ** 2).sum() / total**2
    size = min(total, share * (1 - share) / variance) if variance > 0 else total
    return clopper_pearson(size * share, size)


RULES: dict[str, Callable[[np.ndarray, np.ndarray], Bounds]] = {
    "clustered": clustered_interval,
    "plain design effect": without_added_cluster,
    "ignoring patients": lambda successes, trials: clopper_pearson(successes.sum(), trials.sum()),
    "patients as images": lambda successes, trials: clopper_pearson(
        len(trials) * successes.sum() / trials.sum(), len(trials)
    ),
}


def exact_coverage(interval: Callable[[float, float], Bounds], images: int, share: float) -> float:
    """Return the probability that the interval of a binomial proportion contains it."""
    ends = [interval(successes, images) or (0.0, 1.0) for successes in range(images + 1)]
    holds = [low <= share <= high for low, high in ends]
    return float(binom.pmf(np.flatnonzero(holds), images, share).sum())


def draw_patients(generator: np.random.Generator, patients: int, share: float, correlation: float) -> np.ndarray:
    """Return successes and trials of each patient, shape (2, patients)."""
    trials = generator.integers(1, 8, patients)
    if correlation == 0:
        return np.stack([generator.binomial(trials, share), trials])
    scale = (1 - correlation) / correlation
    return np.stack([generator.binomial(trials, generator.beta(share * scale, (1 - share) * scale, patients)), trials])


def main(repeats: int) -> None:
    """Print both tables."""
    print("independent images: mean and minimum coverage, %")
    for images, (low, high) in product((20, 40, 100, 400), ((0.5, 0.9), (0.9, 0.999))):
        shares = np.linspace(low, high, 200)
        cells = []
        for function in (clopper_pearson, wilson):
            found = 100 * np.array([exact_coverage(function, images, share) for share in shares])
            cells.append(f"{function.__name__} {found.mean():5.1f} {found.min():5.1f}")
        print(f"{images:4} images, true proportion {low} to {high}:  {'   '.join(cells)}", flush=True)
    print(f"\npatients with one to seven images: coverage, % (one standard error "
          f"{100 * np.sqrt(0.95 * 0.05 / repeats):.1f}), and mean width")  # fmt: skip
    for patients, share, correlation in product((15, 40, 150), (0.7, 0.95, 0.99), (0.0, 0.2, 0.6)):
        generator = np.random.default_rng(0)
        draws = [draw_patients(generator, patients, share, correlation) for _ in range(repeats)]
        cells = []
        for name, rule in RULES.items():
            ends = np.array([rule(*draw) for draw in draws])
            coverage = 100 * ((ends[:, 0] <= share) & (share <= ends[:, 1])).mean()
            cells.append(f"{name} {coverage:5.1f} {np.ptp(ends, axis=1).mean():.3f}")
        print(f"{patients:4} patients, {share}, correlation {correlation}:  {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
