"""Proportions of images with an event, such as correct predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.intervals import number_groups
from keras_cnns.evaluation.statistics.proportions import clustered_interval


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """A proportion of images.

    Attributes:
        value: The proportion.
        low: The lower end of its 95 % confidence interval.
        high: The upper end.
    """

    value: float
    low: float
    high: float

    def to_metrics(self, name: str) -> dict[str, float]:
        """Return the value and the ends of the interval under their names in MLflow."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def proportion(events: np.ndarray, groups: np.ndarray | None = None) -> Proportion:
    """Return the proportion of images with an event.

    Args:
        events: Whether each image has the event, shape (images,), of one image at least.
        groups: The group of each image, such as its patient; by default each image is a group.
    """
    numbers = number_groups(groups, len(events))
    low, high = clustered_interval(np.bincount(numbers, events), np.bincount(numbers)) or (0.0, 1.0)
    return Proportion(value=float(events.mean()), low=low, high=high)
