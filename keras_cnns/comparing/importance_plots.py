"""Plots of hyperparameter importance."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_cnns.comparing.importance import Importance
from keras_cnns.plotting import COLOURS, FAINT, INK, PALE, make_figure, message_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INTERACTIONS = "interactions"
BAR_HEIGHT, PANEL_EXTRA = 0.27, 1.25  # inches


def importance_figure(importances: Sequence[Importance], *, title: str) -> Figure:
    """Plot the importance of hyperparameters as bars, with a panel for each group of trials.

    Args:
        importances: The importance for all families together, if there are several, and for each family.
        title: The title of the figure.
    """
    estimated = [importance for importance in importances if importance.shares]
    if not estimated:
        return message_figure(importances[0].summary() if importances else "No trial finished with a score.")
    columns = min(2, len(estimated))
    rows = [estimated[index : index + columns] for index in range(0, len(estimated), columns)]
    heights = [BAR_HEIGHT * (1 + max(len(importance.shares) for importance in row)) + PANEL_EXTRA for row in rows]
    omitted = [f"{importance.name} ({importance.trials} trials)" for importance in importances if not importance.shares]
    note = fill(f"Not shown, because it cannot be estimated: {', '.join(omitted)}.", 85 * columns) if omitted else ""
    figure = make_figure(max(8, 6.5 * columns), sum(heights) + 0.5 + 0.3 * bool(note))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for index, importance in enumerate(estimated):
        panel = figure.add_subplot(grid[divmod(index, columns)])
        draw_importance(panel, importance, width=62 if columns > 1 else 82, with_name=len(importances) > 1)
        panel.set_ylim(max(len(other.shares) for other in rows[index // columns]) + 0.6, -0.6)
    if note:
        figure.supxlabel(note, x=0.01, ha="left", color=INK, fontsize=9)
    return figure


def draw_importance(panel: Axes, importance: Importance, *, width: int, with_name: bool) -> None:
    """Draw the bars of a group, the most important hyperparameter at the top; grey if the result is inconclusive."""
    shares = {**importance.shares, INTERACTIONS: importance.interactions}
    colours = [PALE if importance.inconclusive else COLOURS[0]] * len(importance.shares) + [FAINT]
    bars = panel.barh(range(len(shares)), list(shares.values()), height=0.72, color=colours)
    panel.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3, fontsize=8, color=INK)
    panel.set_yticks(range(len(shares)), [name.replace("_", " ") for name in shares])
    panel.set_xlim(0, 1.12 * max(*shares.values(), 0.05))
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.set_xlabel("share of the variance of the score", color=INK, fontsize=8)
    heading = f"{importance.name}\n" if with_name else ""
    panel.set_title(f"{heading}{fill(importance.summary(), width)}", loc="left", fontsize=9, color=INK)
    style_axes(panel)
    panel.grid(visible=False, axis="y")
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="y", left=False)
