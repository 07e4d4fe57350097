"""Formatting of the results that commands print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from keras_cnns.display.tables import make_table

WIDTH = 100

__all__ = ["WIDTH", "format_shape", "make_console", "make_table", "print_lines"]


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


def format_shape(shape: Sequence[int]) -> str:
    """Format a shape, as in 224x224x3."""
    return "x".join(map(str, shape))
