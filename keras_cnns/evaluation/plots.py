"""The pictures of an evaluation: confusion matrix, ROC and precision-recall curves, reliability diagram."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.evaluation.calibration import BINS, Reliability, reliability, two_answers, with_temperature
from keras_cnns.pictures import make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_cnns.evaluation.run import Evaluation

MOST_NUMBERED = 12
MOST_LABELLED = 40
MOST_NAMED_CURVES = 10
MOST_LETTERS = 18


@dataclass(frozen=True)
class Colours:
    """What a picture is painted in."""

    ink: str
    faint: str
    paper: str
    cells: str
    curves: tuple[str, ...]


# The curves are in Okabe and Ito's colours, which colour-blind readers tell apart, lightened on dark paper.
LIGHT = Colours("#333333", "#DDDDDD", "#FFFFFF", "Blues",
                ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00", "#6A3D9A", "#8C564B",
                 "#777777"))  # fmt: skip
DARK = Colours("#E0E0E0", "#444444", "#1B1E23", "Blues_r",
               ("#56B4E9", "#F58A4B", "#3CCFA0", "#E7A6CB", "#F0C04A", "#8FC9FF", "#D8C93A", "#B79BE0", "#C99C90",
                "#AAAAAA"))  # fmt: skip


def draw(evaluation: Evaluation, colours: Colours = LIGHT) -> Figure:
    """Return the picture: four panels, two beside each other."""
    figure = make_figure(11, 10, dpi=110, paper=colours.paper)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    (confusion, roc), (reliable, precision) = figure.subplots(2, 2)
    for panel in (confusion, roc, reliable, precision):
        panel.set_facecolor(colours.paper)
        panel.tick_params(colors=colours.ink, labelsize=9)
        panel.spines[:].set_color(colours.faint)
    draw_confusion(confusion, evaluation, colours)
    draw_curves(roc, precision, evaluation, colours)
    draw_reliability(reliable, evaluation, colours)
    return figure


def heading(panel: Axes, title: str, across: str, up: str, colours: Colours) -> None:
    """Write what a panel shows."""
    panel.set_title(title, loc="left", fontsize=11, color=colours.ink)
    panel.set_xlabel(across, fontsize=9, color=colours.ink)
    panel.set_ylabel(up, fontsize=9, color=colours.ink)


def draw_confusion(panel: Axes, evaluation: Evaluation, colours: Colours) -> None:
    """Draw how many images of each class were taken for each class; the colour is the share of the row.

    With any number of labels, draw for each label how many images that have it were taken for having it, and so on.
    """
    classes = len(evaluation.class_names)
    if evaluation.multi_label:
        has, taken = evaluation.labels == 1, evaluation.predicted == 1
        answers = ["found", "missed", "false\nalarm", "rightly\nnot"]
        counts = np.stack(
            [(has & taken).sum(0), (has & ~taken).sum(0), (~has & taken).sum(0), (~has & ~taken).sum(0)], 1
        )
        of_row = np.repeat(np.stack([has.sum(0), (~has).sum(0)], 1), 2, axis=1)
    else:
        answers = [short(name) for name in evaluation.class_names]
        counts = np.bincount(evaluation.labels * classes + evaluation.predicted, minlength=classes**2)
        counts = counts.reshape(classes, classes)
        of_row = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(of_row, 1)
    panel.imshow(shares, cmap=colours.cells, vmin=0, vmax=1, aspect="auto")
    if classes <= MOST_NUMBERED:
        for row, column in np.ndindex(counts.shape):
            strong = shares[row, column] > 0.5
            ink = "white" if strong == (colours is LIGHT) else "#222222"
            panel.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=ink, fontsize=10)
    if classes <= MOST_LABELLED:
        names = [short(name) for name in evaluation.class_names]
        wide = max(map(len, answers)) * len(answers) > 40
        panel.set_xticks(range(len(answers)), answers, rotation=90 if wide else 0)
        panel.set_yticks(range(classes), names)
    if evaluation.multi_label:
        heading(panel, "Decisions on each label, images", "", "", colours)
    else:
        heading(panel, "Confusion matrix, images", "taken for", "is", colours)


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


def short(name: str) -> str:
    """Return a class's name as it fits beside a picture, its dollars not taken for mathematics."""
    cut = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
    return cut.replace("$", r"\$")
