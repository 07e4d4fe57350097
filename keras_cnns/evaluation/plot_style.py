"""Colours and labels of the plots of an evaluation, on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAME_LENGTH = 18


@dataclass(frozen=True)
class Palette:
    """Colours of a plot."""

    text: str
    faint: str  # reference lines and frames
    background: str
    colormap: str  # of a confusion matrix
    curves: tuple[str, ...]


# The first curves have the colours of Okabe and Ito, which colour-blind readers can distinguish; lighter on dark pages.
LIGHT = Palette("#333333", "#DDDDDD", "#FFFFFF", "Blues",
                ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00", "#6A3D9A", "#8C564B",
                 "#777777"))  # fmt: skip
DARK = Palette("#E0E0E0", "#444444", "#1B1E23", "Blues_r",
               ("#56B4E9", "#F58A4B", "#3CCFA0", "#E7A6CB", "#F0C04A", "#8FC9FF", "#D8C93A", "#B79BE0", "#C99C90",
                "#AAAAAA"))  # fmt: skip


def label_axes(axes: Axes, title: str, x: str, y: str, palette: Palette) -> None:
    """Set the title and the axis labels."""
    axes.set_title(title, loc="left", fontsize=11, color=palette.text)
    axes.set_xlabel(x, fontsize=9, color=palette.text)
    axes.set_ylabel(y, fontsize=9, color=palette.text)


def shorten(text: str, length: int = MAX_NAME_LENGTH) -> str:
    """Shorten a text for a plot, and escape dollar signs, which Matplotlib would read as mathematics."""
    shortened = text if len(text) <= length else f"{text[: length - 1]}…"
    return shortened.replace("$", r"\$")
