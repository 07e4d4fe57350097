"""Labelled predictions, and the metrics and intervals that are computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_cnns.evaluation.calibration import binary_probabilities
from keras_cnns.evaluation.intervals import Interval, bootstrap_intervals
from keras_cnns.evaluation.metric import Metric
from keras_cnns.evaluation.metrics import all_metrics, compute_metrics, make_weighted_metrics
from keras_cnns.evaluation.operating_point import OperatingPoint, predict_classes
from keras_cnns.evaluation.outcomes import Outcomes
from keras_cnns.evaluation.proportion_intervals import proportion_intervals
from keras_cnns.evaluation.results import MetricResult


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledPredictions:
    """True labels and predicted probabilities of images.

    Attributes:
        labels: The class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        probabilities: Shape (images, classes), or (images, labels).
        operating_point: The threshold and the temperature.
        groups: The group of each image, which the bootstrap resamples as a whole; None to resample images.
        seed: Seed of the bootstrap.
        positive_is_known: Whether class 1 of two classes is known to be the positive one; otherwise metrics that need
            a positive class are left out.
        decisions: The predicted class of each image, or 0 or 1 for each label, if thresholds differ between images.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    operating_point: OperatingPoint
    groups: np.ndarray | None
    seed: int = 0
    positive_is_known: bool = True
    decisions: np.ndarray | None = None

    def take(self, indices: np.ndarray) -> LabelledPredictions:
        """Return the images at these indices."""
        return replace(
            self,
            labels=self.labels[indices],
            probabilities=self.probabilities[indices],
            operating_point=self.operating_point.take(indices),
            groups=None if self.groups is None else self.groups[indices],
            decisions=None if self.decisions is None else self.decisions[indices],
        )

    def swap_classes(self) -> LabelledPredictions:
        """Return the predictions with two classes in reverse order."""
        return replace(
            self,
            labels=1 - self.labels,
            probabilities=self.probabilities[:, ::-1],
            operating_point=self.operating_point.swap_classes(),
            decisions=None if self.decisions is None else 1 - self.decisions,
        )

    def select_label(self, label: int) -> LabelledPredictions:
        """Return the binary predictions of one of several labels."""
        return replace(
            self,
            labels=self.labels[:, label],
            probabilities=binary_probabilities(self.probabilities[:, label]),
            operating_point=self.operating_point.select_label(label),
            decisions=None if self.decisions is None else self.decisions[:, label],
        )

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels."""
        return self.labels.ndim == 2

    @property
    def is_binary(self) -> bool:
        """Whether each image belongs to one of two classes."""
        return not self.multi_label and self.probabilities.shape[1] == 2

    @property
    def predicted(self) -> np.ndarray:
        """The predicted class of each image, or 0 or 1 for each label."""
        if self.decisions is not None:
            return self.decisions
        return predict_classes(self.probabilities, self.operating_point.threshold)

    def count(self) -> MetricResult:
        """Count the images, without computing metrics."""
        has_positive = self.is_binary and self.positive_is_known
        return MetricResult(images=len(self.labels), positives=int((self.labels == 1).sum()) if has_positive else None)

    def compute(self, chosen: Iterable[Metric] | None = None) -> MetricResult:
        """Count the images and compute metrics and intervals.

        Args:
            chosen: The metrics, with the names of some of `all_metrics`, which are the default.

        Raises:
            EvaluationError: The function of a metric cannot be used, see `Metric.compute`.
        """
        leave_out = self.is_binary and not self.positive_is_known
        known = all_metrics().values() if chosen is None else chosen
        usable = [metric for metric in known if not (leave_out and metric.needs_positive)]
        metrics = compute_metrics(self.labels, self.probabilities, **self.options(usable))
        return replace(self.count(), metrics=metrics, intervals=self.compute_intervals(usable))

    def compute_labels(self, names: Sequence[str]) -> dict[str, MetricResult]:
        """Return the metrics of each of several labels by name; empty in single-label classification."""
        labels = enumerate(names) if self.multi_label else ()
        return {name: self.select_label(label).compute() for label, name in labels}

    def compute_intervals(self, metrics: Sequence[Metric]) -> dict[str, Interval]:
        """Return the interval of each metric that has one, by name: that of a proportion, or by the bootstrap."""
        found = {}
        if not self.multi_label:
            outcomes = Outcomes(self.labels, self.probabilities, self.predicted)
            found = proportion_intervals(outcomes, metrics, self.groups)
        weighted = self.weighted_metrics([metric for metric in metrics if metric.name not in found])
        found |= bootstrap_intervals(weighted, len(self.labels), groups=self.groups, seed=self.seed)
        return {
            metric.name: replace(interval, low=metric.clip(interval.low), high=metric.clip(interval.high))
            for metric in metrics
            if (interval := found.get(metric.name)) is not None
        }

    def weighted_metrics(self, metrics: Sequence[Metric]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Return metrics as a function of image weights, see `make_weighted_metrics`."""
        return make_weighted_metrics(self.labels, self.probabilities, **self.options(metrics))

    def options(self, metrics: Sequence[Metric]) -> dict[str, Any]:
        """Return the arguments of `make_weighted_metrics` and `compute_metrics` besides labels and probabilities."""
        point = self.operating_point
        return {"threshold": point.threshold, "temperature": point.applied_temperature, "decisions": self.decisions,
                "metrics": metrics}  # fmt: skip
