"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table


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
