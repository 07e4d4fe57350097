"""Documents as HTML that is part of a page."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

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
from keras_cnns.writing.markdown import TO_WRITE
from keras_cnns.writing.references import all_references


def to_html(document: Document, *, level: int = 1) -> Markup:
    """Return a document as HTML in which every text is escaped; figures are only their captions.

    Args:
        document: The document.
        level: The level of the heading with the title.
    """
    numbers = {key: number for number, key in enumerate(document.cited(), start=1)}
    title = Markup("<h{0}>{1}</h{0}>").format(level, write_line(document.title, numbers))
    return Markup("\n").join((title, *(write_block(block, numbers, level) for block in document.numbered_blocks())))


def write_block(block: Block, numbers: Mapping[str, int], level: int) -> Markup:
    """Return a block, given the number of each cited publication and the level of the title."""
    match block:
        case Heading():
            return Markup("<h{0}>{1}</h{0}>").format(min(level + block.level, 6), write_line(block.line, numbers))
        case Paragraph(line=line) | Figure(caption=line):
            return Markup("<p>{}</p>").format(write_line(line, numbers))
        case Bullets():
            return write_list("ul", [write_line(line, numbers) for line in block.lines])
        case Table():
            return write_table(block, numbers)
        case _:
            entries = [Markup("{}").format(all_references()[key].to_text()) for key in numbers]
            heading = Markup("<h{0}>References</h{0}>\n").format(min(level + 1, 6))
            return heading + write_list("ol", entries)


def write_list(tag: str, entries: list[Markup]) -> Markup:
    """Return a list."""
    items = Markup("").join(Markup("<li>{}</li>").format(entry) for entry in entries)
    return Markup("<{0}>{1}</{0}>").format(tag, items)


def write_table(table: Table, numbers: Mapping[str, int]) -> Markup:
    """Return a table that scrolls if it is wider than the page."""
    kind = Markup(' class="number"') if table.numeric else Markup("")

    def write_row(tag: str, cells: tuple[Line, ...]) -> Markup:
        written = (
            Markup("<{0}{1}>{2}</{0}>").format(tag if cell else "td", kind if index else "", write_line(cell, numbers))
            for index, cell in enumerate(cells)
        )
        return Markup("<tr>{}</tr>").format(Markup("").join(written))

    caption = write_line(table.caption, numbers)
    rows = Markup("\n").join(write_row("td", row) for row in table.rows)
    return Markup(
        '<div class="wide" tabindex="0" role="region" aria-label="{}"><table><caption>{}</caption>'
        "<thead>{}</thead><tbody>{}</tbody></table></div>"
    ).format(caption.striptags(), caption, write_row("th", table.columns), rows)


def write_line(line: Line, numbers: Mapping[str, int]) -> Markup:
    """Return a line of text."""
    parts = []
    for part in line:
        match part:
            case Text() | Value():
                parts.append(Markup("{}").format(part.text))
            case Citation():
                parts.append(Markup("[{}]").format(", ".join(str(numbers[key]) for key in part.keys)))
            case ToWrite():
                text = f": {part.text}." if part.text else "."
                parts.append(Markup("<em>{}{}</em>").format(TO_WRITE, text))
    return Markup("").join(parts)
