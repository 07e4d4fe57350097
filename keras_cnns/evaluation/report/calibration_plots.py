"""Plots of predicted probabilities: reliability diagram and decision curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.evaluation.calibration import BINS
from keras_cnns.evaluation.calibration_results import (
    compute_decision_curve,
    compute_reliability,
    probabilities_by_scaling,
)
from keras_cnns.evaluation.plot_style import CURVES, label_axes, shorten
from keras_cnns.plotting import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from keras_cnns.evaluation.results import Evaluation

LEGEND_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 3, "columnspacing": 1.2}


def draw_reliability_diagram(axes: Axes, evaluation: Evaluation) -> None:
    """Draw the fraction of images of the class at each predicted probability, before and after temperature scaling.

    For more than two classes, it is the accuracy at each confidence. Vertical lines are 95 % confidence intervals.
    """
    temperature = evaluation.operating_point.temperature
    titles = {"before_scaling": ("before scaling", "ece", "o-")}
    if temperature is not None:
        titles["after_scaling"] = (f"temperature {temperature:.2f}", "ece_scaled", "s--")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    curves = zip(probabilities_by_scaling(evaluation).items(), CURVES, strict=False)
    for (scaling, probabilities), colour in curves:
        title, metric, style = titles[scaling]
        diagram = compute_reliability(evaluation, probabilities)
        filled = diagram.images > 0
        probability, fraction = diagram.probability[filled], diagram.fraction[filled]
        axes.vlines(probability, diagram.low[filled], diagram.high[filled], color=colour, linewidth=1, alpha=0.6)
        axes.plot(probability, fraction, style, color=colour, linewidth=1.4, markersize=5,
                  label=f"{title}, ECE {evaluation.metrics[metric]:.3f}")  # fmt: skip
        if scaling == "before_scaling":
            share = diagram.images / diagram.images.sum()
            axes.bar((np.arange(BINS) + 0.5) / BINS, share, width=0.9 / BINS, color=FAINT, zorder=0)
    by_class = evaluation.is_binary or evaluation.multi_label
    lowest = 0.0 if by_class else 1 / len(evaluation.class_names)
    axes.set_xlim(max(-0.02, lowest - 0.05), 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=9, labelcolor=INK, frameon=False, **LEGEND_BELOW)
    named = f" of {shorten(evaluation.class_names[1])}" if evaluation.is_binary else ""
    x, y = (f"Predicted probability{named}", "Fraction of images") if by_class else ("Confidence", "Accuracy")
    label_axes(axes, "Reliability diagram", f"{x} (bars: fraction of images)", f"{y}{named}")


def draw_decision_curve(axes: Axes, evaluation: Evaluation) -> None:
    """Draw the net benefit of treating the predicted positives, everybody and nobody; the positive class is known."""
    curve = compute_decision_curve(evaluation)
    if curve is None:
        return
    scaled = evaluation.operating_point.temperature is not None
    model = f"network{', after temperature scaling' if scaled else ''}"
    axes.plot(curve.thresholds, curve.model, color=CURVES[0], linewidth=1.6, label=model)
    axes.plot(curve.thresholds, curve.treat_all, "--", color=CURVES[1], linewidth=1.4, label="treat all")
    axes.axhline(0, color=INK, linewidth=1, label="treat none")
    highest = max(curve.model.max(), curve.treat_all.max(), 0.01)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.25 * highest, 1.1 * highest)
    axes.legend(fontsize=9, labelcolor=INK, frameon=False, **LEGEND_BELOW)
    positive = shorten(evaluation.class_names[1])
    label_axes(axes, "Decision curve", f"Threshold probability of {positive}", "Net benefit")
