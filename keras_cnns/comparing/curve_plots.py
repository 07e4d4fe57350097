"""Pictures of how runs learned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from keras_cnns.comparing.two_runs import Curves
from keras_cnns.comparing.wording import spelled
from keras_cnns.plotting import COLOURS, INK, check_picture, make_figure, plain_axes, save, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 30  # epochs that are told apart by points
DRAWN = ("loss", "val_loss", "accuracy", "val_accuracy", "val_auc", "learning_rate")


def draw_curves(curves: Mapping[str, Curves], path: str | Path) -> None:
    """Draw the curves of runs over each other.

    Args:
        curves: By what a run is called, its metrics by epoch.
        path: The picture to write, whole or not at all: PNG, SVG or PDF by its name.

    Raises:
        SettingError: The picture cannot be written there.
    """
    path = check_picture(path)
    if any(curves.values()):
        save(curves_figure(curves), path)
    else:
        say(path, "No curve to draw: these runs have no metric by epoch.")


def curves_figure(curves: Mapping[str, Curves]) -> Figure:
    """Return the picture, a panel for each metric that any run has; one of them has to have any."""
    names = [name for name in DRAWN if any(name in of_run for of_run in curves.values())]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = make_figure(4.2 * columns, 3.0 * lines + 0.5)
    for place, name in enumerate(names, start=1):
        panel = figure.add_subplot(lines, columns, place)
        plain_axes(panel)
        panel.set_title(spelled(name), loc="left", color=INK, fontsize=10)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, (label, of_run) in zip(COLOURS, curves.items(), strict=False):
            if name in of_run:
                epochs, values = zip(*of_run[name], strict=True)
                marker = "o" if len(epochs) < FEW else None
                panel.plot(epochs, values, color=colour, label=label, linewidth=1.5, marker=marker, markersize=3)
        low, high = panel.dataLim.intervalx
        if low == high:
            panel.set_xlim(low - 0.5, high + 0.5)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", frameon=False, labelcolor=INK, ncols=2)
    return figure
