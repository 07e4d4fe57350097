"""The pictures of an evaluation: confusion matrix, ROC and precision-recall curves, reliability diagram."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.evaluation.calibration import BINS, Reliability, reliability, two_answers, with_temperature
from keras_cnns.evaluation.colours import LIGHT, Colours, heading, short
from keras_cnns.evaluation.confusion import draw_confusion
from keras_cnns.plotting import make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_cnns.evaluation.run import Evaluation

MOST_NAMED_CURVES = 10


def draw(evaluation: Evaluation, colours: Colours = LIGHT) -> Figure:
    """Return the picture: four panels, two beside each other."""
    figure = make_figure(11, 10, dpi=110, paper=colours.paper)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    (confusion, roc), (reliable, precision) = figure.subplots(2, 2)
    for panel in (confusion, roc, reliable, precision):
        panel.set_facecolor(colours.paper)
        panel.tick_params(colors=colours.ink, labelsize=9)
        panel.spines[:].set_color(colours.faint)
    draw_confusion(confusion, evaluation.confusion, colours)
    draw_curves(roc, precision, evaluation, colours)
    draw_reliability(reliable, evaluation, colours)
    return figure


def draw_curves(roc: Axes, precision: Axes, evaluation: Evaluation, colours: Colours) -> None:
    """Draw the ROC curve and the precision-recall curve of each class against the rest."""
    from sklearn.metrics import auc, precision_recall_curve, roc_curve  # noqa: PLC0415 - slow to import

    two = len(evaluation.class_names) == 2 and not evaluation.multi_label
    classes = [1] if two else list(range(len(evaluation.class_names)))
    few = len(classes) <= MOST_NAMED_CURVES
    roc.plot([0, 1], [0, 1], color=colours.faint, linewidth=1)
    for number, index in enumerate(classes):
        truth = evaluation.labels[:, index] == 1 if evaluation.multi_label else evaluation.labels == index
        found = evaluation.probabilities[:, index]
        if truth.all() or not truth.any():
            continue
        false_alarms, hits, _ = roc_curve(truth, found)
        exact, recall, _ = precision_recall_curve(truth, found)
        style: dict[str, Any] = {
            "color": colours.curves[number] if few else colours.curves[0],
            "linewidth": 1.6 if few else 0.7,
            "alpha": 1.0 if few else 0.4,
            "label": f"{short(evaluation.class_names[index])}, AUC {auc(false_alarms, hits):.3f}",
        }
        roc.plot(false_alarms, hits, **style)
        precision.step(recall, exact, where="pre", **style)
    for index, (panel, across, up) in enumerate(operating_point(evaluation, roc, precision)):
        label = f"threshold {evaluation.threshold:.3f}" if index == 0 else None
        panel.plot(across, up, "o", color=colours.ink, markersize=7, label=label)
    heading(roc, "ROC curve", "1 - specificity", "sensitivity", colours)
    heading(precision, "Precision-recall curve", "recall (sensitivity)", "precision", colours)
    for panel in (roc, precision):
        panel.set_xlim(-0.02, 1.02)
        panel.set_ylim(-0.02, 1.02)
    if few and roc.lines[1:]:
        roc.legend(fontsize=9, labelcolor=colours.ink, frameon=False, loc="lower right")


def operating_point(evaluation: Evaluation, roc: Axes, precision: Axes) -> Iterator[tuple[Axes, float, float]]:
    """Yield where the threshold is on both curves of two classes."""
    sensitivity, specificity = evaluation.metrics.get("sensitivity"), evaluation.metrics.get("specificity")
    one = isinstance(evaluation.threshold, float) and len(evaluation.class_names) == 2
    if not one or sensitivity is None or specificity is None:
        return
    yield roc, 1 - specificity, sensitivity
    taken = evaluation.predicted == 1
    if taken.any():
        yield precision, sensitivity, float((evaluation.labels[taken] == 1).mean())


def draw_reliability(panel: Axes, evaluation: Evaluation, colours: Colours) -> None:
    """Draw how often the network is right at each confidence, before and after temperature scaling."""
    shown = [("as trained", evaluation.probabilities, "o-", "ece")]
    if evaluation.temperature is not None:
        scaled = with_temperature(evaluation.probabilities, evaluation.temperature, multi_label=evaluation.multi_label)
        shown.append((f"temperature {evaluation.temperature:.2f}", scaled, "s--", "ece_scaled"))
    panel.plot([0, 1], [0, 1], color=colours.faint, linewidth=1)
    for (name, probabilities, style, error), colour in zip(shown, colours.curves, strict=False):
        diagram = reliability_of(evaluation, probabilities)
        filled = diagram.images > 0
        panel.plot(diagram.confidence[filled], diagram.accuracy[filled], style, color=colour, linewidth=1.4,
                   markersize=5, label=f"{name}, ECE {evaluation.metrics[error]:.3f}")  # fmt: skip
    lower = 0.5 if evaluation.multi_label else 1 / len(evaluation.class_names)
    shares = reliability_of(evaluation, evaluation.probabilities).images / evaluation.labels.size
    panel.bar((np.arange(BINS) + 0.5) / BINS, shares, width=0.9 / BINS, color=colours.faint, zorder=0)
    panel.set_xlim(max(0.0, lower - 0.05), 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.legend(fontsize=9, labelcolor=colours.ink, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12),
                 ncols=2, columnspacing=1.2)  # fmt: skip
    heading(panel, "Reliability diagram", "confidence (bars: share of the images)", "share of right answers", colours)


def reliability_of(evaluation: Evaluation, probabilities: np.ndarray) -> Reliability:
    """Return the diagram of an evaluation, over all labels where an image has any number of them."""
    if evaluation.multi_label:
        return reliability(evaluation.labels.ravel(), two_answers(probabilities.ravel()))
    return reliability(evaluation.labels, probabilities)
