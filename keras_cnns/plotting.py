"""Shared parts of all plots: colours, axes, formats and paths."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from keras_cnns.atomic import atomic_write
from keras_cnns.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# The palette of Okabe and Ito, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A00", "#555555")
INK, PALE, FAINT = "#333333", "#9A9A9A", "#E4E4E4"
PAGE_COLOURS = {
    INK.lower(): "currentColor",
    "#000000": "currentColor",
    PALE.lower(): "var(--soft)",
    FAINT.lower(): "var(--faint)",
    "#ffffff": "var(--paper)",
}
"""Colours that are replaced by variables of the page that contains the figure."""
PAGE_COLOURS |= {colour.lower(): f"var(--curve-{number}, {colour})" for number, colour in enumerate(COLOURS, start=1)}
LARGE = 150  # square inches


def make_figure(width: float, height: float, *, dpi: int = 150) -> Figure:
    """Return an empty figure. The size is in inches; large figures have a lower resolution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - checking a path does not need matplotlib
    from matplotlib.figure import Figure  # noqa: PLC0415

    if width * height >= LARGE:
        dpi = min(dpi, 100)
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(panel: Axes) -> None:
    """Draw a light grid and remove the top and right border of a panel."""
    panel.grid(color=FAINT, linewidth=0.8, zorder=0)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(PALE)
    panel.tick_params(colors=INK)


def to_png(figure: Figure, *, dpi: int | None = None) -> bytes:
    """Return a figure as PNG, by default in its own resolution."""
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=dpi or "figure", facecolor=figure.get_facecolor())
    return memory.getvalue()


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG that inherits the colours and the font of the page."""
    from matplotlib import rc_context  # noqa: PLC0415

    memory = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "keras-cnns", "font.family": "sans-serif"}):
        figure.savefig(memory, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = memory.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    return text


def prefix_ids(svg: str, prefix: str) -> str:
    """Return a figure with a prefix before its ids, so that they are unique on the page."""
    return re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)


def check_plot_path(path: str | Path) -> Path:
    """Return the path of a plot, checked before any work is done for it.

    Raises:
        SettingError: The suffix is not supported, or the folder is not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SettingError(f"cannot draw {path}: the file name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    return check_output_path(path, "plot")


def check_output_path(path: Path, what: str) -> Path:
    """Return the path of an output file.

    Args:
        path: The path.
        what: The kind of file, for the error message.

    Raises:
        SettingError: The folder is not writable, or the path is a folder.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        raise SettingError(f"cannot write {path}: give the name of a {what} in a writable folder.")
    return path


def check_output_folder(folder: str | Path) -> Path:
    """Return the path of a folder for plots, which need not exist yet.

    Raises:
        SettingError: The folder cannot be created or written.
    """
    folder = Path(folder)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise SettingError(f"cannot write plots to {folder}: use a writable folder.")
    return folder


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a PNG, SVG or PDF file, according to its name.

    Raises:
        SettingError: The file cannot be written, or its name has another suffix.
    """
    path = check_plot_path(path)
    try:
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}; give the name of a plot in a writable folder."
        raise SettingError(message) from error


def message_figure(text: str) -> Figure:
    """Return a figure that shows only a message, such as why there is nothing to plot."""
    figure = make_figure(8, 2.4)
    figure.text(0.5, 0.5, fill(text, 80), ha="center", va="center", color=INK)
    return figure
