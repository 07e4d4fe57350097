"""How commands print: at a terminal's width, or at a fixed one where the output goes to no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100


def make_console() -> Console:
    """Return where a command's result is printed."""
    from rich.console import Console  # noqa: PLC0415 - `--help` does not wait for it

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def make_table(columns: Sequence[str], *, words: int, totals: Sequence[str] = ()) -> Table:
    """Return an empty table.

    Args:
        columns: What stands above each column.
        words: How many columns hold words; those after them hold numbers.
        totals: What stands below each column, if anything.
    """
    from rich.box import SIMPLE  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        show_footer=bool(totals),
        footer_style="bold",
    )
    for index, column in enumerate(columns):
        table.add_column(
            column,
            footer=totals[index] if totals else "",
            justify="left" if index < words else "right",
            overflow="fold",
            no_wrap=index >= words,
        )
    return table


def by(sides: Sequence[int]) -> str:
    """Write a shape: 224x224x3."""
    return "x".join(map(str, sides))
