"""Differences of metrics between two networks, or between a network and a reader, on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_cnns.comparing.significance import holm_correction
from keras_cnns.evaluation.intervals import bootstrap_intervals
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.statistics.paired_tests import compare_areas, mcnemar

DELONG, MCNEMAR = "DeLong", "McNemar"
DECISION_METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "mcc")
"""The metrics of a reader who gives no probabilities."""
CLASSES_OF_METRICS = {"sensitivity": 1, "specificity": 0}
"""The class whose images alone the metrics of two classes depend on."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference of a metric between two networks or readers.

    Attributes:
        metric: The name of the metric.
        values: The value of each.
        difference: The second value minus the first.
        interval: The 95 % confidence interval of the difference; None if there is none, as for equal predictions.
        test: "DeLong", "McNemar", or "" if the metric has no test.
        p: The p-value of the test; None if there is no test, or it is not defined.
        corrected_p: The p-value corrected for all comparisons of this metric by Holm's method.
    """

    metric: str
    values: tuple[float, float]
    difference: float
    interval: tuple[float, float] | None
    test: str = ""
    p: float | None = None
    corrected_p: float | None = None

    def format(self, *, corrected: bool) -> tuple[str, ...]:
        """Format the cells of a row with the columns of `format_columns`."""
        interval = "none" if self.interval is None else "{:+.4f} to {:+.4f}".format(*self.interval)
        p_values = (self.p, self.corrected_p) if corrected else (self.p,)
        shown = ("" if p is None else f"{p:.2g}" if p >= 0.0001 else "< 0.0001" for p in p_values)
        title = all_metrics()[self.metric].title
        return title, *(f"{value:.4f}" for value in self.values), f"{self.difference:+.4f}", interval, *shown


def format_columns(*, corrected: bool) -> tuple[str, ...]:
    """Return the columns of a table of differences, with corrected p-values or without."""
    return ("metric", "first", "second", "difference", "95 % interval", "p", *(("p, corrected",) if corrected else ()))


def paired_differences(
    first: LabelledPredictions, second: LabelledPredictions, *, decisions_only: bool = False
) -> dict[str, PairedDifference]:
    """Return the differences of the metrics that are defined for both, by name.

    Both are resampled together by the bootstrap that gives the intervals, and groups such as patients as a whole. The
    AUC of two classes has the test and the interval of DeLong, or of Obuchowski for groups (`compare_areas`). Accuracy,
    and sensitivity and specificity of two classes, have McNemar's exact test, or its permutation version for groups
    (`mcnemar`). Metrics without a finite range, and sums of absolute terms such as the ECE, are left out.

    Args:
        first: The predictions of the first network or reader.
        second: Those of the second one for the same images.
        decisions_only: Whether one of them has no probabilities, so that only the decisions are compared.
    """
    leave_out = first.is_binary and not first.positive_is_known
    metrics = [
        metric
        for metric in all_metrics().values()
        if math.isfinite(metric.maximum - metric.minimum)
        and not metric.absolute_sum
        and not (leave_out and metric.needs_positive)
        and (metric.name in DECISION_METRICS or not decisions_only)
    ]
    compute_first, compute_second = (predictions.weighted_metrics(metrics) for predictions in (first, second))

    def subtract(weights: np.ndarray) -> dict[str, np.ndarray]:
        one, other = compute_first(weights), compute_second(weights)
        return {name: other[name] - one[name] for name in one if name in other}

    images = len(first.labels)
    intervals = bootstrap_intervals(subtract, images, groups=first.groups, seed=first.seed)
    weights = np.ones((images, 1))
    one, other = compute_first(weights), compute_second(weights)
    found = {}
    for name in one:
        if name not in other or not np.isfinite([one[name][0], other[name][0]]).all():
            continue
        values = float(one[name][0]), float(other[name][0])
        interval = intervals.get(name)
        difference = PairedDifference(
            metric=name,
            values=values,
            difference=values[1] - values[0],
            interval=None if interval is None else (interval.low, interval.high),
        )
        found[name] = add_test(difference, first, second)
    return found


def add_test(difference: PairedDifference, first: LabelledPredictions, second: LabelledPredictions) -> PairedDifference:
    """Return a difference with its test, if the metric has one."""
    if first.multi_label:
        return difference
    if difference.metric == "auc" and first.is_binary:
        areas = compare_areas(first.labels == 1, first.probabilities[:, 1], second.probabilities[:, 1], first.groups)
        if areas is None:
            return difference
        return replace(difference, test=DELONG, p=areas.p, interval=areas.interval)
    class_index = CLASSES_OF_METRICS.get(difference.metric) if first.is_binary else None
    if difference.metric != "accuracy" and class_index is None:
        return difference
    chosen = np.ones(len(first.labels), bool) if class_index is None else first.labels == class_index
    one, other = ((predictions.predicted == first.labels)[chosen] for predictions in (first, second))
    p = mcnemar(one, other, None if first.groups is None else first.groups[chosen])
    return replace(difference, test=MCNEMAR, p=p)


def correct_for_comparisons(
    pairs: Sequence[Mapping[str, PairedDifference]],
) -> list[dict[str, PairedDifference]]:
    """Return the differences of several pairs with p-values corrected for the number of pairs, for each metric."""
    corrected = [dict(pair) for pair in pairs]
    for metric in {name for pair in pairs for name in pair}:
        found = {(index, 0): pair[metric].p for index, pair in enumerate(pairs) if metric in pair}
        for (index, _), p in holm_correction({key: p for key, p in found.items() if p is not None}).items():
            corrected[index][metric] = replace(pairs[index][metric], corrected_p=p)
    return corrected
