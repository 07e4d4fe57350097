"""The figures of a write-up: the flow of images and patients, learning curves, and the plots of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from keras_cnns.evaluation.plot_style import shorten
from keras_cnns.plotting import FAINT, INK, PALE, make_figure, save
from keras_cnns.writing.fields import find
from keras_cnns.writing.phrases import split_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".svg")
PICTURE_DPI = 200
FOUND = "sum(/network/splits/*/images,/network/exclusions/*/images)"
FOUND_PATIENTS = "sum(/network/splits/*/patients,/network/exclusions/*/patients)"
INCLUDED = "sum(/network/splits/*/images)"
EXCLUDED_WIDTH = 44  # characters


def flow_figure(facts: Mapping[str, Any]) -> Figure:
    """Draw the flow of images and patients: found, left out with the reasons, and in each split."""
    network = facts["network"]
    splits, exclusions = network["splits"], network["exclusions"]
    reasons = [line for exclusion in exclusions for line in describe_exclusion(exclusion)]
    middle = 0.45 + 0.17 * max(1, len(reasons))
    height = 2.6 + middle
    figure = make_figure(8.5, height, dpi=110)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 8.5)
    axes.set_ylim(0, height)
    top, center, bottom = height - 0.45, 1.6 + middle / 2, 0.65
    patients = find(facts, FOUND_PATIENTS)
    found = f"Images in the source\n{find(facts, FOUND):,} images"
    found += "" if patients is None else f" of {patients:,} patients"
    draw_box(axes, (2.5, top), (3.2, 0.6), [found])
    arrow(axes, (2.5, top - 0.3), (2.5, 1.62))
    if exclusions:
        total = f"Left out: {sum(exclusion['images'] for exclusion in exclusions):,} images"
        draw_box(axes, (6.3, center), (3.9, middle - 0.1), ["\n".join((total, *reasons))])
        arrow(axes, (2.5, center), (4.33, center))
    included = f"Included: {find(facts, INCLUDED):,} images"
    axes.text(2.62, 1.72, included, ha="left", va="bottom", fontsize=9, color=INK)
    positions = [1.5 + index * 5.5 / max(1, len(splits) - 1) for index in range(len(splits))]
    if len(splits) == 1:
        positions = [2.5]
    axes.plot([min(*positions, 2.5), max(*positions, 2.5)], [1.62, 1.62], color=PALE, linewidth=1)
    for position, (name, split) in zip(positions, splits.items(), strict=True):
        arrow(axes, (position, 1.62), (position, bottom + 0.5))
        draw_box(axes, (position, bottom), (2.6, 1.0), [describe_split(name, split)])
    return figure


def describe_exclusion(exclusion: Mapping[str, Any]) -> list[str]:
    """Return the lines of an exclusion."""
    split = f", {split_name(exclusion['split'])}" if exclusion["split"] else ""
    return wrap(shorten(f"{exclusion['images']:,}: {exclusion['reason']}{split}", 120), EXCLUDED_WIDTH)


def describe_split(name: str, split: Mapping[str, Any]) -> str:
    """Return the lines of a split."""
    lines = [split_name(name).capitalize(), f"{split['images']:,} images"]
    if split["patients"] is not None:
        lines.append(f"{split['patients']:,} patients")
    classes = [f"{shorten(label)}: {count:,}" for label, count in split["classes"].items()]
    if len(classes) <= 2:
        lines += classes
    return "\n".join(lines)


def draw_box(axes: Axes, center: tuple[float, float], size: tuple[float, float], texts: Sequence[str]) -> None:
    """Draw a box with text."""
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415 - imports of this module stay light

    (x, y), (width, height) = center, size
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor=FAINT,
        edgecolor=PALE, linewidth=0.8,
    )  # fmt: skip
    axes.add_patch(box)
    for text in texts:
        axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK, linespacing=1.35)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow."""
    style = {"arrowstyle": "-|>", "color": PALE, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write each figure as PDF and as SVG, and return the files."""
    from matplotlib import rc_context  # noqa: PLC0415 - imports of this module stay light

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for name in figures for suffix in FORMATS]
    # Publishers want TrueType fonts; with the salt, SVG does not change from one write-up to the next.
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "keras-cnns"}):
        for path in paths:
            save(figures[path.stem], path)
    return paths
