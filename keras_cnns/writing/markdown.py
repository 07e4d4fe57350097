"""Documents as Markdown, in the dialect of GitHub and Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from keras_cnns.writing.document import (
    Block,
    Bullets,
    Citation,
    Document,
    Figure,
    Heading,
    Line,
    Paragraph,
    Table,
    Text,
    ToWrite,
)
from keras_cnns.writing.fields import Value
from keras_cnns.writing.references import all_references

MARKUP = re.compile(r"([\\`*_\[\]|#$~])")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
BLOCK_START = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:>])")
"""What starts a list, or underlines a heading, at the start of a line."""
TO_WRITE = "To be written by the authors"


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return MARKUP.sub(r"\\\1", "".join(ENTITIES.get(letter, letter) for letter in text))


def to_markdown(document: Document, *, figures: str = "figures") -> str:
    """Return a document as Markdown.

    Args:
        document: The document.
        figures: The folder of the figures, relative to that of the document.
    """
    numbers = {key: number for number, key in enumerate(document.cited(), start=1)}
    blocks = (write_block(block, numbers, figures) for block in document.numbered_blocks())
    return "\n\n".join((f"# {write_line(document.title, numbers)}", *blocks)) + "\n"


def write_block(block: Block, numbers: Mapping[str, int], figures: str) -> str:
    """Return a block, given the number of each cited publication."""
    match block:
        case Heading():
            return f"{'#' * (block.level + 1)} {write_line(block.line, numbers)}"
        case Paragraph():
            return write_line(block.line, numbers)
        case Bullets():
            return "\n".join(f"- {write_line(line, numbers)}" for line in block.lines)
        case Table():
            return "\n".join(write_table(block, numbers))
        case Figure():
            caption = write_line(block.caption, numbers)
            return f"![{caption}]({figures}/{block.name}.svg)\n\n*{caption}*"
        case _:
            entries = (f"{numbers[key]}. {escape_markdown(all_references()[key].to_text())}" for key in numbers)
            return "\n".join(("## References\n", *entries))


def write_table(table: Table, numbers: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"**{write_line(table.caption, numbers)}**\n"
    yield f"| {' | '.join(write_line(column, numbers) or ' ' for column in table.columns)} |"
    yield f"|{'|'.join([' --- ', *[' ---: ' if table.numeric else ' --- '] * (len(table.columns) - 1)])}|"
    for row in table.rows:
        yield f"| {' | '.join(write_line(cell, numbers) for cell in row)} |"


def write_line(line: Line, numbers: Mapping[str, int]) -> str:
    """Return a line of text."""
    parts = []
    for part in line:
        match part:
            case Text() | Value():
                parts.append(escape_markdown(part.text))
            case Citation():
                parts.append(f"[{', '.join(str(numbers[key]) for key in part.keys)}]")
            case ToWrite():
                parts.append(f"**{TO_WRITE}:** {escape_markdown(part.text)}." if part.text else f"**{TO_WRITE}.**")
    return BLOCK_START.sub(lambda found: f"{found[1] or ''}\\{found[2] or found[3]}", "".join(parts))
