"""Pictures: of what the blocks of a network cost; and where any picture may be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_cnns.errors import SettingError
from keras_cnns.units import human
from keras_cnns.whole import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_cnns.profiling import BlockProfile, Profile

FORMATS = (".png", ".svg", ".pdf")
INK, FAINT = "#333333", "#E4E4E4"
# Okabe and Ito's colours, which colour-blind readers tell apart.
PANELS: tuple[tuple[str, str, str, Callable[[BlockProfile], int]], ...] = (
    ("parameters", "", "#0072B2", lambda block: block.parameters),
    ("multiply-accumulates per image", "", "#D55E00", lambda block: block.macs),
    ("activation memory per image", "B", "#009E73", lambda block: block.activation_bytes),
)
INCHES_A_BLOCK = 0.24
ROOM_FOR_LABELS = 1.28


def check_picture(path: str | Path) -> Path:
    """Return where a picture is to be written, or say why it cannot be, before any work is done for it.

    Raises:
        SettingError: The name is no picture's, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SettingError(f"cannot draw {path}: its name has to end in one of {', '.join(FORMATS)}.")
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        raise SettingError(f"cannot write {path}: name a picture in a folder that can be written.")
    return path


def blocks_picture(profile: Profile, path: str | Path, *, title: str) -> None:
    """Draw parameters, multiply-accumulates and activation memory of a network's blocks, from input to output.

    Args:
        profile: What the network costs.
        path: The picture to write, whole or not at all: PNG, SVG or PDF by its name.
        title: What stands above.

    Raises:
        SettingError: The picture cannot be written there.
    """
    path = check_picture(path)
    save(draw(profile.blocks, title), path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all, in the format that its name says.

    Raises:
        SettingError: It cannot be written there.
    """
    try:
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}; name a picture in a folder that can be written."
        raise SettingError(message) from error


def draw(blocks: Sequence[BlockProfile], title: str) -> Figure:
    """Return the picture: three panels of bars beside each other, a line for each block."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - a check of a name waits for neither
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 1.3 + INCHES_A_BLOCK * len(blocks)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for panel, (name, unit, colour, cost) in zip(panels, PANELS, strict=True):
        draw_panel(panel, [cost(block) for block in blocks], name, unit, colour)
    panels[0].set_yticks(range(len(blocks)), [block.name for block in blocks])
    panels[0].set_ylim(len(blocks) - 0.4, -0.6)
    return figure


def draw_panel(panel: Axes, costs: Sequence[int], name: str, unit: str, colour: str) -> None:
    """Draw one cost of each block as a bar with its number."""
    bars = panel.barh(range(len(costs)), costs, height=0.72, color=colour)
    labels = [f"{human(cost)}{unit}" if cost else "" for cost in costs]
    panel.bar_label(bars, labels, padding=3, fontsize=8, color=INK)
    panel.set_xlim(0, ROOM_FOR_LABELS * max(*costs, 1))
    panel.set_title(f"{name}: {human(sum(costs))}{unit}", loc="left", fontsize=10, color=INK)
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color(FAINT)
    panel.tick_params(left=False, labelcolor=INK, labelsize=9)
