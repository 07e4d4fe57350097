"""Confusion matrices of the runs that were evaluated on their test images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_cnns.evaluation.confusion import ConfusionMatrix, draw_confusion_matrix
from keras_cnns.evaluation.record import RECORD_FILE
from keras_cnns.plotting import FAINT, INK, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_cnns.tracking import Run, Stores

ARTIFACT = f"evaluation/test/{RECORD_FILE}"
EVALUATED = "test_brier"  # a metric that only an evaluation records
MAX_COLUMNS, MAX_MATRICES = 3, 6


def find_matrices(runs: Sequence[Run], stores: Stores) -> dict[str, ConfusionMatrix]:
    """Return the confusion matrices of the first runs that were evaluated on their test images, by label of the run."""
    found: dict[str, ConfusionMatrix] = {}
    for run in runs:
        if len(found) < MAX_MATRICES and EVALUATED in run.metrics:
            text = stores.store_of(run).read_file(run.id, ARTIFACT)
            if text is not None:
                found[run.label] = ConfusionMatrix.from_dict(json.loads(text)["confusion"])
    return found


def matrices_figure(matrices: Mapping[str, ConfusionMatrix]) -> Figure:
    """Plot one or more confusion matrices, with a panel for each."""
    columns = min(MAX_COLUMNS, len(matrices))
    lines = -(-len(matrices) // columns)
    figure = make_figure(4.2 * columns, 4.0 * lines)
    for index, (name, matrix) in enumerate(matrices.items(), start=1):
        panel = figure.add_subplot(lines, columns, index)
        draw_confusion_matrix(panel, matrix)
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        panel.tick_params(colors=INK, labelsize=9)
        panel.spines[:].set_color(FAINT)
    return figure
