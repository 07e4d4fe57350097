"""Plots of what the blocks of a network cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_cnns.plotting import COLOURS, FAINT, INK, check_plot_path, make_figure, save
from keras_cnns.units import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_cnns.networks.profiling import BlockProfile, Profile

PANELS: tuple[tuple[str, str, Callable[[BlockProfile], int]], ...] = (
    ("parameters", "", lambda block: block.parameters),
    ("multiply-accumulates per image", "", lambda block: block.macs),
    ("activation memory per image", "B", lambda block: block.activation_bytes),
)
INCHES_PER_BLOCK = 0.24
LABEL_MARGIN = 1.28  # width of a panel relative to its longest bar


def plot_blocks(profile: Profile, path: str | Path, *, title: str) -> None:
    """Plot parameters, multiply-accumulates and activation memory of a network's blocks, from input to output.

    Args:
        profile: The network's profile.
        path: The file to write, atomically: PNG, SVG or PDF according to its suffix.
        title: Title of the figure.

    Raises:
        SettingError: The file cannot be written.
    """
    path = check_plot_path(path)
    save(draw_blocks(profile.blocks, title), path)


def draw_blocks(blocks: Sequence[BlockProfile], title: str) -> Figure:
    """Return a figure of three bar charts side by side, with one row per block."""
    figure = make_figure(11, 1.3 + INCHES_PER_BLOCK * len(blocks))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for panel, colour, (name, unit, cost) in zip(panels, COLOURS, PANELS, strict=False):
        draw_bars(panel, [cost(block) for block in blocks], name, unit, colour)
    panels[0].set_yticks(range(len(blocks)), [block.name for block in blocks])
    panels[0].set_ylim(len(blocks) - 0.4, -0.6)
    return figure


def draw_bars(panel: Axes, costs: Sequence[int], name: str, unit: str, colour: str) -> None:
    """Draw one cost of each block as a labelled bar."""
    bars = panel.barh(range(len(costs)), costs, height=0.72, color=colour)
    labels = [f"{format_number(cost)}{unit}" if cost else "" for cost in costs]
    panel.bar_label(bars, labels, padding=3, fontsize=8, color=INK)
    panel.set_xlim(0, LABEL_MARGIN * max(*costs, 1))
    panel.set_title(f"{name}: {format_number(sum(costs))}{unit}", loc="left", fontsize=10, color=INK)
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color(FAINT)
    panel.tick_params(left=False, labelcolor=INK, labelsize=9)
