"""Plots of hyperparameter importance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_cnns.comparing.importance import Importance
from keras_cnns.plotting import COLOURS, FAINT, INK, PALE, make_figure, plain_axes, save, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOGETHER = "several together"
BAR, PANEL_EXTRA = 0.27, 1.25  # inches


def importance_picture(importances: Sequence[Importance], path: Path, *, title: str) -> None:
    """Draw how much each setting matters: a panel of bars for each group of trials, grey where it tells little.

    Args:
        importances: Of all families together and of each family, as far as there are trials.
        path: The picture to write.
        title: What stands above.
    """
    if any(importance.shares for importance in importances):
        save(importance_figure(importances, title=title), path)
    else:
        say(path, importances[0].verdict() if importances else "No trial ended with a score.")


def importance_figure(importances: Sequence[Importance], *, title: str) -> Figure:
    """Return that picture, where anything can be said of one of them."""
    known = [importance for importance in importances if importance.shares]
    columns = min(2, len(known))
    rows = [known[index : index + columns] for index in range(0, len(known), columns)]
    heights = [BAR * (1 + max(len(importance.shares) for importance in row)) + PANEL_EXTRA for row in rows]
    silent = [f"{importance.name} ({importance.trials})" for importance in importances if not importance.shares]
    note = fill(f"Too few trials, or none of it to be seen, in: {', '.join(silent)}.", 85 * columns) if silent else ""
    figure = make_figure(max(8, 6.5 * columns), sum(heights) + 0.5 + 0.3 * bool(note))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for index, importance in enumerate(known):
        panel = figure.add_subplot(grid[divmod(index, columns)])
        draw_importance(panel, importance, wrapped=62 if columns > 1 else 82, named=len(importances) > 1)
        panel.set_ylim(max(len(other.shares) for other in rows[index // columns]) + 0.6, -0.6)
    if note:
        figure.supxlabel(note, x=0.01, ha="left", color=INK, fontsize=9)
    return figure


def draw_importance(panel: Axes, importance: Importance, *, wrapped: int, named: bool) -> None:
    """Draw a group's settings as bars, the most important at the top, and say how far to trust them."""
    shares = {**importance.shares, TOGETHER: importance.together}
    colours = [PALE if importance.tells_little else COLOURS[0]] * len(importance.shares) + [FAINT]
    bars = panel.barh(range(len(shares)), list(shares.values()), height=0.72, color=colours)
    panel.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3, fontsize=8, color=INK)
    panel.set_yticks(range(len(shares)), list(shares))
    panel.set_xlim(0, 1.12 * max(*shares.values(), 0.05))
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.set_xlabel("share of the score's variance that it explains alone", color=INK, fontsize=8)
    heading = f"{importance.name}\n" if named else ""
    panel.set_title(f"{heading}{fill(importance.verdict(), wrapped)}", loc="left", fontsize=9, color=INK)
    plain_axes(panel)
    panel.grid(visible=False, axis="y")
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="y", left=False)
