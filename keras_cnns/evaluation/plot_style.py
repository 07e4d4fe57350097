"""Colours and labels of the plots of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_cnns.plotting import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAME_LENGTH = 18
CURVES = (*COLOURS, "#7A6A00", "#6A3D9A")
HEATMAP_COLORMAP = "viridis"  # perceptually uniform
HEATMAP_OPACITY = 0.6


def frame_axes(axes: Axes) -> None:
    """Draw ticks and frame."""
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[:].set_color(FAINT)


def label_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title and the axis labels."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)


def shorten(text: str, length: int = MAX_NAME_LENGTH) -> str:
    """Shorten a text for a plot, and escape dollar signs, which Matplotlib would read as mathematics."""
    shortened = text if len(text) <= length else f"{text[: length - 1]}…"
    return shortened.replace("$", r"\$")
