"""Learning curves of a training as a small plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_cnns.plotting import COLOURS, INK, make_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {"loss": ("loss", "val_loss"), "validation score": ("val_accuracy", "val_auc")}
MAX_MARKERS = 30  # epochs; longer curves have no markers


def draw_learning_curves(history: Sequence[Mapping[str, float]]) -> Figure | None:
    """Draw the loss and the scores by epoch, given the metrics of each epoch; None if there are none."""
    panels = {
        title: [name for name in names if any(name in epoch for epoch in history)] for title, names in PANELS.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    if not panels:
        return None
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - only shown results need Matplotlib

    figure = make_figure(3.6 * len(panels), 2.3)
    for index, (title, names) in enumerate(panels.items(), start=1):
        panel = figure.add_subplot(1, len(panels), index)
        style_axes(panel)
        panel.set_title(title, loc="left", color=INK, fontsize=9)
        panel.set_xlabel("epoch", color=INK, fontsize=8)
        panel.tick_params(labelsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, name in zip(COLOURS, names, strict=False):
            points = [(number, epoch[name]) for number, epoch in enumerate(history, start=1) if name in epoch]
            marker = "o" if len(points) < MAX_MARKERS else None
            panel.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=3, linewidth=1.5, label=name)
        panel.margins(x=0.08)
        if len(history) == 1:
            panel.set_xlim(0.5, 1.5)
        panel.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure
