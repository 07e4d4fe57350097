"""Plots of an evaluation: confusion matrix, ROC and precision-recall curves, calibration, and forest plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from keras_cnns.evaluation.confusion import draw_confusion_matrix
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.plot_style import CURVES, frame_axes, label_axes, shorten
from keras_cnns.evaluation.report.bands import Bands, compute_bands
from keras_cnns.evaluation.report.calibration_plots import draw_decision_curve, draw_reliability_diagram
from keras_cnns.evaluation.report.formatting import ResultTable
from keras_cnns.evaluation.results import Evaluation, MetricResult
from keras_cnns.plotting import FAINT, INK, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LABELLED_CURVES = 10
FOREST_PANELS = 3
MAX_BANDS = 3
BAND_OPACITY = 0.18
INCHES_PER_ROW = 0.34


def draw_evaluation(evaluation: Evaluation) -> Figure:
    """Draw four plots of an evaluation and, if one of two classes is positive, its decision curve below them."""
    has_decision_curve = evaluation.positive is not None
    rows: list[Any] = [["confusion", "roc"], ["reliability", "precision"]]
    rows += [["decision", "decision"]] if has_decision_curve else []
    figure = make_figure(11, 5 * len(rows), dpi=110)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    panels = figure.subplot_mosaic(rows)
    for axes in panels.values():
        frame_axes(axes)
    draw_confusion_matrix(panels["confusion"], evaluation.confusion_matrix)
    draw_curves(panels["roc"], panels["precision"], evaluation)
    draw_reliability_diagram(panels["reliability"], evaluation)
    if has_decision_curve:
        draw_decision_curve(panels["decision"], evaluation)
    return figure


def draw_curves(roc: Axes, precision: Axes, evaluation: Evaluation) -> None:
    """Draw the ROC curve and the precision-recall curve of each class against the rest."""
    classes = [1] if evaluation.positive is not None else list(range(len(evaluation.class_names)))
    few = len(classes) <= MAX_LABELLED_CURVES
    roc.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for number, index in enumerate(classes):
        positive = evaluation.labels[:, index] == 1 if evaluation.multi_label else evaluation.labels == index
        if positive.all() or not positive.any():
            continue
        probabilities = evaluation.probabilities[:, index]
        false_positive_rate, true_positive_rate, _ = roc_curve(positive, probabilities)
        precisions, recalls, _ = precision_recall_curve(positive, probabilities)
        area = auc(false_positive_rate, true_positive_rate)
        style: dict[str, Any] = {
            "color": CURVES[number] if few else CURVES[0],
            "linewidth": 1.6 if few else 0.7,
            "alpha": 1.0 if few else 0.4,
            "label": f"{shorten(evaluation.class_names[index])}, AUC {area:.3f}",
        }
        if len(classes) <= MAX_BANDS:
            draw_bands(
                roc, precision, compute_bands(positive, probabilities, evaluation.group_of_image), style["color"]
            )
        roc.plot(false_positive_rate, true_positive_rate, **style)
        precision.step(recalls, precisions, where="pre", **style)
    if evaluation.is_binary and evaluation.operating_point.threshold is not None:
        mark_threshold(roc, precision, evaluation)
    label_axes(roc, "ROC curve", "1 - specificity", "Sensitivity")
    label_axes(precision, "Precision-recall curve", "Recall (sensitivity)", "Precision")
    for axes in (roc, precision):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    if few and roc.lines[1:]:
        roc.legend(fontsize=9, labelcolor=INK, frameon=False, loc="lower right")


def draw_bands(roc: Axes, precision: Axes, bands: Bands, colour: str) -> None:
    """Draw the 95 % confidence bands of both curves."""
    for axes, ends in ((roc, bands.sensitivity), (precision, bands.precision)):
        axes.fill_between(bands.positions, *ends, color=colour, alpha=BAND_OPACITY, linewidth=0)


def mark_threshold(roc: Axes, precision: Axes, evaluation: Evaluation) -> None:
    """Mark the decision threshold of two classes on both curves."""
    sensitivity, specificity = evaluation.metrics.get("sensitivity"), evaluation.metrics.get("specificity")
    if sensitivity is None or specificity is None:
        return
    style: dict[str, Any] = {"color": INK, "markersize": 7}
    roc.plot(
        1 - specificity, sensitivity, "o", label=f"threshold {evaluation.operating_point.scaled_threshold:.3f}", **style
    )
    positive = evaluation.predicted == 1
    if positive.any():
        precision.plot(sensitivity, float((evaluation.labels[positive] == 1).mean()), "o", **style)


def draw_forest_plot(table: ResultTable) -> Figure:
    """Draw the first metrics of a table side by side, with a row for each result."""
    figure = make_figure(11, 0.9 + INCHES_PER_ROW * len(table.results), dpi=110)
    count = min(FOREST_PANELS, len(table.metrics))
    panels = figure.subplots(1, count, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.08})[0]
    for axes, metric in zip(panels, table.metrics, strict=False):
        draw_metric(axes, metric, list(table.results.values()))
    panels[0].set_yticks(range(len(table.results)), [shorten(name) for name in table.results])
    panels[0].set_ylim(len(table.results) - 0.4, -0.6)
    return figure


def draw_metric(axes: Axes, metric: str, rows: Sequence[MetricResult]) -> None:
    """Draw one metric of all rows. The vertical line is its value in the first row, the reference."""
    axes.set_title(all_metrics()[metric].title, loc="left", fontsize=11, color=INK)
    axes.tick_params(colors=INK, labelsize=9, left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    ends = [1.0]
    for index, row in enumerate(rows):
        if metric not in row.metrics:
            continue
        value, interval = row.metrics[metric], row.intervals.get(metric)
        colour = INK if index == 0 else CURVES[0]
        if interval is not None:
            axes.plot([interval.low, interval.high], [index, index], color=colour, linewidth=1.6)
        axes.plot([value], [index], "o" if interval is not None else "x", color=colour, markersize=6)
        ends += [value, interval.low] if interval is not None else [value]
        if index == 0:
            axes.axvline(value, color=FAINT, linewidth=1, zorder=0)
    lowest = max(0.0, np.floor(min(ends) * 20 - 0.2) / 20)
    axes.set_xlim(lowest, 1 + 0.02 * (1 - lowest))
    axes.locator_params(axis="x", nbins=5)
    axes.set_xticks([tick for tick in axes.get_xticks() if lowest <= tick <= 1])
