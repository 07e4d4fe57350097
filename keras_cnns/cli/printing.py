"""Formatting of the results that commands print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

WIDTH = 100


def make_console() -> Console:
    """Return a console on standard output, as wide as the terminal, or `WIDTH` characters if there is none."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are: without markup, and without breaking long ones."""
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def make_table(columns: Sequence[str], *, text_columns: int, totals: Sequence[str] = ()) -> Table:
    """Return an empty table.

    Args:
        columns: The header of each column.
        text_columns: How many columns, from the left, contain text; the others contain numbers.
        totals: The footer of each column, if there is one.
    """
    table = Table(
        box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=bool(totals), footer_style="bold"
    )
    for index, column in enumerate(columns):
        table.add_column(
            column,
            footer=totals[index] if totals else "",
            justify="left" if index < text_columns else "right",
            overflow="fold",
            no_wrap=index >= text_columns,
        )
    return table


def format_shape(shape: Sequence[int]) -> str:
    """Format a shape, as in 224x224x3."""
    return "x".join(map(str, shape))
