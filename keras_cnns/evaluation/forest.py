"""The picture of a table of parts: each value with its interval on a line, beside that of all images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.evaluation.colours import Colours, short
from keras_cnns.evaluation.measured import Measured
from keras_cnns.evaluation.wording import MEANINGS, shown
from keras_cnns.plotting import make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_cnns.evaluation.run import Evaluation

PANELS = 3
INCHES_A_LINE = 0.34


def draw_forest(evaluation: Evaluation, parts: Mapping[str, Measured], colours: Colours) -> Figure:
    """Return the picture: a panel for each of three metrics, a line for each part."""
    lines = {"all": evaluation.measured, **parts}
    figure = make_figure(11, 0.9 + INCHES_A_LINE * len(lines), dpi=110, paper=colours.paper)
    panels = figure.subplots(1, PANELS, sharey=True, gridspec_kw={"wspace": 0.08})
    for panel, metric in zip(panels, shown(evaluation), strict=False):
        draw_panel(panel, metric, list(lines.values()), colours)
    panels[0].set_yticks(range(len(lines)), [short(name) for name in lines])
    panels[0].set_ylim(len(lines) - 0.4, -0.6)
    return figure


def draw_panel(panel: Axes, metric: str, lines: list[Measured], colours: Colours) -> None:
    """Draw one metric; the vertical line is its value on all images."""
    panel.set_facecolor(colours.paper)
    panel.set_title(MEANINGS[metric][0], loc="left", fontsize=11, color=colours.ink)
    panel.tick_params(colors=colours.ink, labelsize=9, left=False)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(colours.faint)
    ends = [1.0]
    for place, line in enumerate(lines):
        if metric not in line.metrics:
            continue
        value, interval = line.metrics[metric], line.intervals.get(metric)
        colour = colours.ink if place == 0 else colours.curves[0]
        if interval is not None:
            panel.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.6)
        panel.plot([value], [place], "o" if interval is not None else "x", color=colour, markersize=6)
        ends += [value, interval.low] if interval is not None else [value]
        if place == 0:
            panel.axvline(value, color=colours.faint, linewidth=1, zorder=0)
    lowest = max(0.0, np.floor(min(ends) * 20 - 0.2) / 20)
    panel.set_xlim(lowest, 1 + 0.02 * (1 - lowest))
    panel.locator_params(axis="x", nbins=5)
    panel.set_xticks([tick for tick in panel.get_xticks() if lowest <= tick <= 1])
