"""Pictures of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from keras_cnns.comparing.comparison import Comparison, Row, group_by_data
from keras_cnns.comparing.wording import counted, spelled
from keras_cnns.plotting import COLOURS, INK, check_picture, make_figure, plain_axes, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

TITLES = {
    "parameters": "parameters",
    "macs": "multiply-accumulates per image",
    "seconds": "seconds of training",
}
LABEL_DISTANCES = (8, 16, 28, 42)
LABEL_SIDES = ((-1, 1), (1, -1), (0, 1), (1, 1), (-1, -1), (0, -1), (1, 0), (-1, 0))
ALIGNED = {-1: "right", 0: "center", 1: "left"}
STANDING = {-1: "top", 0: "center", 1: "bottom"}
POINT_PIXELS = 9


def accuracy_against(comparison: Comparison, path: str | Path, *, cost: str | None = None) -> None:
    """Draw the score of the finished runs against their cost, with the Pareto front.

    Args:
        comparison: The runs; those on other images get a panel of their own.
        path: The picture to write, whole or not at all: PNG, SVG or PDF by its name.
        cost: "parameters", "macs" or "seconds"; what the comparison weighs the score against by default.

    Raises:
        SettingError: There is no such cost, or the picture cannot be written there.
    """
    path = check_picture(path)
    save(draw(comparison.with_cost(cost or comparison.cost)), path)


def draw(comparison: Comparison) -> Figure:
    """Return the picture, one panel for each set of images."""
    groups = [
        drawn
        for group in group_by_data(comparison.rows)
        if (drawn := [row for row in group if has_place(comparison, row)])
    ]
    columns = min(2, max(1, len(groups)))
    lines = max(1, -(-len(groups) // columns))
    figure = make_figure(8 if columns == 1 else 13, 5 * lines)
    families = sorted({row.run.family for group in groups for row in group})
    colours = {family: COLOURS[index % len(COLOURS)] for index, family in enumerate(families)}
    if not groups:
        figure.text(0.5, 0.5, "no finished run to draw", ha="center", va="center", color=INK)
    panels = [figure.add_subplot(lines, columns, index + 1) for index in range(len(groups))]
    for panel, group in zip(panels, groups, strict=True):
        draw_panel(panel, comparison, group, colours)
    figure.draw_without_rendering()
    for panel, group in zip(panels, groups, strict=True):
        label_front(panel, comparison, group)
    return figure


def has_place(comparison: Comparison, row: Row) -> bool:
    """Return whether a run can be drawn over a logarithmic axis."""
    point = comparison.point(row)
    return point is not None and point[0] > 0


def draw_panel(panel: Axes, comparison: Comparison, rows: Sequence[Row], colours: dict[str, str]) -> None:
    """Draw the runs on one set of images: points by family, the front as a line of steps."""
    places = {row.run.id: comparison.point(row) or (0.0, 0.0) for row in rows}
    front = sorted({places[row.run.id] for row in rows if row.pareto})
    panel.set_xscale("log")
    for family, colour in colours.items():
        members = [row for row in rows if row.run.family == family]
        for pareto in (False, True):
            points = [places[row.run.id] for row in members if row.pareto is pareto]
            if points:
                style = {"s": 64, "edgecolors": INK, "linewidths": 1.2} if pareto else {"s": 36, "linewidths": 0}
                alpha = 1.0 if pareto else 0.55
                panel.scatter(*zip(*points, strict=True), color=colour, alpha=alpha, zorder=3 + pareto, **style)
        if members:
            panel.scatter([], [], s=48, color=colour, linewidths=0, label=family)
    costs = [cost for cost, _ in places.values()]
    scores = [score for _, score in places.values()]
    panel.set_xlim(min(costs) / widening(costs), max(costs) * widening(costs))
    if front:
        x, y = zip(*front, (panel.get_xlim()[1], front[-1][1]), strict=True)
        panel.plot(x, y, drawstyle="steps-post", color=INK, linewidth=1.2, zorder=2, label="Pareto front")
    margin = 0.14 * (max(scores) - min(scores)) or 0.02
    panel.set_ylim(min(scores) - margin, max(scores) + margin)
    narrow = max(costs) / min(costs) < 30
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shortened(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    plain_axes(panel)
    panel.set_xlabel(TITLES[comparison.cost], color=INK)
    panel.set_ylabel(spelled(comparison.score), color=INK)
    panel.set_title(f"{rows[0].data}: {counted(sum(len(row.runs) for row in rows))}", loc="left", color=INK)
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=INK)


def widening(costs: Sequence[float]) -> float:
    """Return the factor by which an axis reaches beyond its points."""
    return max(1.25, float((max(costs) / min(costs)) ** 0.12))


def shortened(value: float) -> str:
    """Write a number of an axis: 200K, 5M, 0.5."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def label_front(panel: Axes, comparison: Comparison, rows: Sequence[Row]) -> None:
    """Name the runs of the front where there is room, the best ones first."""
    points = [comparison.point(row) or (0.0, 0.0) for row in rows]
    taken = [around(*panel.transData.transform(point)) for point in points]
    frame = panel.get_window_extent()
    for row, point in sorted(zip(rows, points, strict=True), key=lambda item: -item[1][1]):
        if row.pareto:
            box = place_label(panel, row.run.name, point, taken, frame)
            if box is not None:
                taken.append(box)


def place_label(panel: Axes, text: str, point: tuple[float, float], taken: Sequence[Bbox], frame: Bbox) -> Bbox | None:
    """Write a label beside a point, inside the frame and over nothing that is taken; return its place."""
    for distance, (right, up) in product(LABEL_DISTANCES, LABEL_SIDES):
        label: Annotation = panel.annotate(
            text,
            point,
            xytext=(right * distance, up * distance),
            textcoords="offset points",
            ha=ALIGNED[right],
            va=STANDING[up],
            fontsize=9,
            color=INK,
            zorder=6,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6} if distance > 10 else None,
        )
        box = label.get_window_extent().padded(2)
        inside = frame.x0 <= box.x0 and frame.y0 <= box.y0 and box.x1 <= frame.x1 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in taken):
            return box
        label.remove()
    return None


def around(x: float, y: float) -> Bbox:
    """Return the square that a point covers, in pixels."""
    return Bbox.from_extents(x - POINT_PIXELS, y - POINT_PIXELS, x + POINT_PIXELS, y + POINT_PIXELS)
