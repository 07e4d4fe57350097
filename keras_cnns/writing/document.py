"""The parts of a document, whatever the format of its file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from keras_cnns.writing.fields import Value


@dataclass(frozen=True)
class Text:
    """A text of a template."""

    text: str


@dataclass(frozen=True)
class Citation:
    """References to publications, by their keys in `references.toml` or in a family."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class ToWrite:
    """What only the authors know."""

    text: str


Inline: TypeAlias = Text | Value | Citation | ToWrite
Line: TypeAlias = tuple[Inline, ...]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is that of a section."""

    level: int
    line: Line


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    line: Line


@dataclass(frozen=True)
class Bullets:
    """A list."""

    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        columns: The header of each column.
        rows: The cells of each row.
        numeric: Whether all columns but the first contain numbers; otherwise they are wide texts.
    """

    caption: Line
    columns: tuple[Line, ...]
    rows: tuple[tuple[Line, ...], ...]
    numeric: bool = True


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: The name of its files without a suffix.
        caption: What it shows.
    """

    name: str
    caption: Line


@dataclass(frozen=True)
class References:
    """The place of the list of references."""


Block: TypeAlias = Heading | Paragraph | Bullets | Table | Figure | References


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        title: Its title.
        blocks: Its content.
    """

    title: Line
    blocks: tuple[Block, ...]

    def numbered_blocks(self) -> Iterator[Block]:
        """Yield the blocks, with the numbers of tables and figures in their captions; LaTeX adds them itself."""
        numbers = {Table: itertools.count(1), Figure: itertools.count(1)}
        for block in self.blocks:
            if isinstance(block, Table | Figure):
                label = f"{type(block).__name__} {next(numbers[type(block)])}. "
                yield replace(block, caption=(Text(label), *block.caption))
            else:
                yield block

    def lines(self) -> Iterator[Line]:
        """Yield every line of text, in order."""
        yield self.title
        for block in self.blocks:
            match block:
                case Heading(line=line) | Paragraph(line=line) | Figure(caption=line):
                    yield line
                case Bullets(lines=lines):
                    yield from lines
                case Table():
                    yield block.caption
                    yield from block.columns
                    for row in block.rows:
                        yield from row

    def values(self) -> Iterator[Value]:
        """Yield every value in the document, in order."""
        for line in self.lines():
            yield from (part for part in line if isinstance(part, Value))

    def cited(self) -> list[str]:
        """Return the keys of the cited publications in the order of their first citation."""
        citations = (part for line in self.lines() for part in line if isinstance(part, Citation))
        return list(dict.fromkeys(key for citation in citations for key in citation.keys))
