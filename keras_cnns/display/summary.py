"""Summaries of results, shown as text by `repr` and as HTML in notebooks."""

from __future__ import annotations

import io
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from keras_cnns.display.tables import make_table
from keras_cnns.plotting import prefix_ids, to_svg

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

WIDTH = 100
NAME_WIDTH = 12


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A progress bar.

    Attributes:
        title: The text before the bar.
        share: How much of the work is done, from 0 to 1.
        text: The text after the bar.
    """

    title: str
    share: float
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class SummaryTable:
    """A table of a summary.

    Attributes:
        title: A short description.
        columns: The header of each column.
        rows: The cells of each row.
        text_columns: How many columns, from the left, contain text; the others contain numbers.
        more: How many rows are left out.
    """

    title: str = ""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is shown of a result.

    Attributes:
        title: A short description of the result.
        facts: Names and values.
        bar: A progress bar.
        tables: Tables.
        figure: A plot, which only the HTML shows.
        notes: Sentences.
        addresses: Names of files and pages, and their paths or addresses on the web.
    """

    title: str = ""
    facts: Sequence[tuple[str, str]] = ()
    bar: Bar | None = None
    tables: Sequence[SummaryTable] = ()
    figure: Figure | None = None
    notes: Sequence[str] = ()
    addresses: Sequence[tuple[str, str]] = ()


class Summarized(ABC):
    """A result that is shown by its summary, as text and in notebooks."""

    @abstractmethod
    def summary(self) -> Summary:
        """Return what is shown of the result."""

    def __repr__(self) -> str:
        return to_text(self.summary())

    def _repr_html_(self) -> str:
        return to_html(self.summary())


def to_text(summary: Summary) -> str:
    """Return a summary as text."""
    facts = [*summary.facts, *((name, address) for name, address in summary.addresses if address)]
    width = max([NAME_WIDTH, *(len(name) + 1 for name, _ in facts)])
    bar = summary.bar
    parts = [
        summary.title,
        "" if bar is None else f"{bar.title}  {bar.text}".rstrip(),
        "\n".join(f"{name:{width}}{value}" for name, value in facts),
        *(table_to_text(table) for table in summary.tables),
        "\n".join(summary.notes),
    ]
    first, *rest = [part for part in parts if part] or [""]
    return "\n\n".join([f"{first}\n{rest[0]}", *rest[1:]]) if rest and facts else "\n\n".join([first, *rest])


def table_to_text(table: SummaryTable) -> str:
    """Return a table as text."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_jupyter=False)
    made = make_table([escape(column) for column in table.columns], text_columns=table.text_columns)
    for row in table.rows:
        made.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(made)
    more = [f"and {table.more:,} more"] if table.more else []
    title = [table.title] if table.title else []
    return "\n".join([*title, *(line.rstrip() for line in captured.get().rstrip().splitlines()), *more])


def to_html(summary: Summary) -> str:
    """Return a summary as HTML that is readable on light and dark pages. All texts are escaped."""
    figure = summary.figure
    # Matplotlib escapes texts; several figures on a page must not share ids.
    svg = "" if figure is None else prefix_ids(to_svg(figure), f"f{uuid.uuid4().hex[:8]}-")
    svg = svg.replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)
    return load_template().render(summary=summary, svg=svg)


@cache
def load_template() -> Template:
    """Return the template of summaries."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - networks alone do without it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("keras_cnns.display").joinpath("summary.html").read_text(encoding="utf-8")
    return environment.from_string(text)
