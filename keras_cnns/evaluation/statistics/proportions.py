"""95 % confidence intervals of proportions, of independent images and of images in clusters such as patients.

Unlike a bootstrap, they also exist where all or none of the images count: 40 correct predictions of 40 are compatible
with an accuracy of 91 %.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from keras_cnns.evaluation.intervals import CONFIDENCE_LEVEL

TAIL = (1 - CONFIDENCE_LEVEL) / 2


def clopper_pearson(successes: float, trials: float) -> tuple[float, float] | None:
    """Return the exact interval of Clopper and Pearson (1934), which covers the true value at least as often as stated.

    Args:
        successes: Number of successes; it need not be whole, see `clustered_interval`.
        trials: Number of independent trials; there is no interval for 0.
    """
    if trials <= 0:
        return None
    failures = trials - successes
    low = float(betaincinv(successes, failures + 1, TAIL)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - TAIL)) if failures > 0 else 1.0
    return low, high


def wilson(successes: float, trials: float) -> tuple[float, float] | None:
    """Return the score interval of Wilson (1927), which covers the true value about as often as stated on average.

    Near 0 and 1 the coverage can be far lower (Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial
    Proportion"), so evaluations use `clopper_pearson`. There is no interval for 0 trials.
    """
    if trials <= 0:
        return None
    normal = float(ndtri(1 - TAIL))
    share, scale = successes / trials, 1 + normal**2 / trials
    centre = (share + normal**2 / (2 * trials)) / scale
    margin = normal * float(np.sqrt(share * (1 - share) / trials + normal**2 / (4 * trials**2))) / scale
    return (0.0 if successes <= 0 else centre - margin), (1.0 if successes >= trials else centre + margin)


def clustered_interval(successes: np.ndarray, trials: np.ndarray) -> tuple[float, float] | None:
    """Return the interval of Korn and Graubard for the proportion of successes among all trials of all clusters.

    It is that of Clopper and Pearson with the effective number of trials in place of the number of trials (Korn and
    Graubard 1998, "Confidence Intervals for Proportions With Small Expected Number of Positive Counts Estimated From
    Survey Data"). With one trial per cluster both are the same.

    Args:
        successes: Number of successes in each cluster, shape (clusters,).
        trials: Number of trials in each cluster, shape (clusters,). There is no interval if all are 0.
    """
    if not trials.sum():
        return None
    size = effective_trials(successes, trials)
    return clopper_pearson(size * float(successes.sum() / trials.sum()), size)


def effective_trials(successes: np.ndarray, trials: np.ndarray) -> float:
    """Return how many independent trials give as much information on the proportion as these clusters.

    It is the number of trials divided by the design effect, with the correction of Korn and Graubard for the degrees of
    freedom, and at most the number of trials.
    """
    successes, trials = successes[trials > 0], trials[trials > 0]
    clusters, total = len(trials), float(trials.sum())
    if clusters == total:
        return total
    if clusters < 2:
        return 1.0
    freedom = stdtrit(total - 1, TAIL) / stdtrit(clusters - 1, TAIL)
    return float(min(total, total / design_effect(successes, trials) * freedom**2))


def design_effect(successes: np.ndarray, trials: np.ndarray) -> float:
    """Return the variance of a proportion in clusters, divided by its variance if the trials were independent.

    The variance is that of the ratio estimator, as of Rao and Scott (1992, "A Simple Method for the Analysis of
    Clustered Binary Data"). A few failures that happen to be in different clusters do not show that failures are
    independent, and no failures show nothing. So one cluster of average size is added in which all trials have the
    rarer outcome, as if they were completely dependent. Without failures, the effective number of trials is then about
    that of clusters, and the more failures there are, the less the added cluster matters. Without it, the coverage
    falls to 84 % (`benchmarks/proportion_coverage.py`).
    """
    mean_size = trials.mean()
    failures = trials - successes
    events = np.append(successes if successes.sum() < failures.sum() else failures, mean_size)
    sizes = np.append(trials, mean_size)
    clusters, total = len(sizes), sizes.sum()
    share = events.sum() / total
    variance = clusters / (clusters - 1) * ((events - share * sizes) ** 2).sum() / total**2
    return float(variance / (share * (1 - share) / (total - 1)))
