"""Colours and labels of the plots of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_cnns.plotting import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAME_LENGTH = 18


@dataclass(frozen=True)
class Palette:
    """Colours of a plot. Pages replace those of text, reference lines and curves on a dark background."""

    text: str
    faint: str  # reference lines and frames
    background: str
    colormap: str  # of a confusion matrix
    curves: tuple[str, ...]


LIGHT = Palette(INK, FAINT, "#FFFFFF", "Blues", (*COLOURS, "#7A6A00", "#6A3D9A"))


def label_axes(axes: Axes, title: str, x: str, y: str, palette: Palette) -> None:
    """Set the title and the axis labels."""
    axes.set_title(title, loc="left", fontsize=11, color=palette.text)
    axes.set_xlabel(x, fontsize=9, color=palette.text)
    axes.set_ylabel(y, fontsize=9, color=palette.text)


def shorten(text: str, length: int = MAX_NAME_LENGTH) -> str:
    """Shorten a text for a plot, and escape dollar signs, which Matplotlib would read as mathematics."""
    shortened = text if len(text) <= length else f"{text[: length - 1]}…"
    return shortened.replace("$", r"\$")
