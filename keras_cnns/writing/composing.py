"""Composing of documents from facts: templates name fields, and every value is traced to its field.

A template is plain text with Jinja's tags. Its expressions may only print what the functions of a `Composer` return, so
no data can get into a document except as a traced value, and no data is ever markup or a template.

Paragraphs are separated by blank lines. A paragraph that starts with `# ` or `## ` is a heading, and lines that start
with `- ` are a list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from keras_cnns.writing.document import (
    Block,
    Bullets,
    Citation,
    Document,
    Figure,
    Heading,
    Inline,
    Line,
    Paragraph,
    References,
    Table,
    Text,
    ToWrite,
)
from keras_cnns.writing.fields import Value, find, pointer, print_value

START, END, BREAK = "\ue000", "\ue001", "\ue002"
PIECE = re.compile(f"{START}([0-9]+){END}")
BLANK_LINES = re.compile(r"\n\s*\n")
SPACE_BEFORE = re.compile(r" ([,.;:)])")
BULLET = re.compile(r"(?:^|\n)\s*- ")


class Piece(str):
    """A part of a document, as it is in the output of a template."""

    __slots__ = ()


class Composer:
    """Composes documents.

    Args:
        facts: What is known about a run.

    Attributes:
        tables: The tables that templates can insert, by name.
        figures: The captions of the figures that templates can insert, with pieces, by the name of the file.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.tables: dict[str, Table] = {}
        self.figures: dict[str, str] = {}
        self._parts: list[Inline | Block] = []
        self._functions: dict[str, Callable[..., Any]] = {
            "value": self.value, "cite": self.cite, "authors": self.authors, "table": self.table,
            "figure": self.figure, "references": self.references, "known": self.known, "get": self.get,
            "pointer": pointer, "has_table": self.tables.__contains__, "has_figure": self.figures.__contains__,
        }  # fmt: skip

    def add_functions(self, functions: Mapping[str, Callable[..., Piece]]) -> None:
        """Let templates call further functions."""
        self._functions.update(functions)

    def known(self, *fields: str) -> bool:
        """Return whether the facts have all of these fields."""
        return all(find(self.facts, field) is not None for field in fields)

    def get(self, field: str) -> Any:
        """Return the value of a field for the conditions and loops of a template; None if it is not known."""
        return find(self.facts, field)

    def value(self, field: str, form: str = "text") -> Piece:
        """Print the value of a field, in one of `FORMATS`."""
        return self._add(print_value(self.facts, field, form))

    def key(self, parent: str, key: str) -> Piece:
        """Print a key of a mapping, such as the name of a class, given the pointer of the mapping."""
        return self.value(f"key({parent}{pointer(key)})")

    def cite(self, *keys: str) -> Piece:
        """Cite publications."""
        return self._add(Citation(keys))

    def authors(self, text: str) -> Piece:
        """Print what the authors have to write."""
        return self._add(ToWrite(text))

    def table(self, name: str) -> Piece:
        """Insert a table."""
        return self._add(self.tables[name])

    def figure(self, name: str) -> Piece:
        """Insert a figure."""
        return self._add(Figure(name, self.parse(self.figures[name])))

    def references(self) -> Piece:
        """Insert the list of references."""
        return self._add(References())

    def make_table(
        self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: bool = True
    ) -> Table:
        """Return a table of texts that contain pieces."""
        return Table(
            self.parse(caption),
            tuple(map(self.parse, columns)),
            tuple(tuple(map(self.parse, row)) for row in rows),
            numeric=numeric,
        )

    def compose(self, template: str, title: str, **context: Any) -> Document:
        """Compose a document from a template of this package.

        Args:
            template: The name of the file in `templates`.
            title: The title, with pieces.
            **context: Values for the conditions of the template.
        """
        text = (files("keras_cnns.writing") / "templates" / template).read_text("utf-8")
        return Document(self.parse(title), tuple(self.parse_blocks(self.render(text, **context))))

    def render(self, template: str, **context: Any) -> str:
        """Return the output of a template, which contains pieces."""
        return compile_template(template).render({**self._functions, **context})

    def parse(self, text: str) -> Line:
        """Return the parts of a line."""
        parts: list[Inline] = []
        for index, part in enumerate(PIECE.split(SPACE_BEFORE.sub(r"\1", " ".join(text.split())))):
            if index % 2:
                piece = self._parts[int(part)]
                if not isinstance(piece, Text | Value | Citation | ToWrite):
                    raise TypeError("a table or figure must be a paragraph of its own")
                parts.append(piece)
            elif part:
                parts.append(Text(part))
        return tuple(parts)

    def parse_blocks(self, text: str) -> list[Block]:
        """Return the blocks of a rendered template."""
        blocks: list[Block] = []
        for paragraph in text.split(BREAK):
            stripped = paragraph.strip()
            alone = PIECE.fullmatch(stripped)
            part = None if alone is None else self._parts[int(alone[1])]
            if isinstance(part, Table | Figure | References):
                blocks.append(part)
            elif stripped.startswith("#"):
                marks, _, line = stripped.partition(" ")
                blocks.append(Heading(len(marks), self.parse(line)))
            elif stripped.startswith("- "):
                blocks.append(Bullets(tuple(map(self.parse, BULLET.split(stripped)[1:]))))
            elif stripped:
                blocks.append(Paragraph(self.parse(stripped)))
        return blocks

    def _add(self, part: Inline | Block) -> Piece:
        self._parts.append(part)
        return Piece(f"{START}{len(self._parts) - 1}{END}")


@functools.cache
def compile_template(text: str) -> Template:
    """Return a compiled template, with its paragraphs separated before conditions leave other lines blank."""
    environment = Environment(undefined=StrictUndefined, finalize=only_pieces)  # noqa: S701 - text, and pieces only
    return environment.from_string(BLANK_LINES.sub(f"\n{BREAK}\n", text))


def only_pieces(value: Any) -> Any:
    """Return what an expression of a template prints, or raise an error if it is not from a `Composer`."""
    if not isinstance(value, Piece):
        raise TypeError(f"a template may only print what the functions of a composer return, not {value!r}")
    return value
