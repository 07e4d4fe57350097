"""What pictures have in common: colours, frames, the formats they are written in, and where they may be."""

from __future__ import annotations

import io
import os
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from keras_cnns.atomic import atomic_write
from keras_cnns.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A00", "#555555")
INK, PALE, FAINT = "#333333", "#9A9A9A", "#E4E4E4"
IN_PAGE = {
    INK.lower(): "currentColor",
    "#000000": "currentColor",
    PALE.lower(): "var(--soft)",
    FAINT.lower(): "var(--faint)",
    "#ffffff": "var(--paper)",
}
"""The colours of a picture that follow those of the page it is in."""
LARGE = 150  # square inches


def make_figure(width: float, height: float, *, dpi: int = 150, paper: str = "white") -> Figure:
    """Return an empty picture, its size in inches; a large one has fewer dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - a check of a name waits for neither
    from matplotlib.figure import Figure  # noqa: PLC0415

    dots = dpi if width * height < LARGE else min(dpi, 100)
    figure = Figure(figsize=(width, height), dpi=dots, layout="constrained", facecolor=paper)
    FigureCanvasAgg(figure)
    return figure


def plain_axes(panel: Axes) -> None:
    """Leave of a panel's frame what is needed to read it."""
    panel.grid(color=FAINT, linewidth=0.8, zorder=0)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(PALE)
    panel.tick_params(colors=INK)


def as_svg(figure: Figure) -> str:
    """Return a picture as SVG that takes the page's colours and font."""
    from matplotlib import rc_context  # noqa: PLC0415

    memory = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "keras-cnns", "font.family": "sans-serif"}):
        figure.savefig(memory, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = memory.getvalue()
    text = text[text.index("<svg") :]
    for own, of_page in IN_PAGE.items():
        text = text.replace(own, of_page)
    return text


def check_picture(path: str | Path) -> Path:
    """Return where a picture is to be written, or say why it cannot be, before any work is done for it.

    Raises:
        SettingError: The name is no picture's, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SettingError(f"cannot draw {path}: its name has to end in one of {', '.join(FORMATS)}.")
    return check_place(path, "picture")


def check_place(path: Path, what: str) -> Path:
    """Return where a file is to be written, or say why it cannot be.

    Raises:
        SettingError: The folder cannot be written, or the name is a folder's.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        raise SettingError(f"cannot write {path}: name a {what} in a folder that can be written.")
    return path


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all, in the format that its name says.

    Raises:
        SettingError: It cannot be written there.
    """
    try:
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}; name a picture in a folder that can be written."
        raise SettingError(message) from error


def say(path: Path, text: str) -> None:
    """Draw a picture that only says why there is nothing to draw."""
    figure = make_figure(8, 2.4)
    figure.text(0.5, 0.5, fill(text, 80), ha="center", va="center", color=INK)
    save(figure, path)
