"""Metrics and intervals of some images: of all, of a subgroup, of one label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.calibration import two_answers
from keras_cnns.evaluation.ensembles import Settled
from keras_cnns.evaluation.intervals import Interval, intervals
from keras_cnns.evaluation.metrics import measure, measures_of

MOST_LETTERS = 80


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Metrics, and their 95 % intervals.

    Attributes:
        images: How many images there are.
        positives: How many of them are of class 1, of two classes, or have the label; None for more classes, and for
            several labels together.
        metrics: Every metric of `Measures` that is defined on them.
        intervals: Their intervals, each where there is one.
    """

    images: int
    positives: int | None
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """Return metrics and the ends of their intervals, by the names that they have in MLflow."""
        named = {f"{prefix}{name}": value for name, value in self.metrics.items()}
        for name, interval in self.intervals.items():
            named[f"{prefix}{name}_low"] = interval.low
            named[f"{prefix}{name}_high"] = interval.high
        return named


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Images with what is true of them and what a network says.

    Attributes:
        labels: The class of each image, or 0 or 1 for each label, shape (images, labels).
        probabilities: Shape (images, classes), or (images, labels).
        settled: What they are decided by.
        groups: What each image belongs to that the bootstrap draws as a whole; None where it draws images.
        seed: Seed of the bootstrap.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    settled: Settled
    groups: np.ndarray | None
    seed: int = 0

    def take(self, places: np.ndarray) -> Predicted:
        """Return some of the images."""
        groups = None if self.groups is None else self.groups[places]
        return Predicted(
            labels=self.labels[places],
            probabilities=self.probabilities[places],
            settled=self.settled,
            groups=groups,
            seed=self.seed,
        )

    def of_label(self, label: int) -> Predicted:
        """Return what is true and said of one of several labels."""
        thresholds = self.settled.threshold
        own = thresholds[label] if isinstance(thresholds, tuple) else thresholds
        return Predicted(
            labels=self.labels[:, label],
            probabilities=two_answers(self.probabilities[:, label]),
            settled=Settled(threshold=own, temperature=self.settled.temperature, where=self.settled.where),
            groups=self.groups,
            seed=self.seed,
        )

    @property
    def positives(self) -> int | None:
        """How many images are of class 1, where there are two classes."""
        binary = self.labels.ndim == 1 and self.probabilities.shape[1] == 2
        return int((self.labels == 1).sum()) if binary else None

    def counted(self) -> Measured:
        """Return how many images there are, and no metrics: they would be too few to say."""
        return Measured(images=len(self.labels), positives=self.positives, metrics={}, intervals={})

    def measured(self) -> Measured:
        """Measure them."""
        threshold, temperature = self.settled.threshold, self.settled.temperature
        return Measured(
            images=len(self.labels),
            positives=self.positives,
            metrics=measure(self.labels, self.probabilities, threshold=threshold, temperature=temperature),
            intervals=intervals(
                measures_of(self.labels, self.probabilities, threshold=threshold, temperature=temperature),
                len(self.labels),
                groups=self.groups,
                seed=self.seed,
            ),
        )


def in_names(words: str) -> str:
    """Return words as MLflow takes them in a metric's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", words).strip("_")[:MOST_LETTERS] or "_"


def as_named(parts: Mapping[str, Measured], prefix: str) -> dict[str, float]:
    """Return the metrics of several parts, by the names that they have in MLflow, no two of them alike."""
    named: dict[str, float] = {}
    used: set[str] = set()
    for words, part in parts.items():
        name, number = in_names(words), 1
        while name in used:
            number += 1
            name = f"{in_names(words)}_{number}"
        used.add(name)
        named |= part.as_metrics(f"{prefix}{name}_")
    return named
