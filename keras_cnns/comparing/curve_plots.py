"""Plots of learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from keras_cnns.comparing.formatting import metric_label
from keras_cnns.comparing.run_differences import Curves
from keras_cnns.plotting import COLOURS, INK, make_figure, message_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("loss", "val_loss", "accuracy", "val_accuracy", "val_auc", "learning_rate")
MAX_MARKERS = 30  # epochs; longer curves have no markers


def curves_figure(curves: Mapping[str, Curves]) -> Figure:
    """Plot the learning curves of runs, by the label of the run, with a panel for each metric."""
    names = [name for name in METRICS if any(name in run_curves for run_curves in curves.values())]
    if not names:
        return message_figure("These runs have no learning curves.")
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = make_figure(4.2 * columns, 3.0 * lines + 0.5)
    handles = {}
    for index, name in enumerate(names, start=1):
        panel = figure.add_subplot(lines, columns, index)
        style_axes(panel)
        panel.set_title(metric_label(name), loc="left", color=INK, fontsize=10)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, (label, run_curves) in zip(COLOURS, curves.items(), strict=False):
            if name in run_curves:
                epochs, values = zip(*run_curves[name], strict=True)
                marker = "o" if len(epochs) < MAX_MARKERS else None
                (handles[label],) = panel.plot(epochs, values, color=colour, linewidth=1.5, marker=marker, markersize=3)
        low, high = panel.dataLim.intervalx
        if low == high:
            panel.set_xlim(low - 0.5, high + 0.5)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", frameon=False, labelcolor=INK, ncols=2)
    return figure
