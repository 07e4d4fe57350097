"""Confidence intervals of the metrics that are proportions of images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from keras_cnns.evaluation.intervals import Interval, number_groups
from keras_cnns.evaluation.metric import Metric
from keras_cnns.evaluation.outcomes import Outcomes
from keras_cnns.evaluation.statistics.proportions import clustered_interval


def proportion_intervals(
    outcomes: Outcomes, metrics: Iterable[Metric], groups: np.ndarray | None
) -> dict[str, Interval]:
    """Return the intervals of the metrics that are proportions of at least one image, by name.

    They are those of Clopper and Pearson or, for groups, of Korn and Graubard; see `clustered_interval`. Unlike the
    bootstrap, they also exist if all images count. There are none if there is only one group.

    Args:
        outcomes: Labels and predictions.
        metrics: The metrics, which can include others.
        groups: The group of each image, such as its patient, shape (images,); None if images are independent.
    """
    group_of_image = number_groups(groups, len(outcomes.labels))
    if not group_of_image.any():
        return {}
    found = {}
    for metric in metrics:
        if metric.proportion is None or (metric.one_versus_rest and outcomes.classes > 2):
            continue
        counted, among = metric.proportion(outcomes)
        ends = clustered_interval(*(np.bincount(group_of_image, which) for which in (counted & among, among)))
        if ends is not None:
            found[metric.name] = Interval(low=ends[0], high=ends[1], dropped=0)
    return found
