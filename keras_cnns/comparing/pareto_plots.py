"""Plots of score against cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from keras_cnns.comparing.comparison import Comparison, group_by_data
from keras_cnns.comparing.formatting import format_count, format_tick, metric_label
from keras_cnns.comparing.rows import Row
from keras_cnns.plotting import COLOURS, INK, make_figure, message_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

COST_LABELS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates per image",
    "seconds": "training time in seconds",
}
LABEL_DISTANCES = (8, 16, 28, 42)  # points
LABEL_DIRECTIONS = ((-1, 1), (1, -1), (0, 1), (1, 1), (-1, -1), (0, -1), (1, 0), (-1, 0))
HORIZONTAL_ALIGNMENT = {-1: "right", 0: "center", 1: "left"}
VERTICAL_ALIGNMENT = {-1: "top", 0: "center", 1: "bottom"}
POINT_RADIUS = 9  # pixels
Point = tuple[float, float]


def pareto_figure(comparison: Comparison) -> Figure:
    """Plot the score of finished runs against their cost, with a panel for each set of images."""
    groups = [points for rows in group_by_data(comparison.rows) if (points := find_points(comparison, rows))]
    if not groups:
        return message_figure(f"No finished run has both {comparison.score} and {comparison.cost}.")
    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    figure = make_figure(8 if columns == 1 else 13, 5 * lines)
    colours = family_colours(sorted({row.run.family for group in groups for row, _ in group}))
    panels = [figure.add_subplot(lines, columns, index + 1) for index in range(len(groups))]
    for panel, group in zip(panels, groups, strict=True):
        draw_panel(panel, comparison, group, colours)
    figure.draw_without_rendering()  # labels need the final positions
    for panel, group in zip(panels, groups, strict=True):
        label_front(panel, group)
    return figure


def family_colours(families: Sequence[str]) -> dict[str, str]:
    """Return a colour for each family."""
    return {family: COLOURS[index % len(COLOURS)] for index, family in enumerate(families)}


def find_points(comparison: Comparison, rows: Sequence[Row]) -> list[tuple[Row, Point]]:
    """Return the finished rows with their cost and score; a logarithmic axis cannot show a cost of 0."""
    points = ((row, comparison.cost_and_score(row)) for row in rows)
    return [(row, point) for row, point in points if point is not None and point[0] > 0]


def draw_panel(
    panel: Axes, comparison: Comparison, group: Sequence[tuple[Row, Point]], colours: Mapping[str, str]
) -> None:
    """Draw the runs on one set of images as points and the Pareto front as a step line."""
    panel.set_xscale("log")
    for family, colour in colours.items():
        members = [(row, point) for row, point in group if row.run.family == family]
        for pareto in (False, True):
            points = [point for row, point in members if row.pareto is pareto]
            if points:
                style = {"s": 64, "edgecolors": INK, "linewidths": 1.2} if pareto else {"s": 36, "linewidths": 0}
                alpha = 1.0 if pareto else 0.55
                panel.scatter(*zip(*points, strict=True), color=colour, alpha=alpha, zorder=3 + pareto, **style)
        if members:
            panel.scatter([], [], s=48, color=colour, linewidths=0, label=family)
    costs, scores = zip(*(point for _, point in group), strict=True)
    factor = max(1.25, (max(costs) / min(costs)) ** 0.12)
    panel.set_xlim(min(costs) / factor, max(costs) * factor)
    front = sorted({point for row, point in group if row.pareto})
    if front:
        x, y = zip(*front, (panel.get_xlim()[1], front[-1][1]), strict=True)
        panel.plot(x, y, drawstyle="steps-post", color=INK, linewidth=1.2, zorder=2, label="Pareto front")
    margin = 0.14 * (max(scores) - min(scores)) or 0.02
    panel.set_ylim(min(scores) - margin, max(scores) + margin)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) / min(costs) < 30 else (1,)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    style_axes(panel)
    panel.set_xlabel(COST_LABELS[comparison.cost], color=INK)
    panel.set_ylabel(metric_label(comparison.score), color=INK)
    runs = format_count(sum(len(row.runs) for row, _ in group))
    panel.set_title(f"{group[0][0].data}: {runs}", loc="left", color=INK)
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=INK)


def label_front(panel: Axes, group: Sequence[tuple[Row, Point]]) -> None:
    """Write the names of the runs on the front where there is space, the best first."""
    occupied = [point_box(*panel.transData.transform(point)) for _, point in group]
    frame = panel.get_window_extent()
    for row, point in sorted(group, key=lambda item: -item[1][1]):
        if row.pareto:
            box = add_label(panel, row.run.name, point, occupied, frame)
            if box is not None:
                occupied.append(box)


def add_label(panel: Axes, text: str, point: Point, occupied: Sequence[Bbox], frame: Bbox) -> Bbox | None:
    """Write a label next to a point, inside the frame and without overlap; return its box, or None without space."""
    for distance, (right, up) in product(LABEL_DISTANCES, LABEL_DIRECTIONS):
        label: Annotation = panel.annotate(
            text,
            point,
            xytext=(right * distance, up * distance),
            textcoords="offset points",
            ha=HORIZONTAL_ALIGNMENT[right],
            va=VERTICAL_ALIGNMENT[up],
            fontsize=9,
            color=INK,
            zorder=6,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6} if distance > 10 else None,
        )
        box = label.get_window_extent().padded(2)
        inside = frame.x0 <= box.x0 and frame.y0 <= box.y0 and box.x1 <= frame.x1 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in occupied):
            return box
        label.remove()
    return None


def point_box(x: float, y: float) -> Bbox:
    """Return the square around a point, in pixels."""
    return Bbox.from_extents(x - POINT_RADIUS, y - POINT_RADIUS, x + POINT_RADIUS, y + POINT_RADIUS)
