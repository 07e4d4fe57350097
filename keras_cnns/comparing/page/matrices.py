"""Confusion matrices of runs whose networks were measured on test images, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_cnns.evaluation.colours import LIGHT
from keras_cnns.evaluation.confusion import CONFUSION, Confusion, draw_confusion
from keras_cnns.plotting import INK, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_cnns.tracking import Run, Stores

PLACE = f"evaluation/test/{CONFUSION}"
MEASURED = "test_brier"  # which `evaluate` alone measures
COLUMNS, MOST = 3, 6


def find_matrices(runs: Sequence[Run], stores: Stores) -> dict[str, Confusion]:
    """Return the matrices of the first runs that were measured on their test images, by what the runs are called."""
    found: dict[str, Confusion] = {}
    for run in runs:
        if len(found) < MOST and MEASURED in run.metrics:
            text = stores.of(run).read_file(run.id, PLACE)
            if text is not None:
                found[run.label] = Confusion.from_json(text)
    return found


def matrices_figure(matrices: Mapping[str, Confusion]) -> Figure:
    """Draw one matrix or more, a panel each."""
    columns = min(COLUMNS, len(matrices))
    lines = -(-len(matrices) // columns)
    figure = make_figure(4.2 * columns, 4.0 * lines)
    for place, (name, confusion) in enumerate(matrices.items(), start=1):
        panel = figure.add_subplot(lines, columns, place)
        draw_confusion(panel, confusion)
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        panel.tick_params(colors=INK, labelsize=9)
        panel.spines[:].set_color(LIGHT.faint)
    return figure
