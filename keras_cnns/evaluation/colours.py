"""What the pictures of an evaluation are painted in, on light and on dark paper, and how they are labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LETTERS = 18


@dataclass(frozen=True)
class Colours:
    """What a picture is painted in."""

    ink: str
    faint: str
    paper: str
    cells: str
    curves: tuple[str, ...]


# The curves are in Okabe and Ito's colours, which colour-blind readers tell apart, lightened on dark paper.
LIGHT = Colours("#333333", "#DDDDDD", "#FFFFFF", "Blues",
                ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00", "#6A3D9A", "#8C564B",
                 "#777777"))  # fmt: skip
DARK = Colours("#E0E0E0", "#444444", "#1B1E23", "Blues_r",
               ("#56B4E9", "#F58A4B", "#3CCFA0", "#E7A6CB", "#F0C04A", "#8FC9FF", "#D8C93A", "#B79BE0", "#C99C90",
                "#AAAAAA"))  # fmt: skip


def heading(panel: Axes, title: str, across: str, up: str, colours: Colours) -> None:
    """Write what a panel shows."""
    panel.set_title(title, loc="left", fontsize=11, color=colours.ink)
    panel.set_xlabel(across, fontsize=9, color=colours.ink)
    panel.set_ylabel(up, fontsize=9, color=colours.ink)


def short(name: str) -> str:
    """Return a class's name as it fits beside a picture, its dollars not taken for mathematics."""
    cut = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
    return cut.replace("$", r"\$")
