"""Documents as Word files, through python-docx."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import ReportError
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

if TYPE_CHECKING:
    from docx.document import Document as WordDocument
    from docx.table import _Row as Row

PAGE_WIDTH = 16.0
MAX_WIDE_COLUMNS = 5
TO_WRITE = "To be written by the authors"
TEXT_WIDTHS = {2: (5.0, 11.0), 3: (1.5, 5.5, 9.0), 4: (5.5, 3.5, 3.5, 3.5)}
"""The widths of columns of text in centimetres, by the number of columns."""


def check_word() -> None:
    """Raise a `ReportError` if python-docx is not installed."""
    try:
        import docx  # noqa: F401, PLC0415 - an optional dependency
    except ImportError:
        raise ReportError(
            "--format docx (format) needs python-docx: pip install 'keras-cnns[report]', or use md or tex."
        ) from None


def to_word(document: Document, pictures: Mapping[str, bytes]) -> bytes:
    """Return a document as a Word file.

    Args:
        document: The document.
        pictures: The figures as PNG, by name.

    Raises:
        ReportError: python-docx is not installed.
    """
    check_word()
    import docx  # noqa: PLC0415 - an optional dependency
    from docx.shared import Cm  # noqa: PLC0415

    word = docx.Document()
    for section in word.sections:
        section.page_width, section.page_height = Cm(21), Cm(29.7)
        section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(2.5)
    numbers = {key: number for number, key in enumerate(document.cited(), start=1)}
    add_line(word.add_heading("", 0), document.title, numbers)
    for block in document.numbered_blocks():
        add_block(word, block, numbers, pictures)
    memory = io.BytesIO()
    word.save(memory)
    return memory.getvalue()


def add_block(word: WordDocument, block: Block, numbers: Mapping[str, int], pictures: Mapping[str, bytes]) -> None:
    """Add a block, given the number of each cited publication."""
    from docx.shared import Cm  # noqa: PLC0415 - an optional dependency

    match block:
        case Heading():
            add_line(word.add_heading("", block.level), block.line, numbers)
        case Paragraph():
            add_line(word.add_paragraph(), block.line, numbers)
        case Bullets():
            for line in block.lines:
                add_line(word.add_paragraph(style="List Bullet"), line, numbers)
        case Table():
            add_table(word, block, numbers)
        case Figure():
            word.add_picture(io.BytesIO(pictures[block.name]), width=Cm(PAGE_WIDTH))
            word.paragraphs[-1].paragraph_format.keep_with_next = True
            add_line(word.add_paragraph(style="Caption"), block.caption, numbers)
        case _:
            word.add_heading("References", 1)
            for key, number in numbers.items():
                word.add_paragraph(f"{number}. {all_references()[key].to_text()}")


def add_table(word: WordDocument, table: Table, numbers: Mapping[str, int]) -> None:
    """Add a table with rules above, below and under its header, which is repeated on each page."""
    from docx.shared import Cm, Pt  # noqa: PLC0415 - an optional dependency

    caption = word.add_paragraph(style="Caption")
    add_line(caption, table.caption, numbers)
    caption.paragraph_format.keep_with_next = True
    points = 8.5 if len(table.columns) <= MAX_WIDE_COLUMNS else 7
    added = word.add_table(rows=0, cols=len(table.columns))
    widths = None if table.numeric else TEXT_WIDTHS.get(len(table.columns))
    if widths is not None:
        added.autofit = False
        for column, width in zip(added.columns, widths, strict=True):
            column.width = Cm(width)
    for index, cells in enumerate((table.columns, *table.rows)):
        row = added.add_row()
        for column, (cell, line) in enumerate(zip(row.cells, cells, strict=True)):
            paragraph = cell.paragraphs[0]
            paragraph.paragraph_format.space_after = Pt(1)
            if table.numeric and column:
                paragraph.alignment = 2
            add_line(paragraph, line, numbers, bold=index == 0, points=points)
            if widths is not None:
                cell.width = Cm(widths[column])
        if index == 0:
            repeat_header(row)
        set_rules(row, top=index == 0, bottom=index in {0, len(table.rows)})
    word.add_paragraph()


def repeat_header(row: Row) -> None:
    """Repeat a row on each page."""
    from docx.oxml import OxmlElement  # noqa: PLC0415 - an optional dependency

    row._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))  # noqa: SLF001 - python-docx has no public name


def set_rules(row: Row, *, top: bool, bottom: bool) -> None:
    """Draw rules above and below a row."""
    from docx.oxml import OxmlElement  # noqa: PLC0415 - an optional dependency
    from docx.oxml.ns import qn  # noqa: PLC0415

    for cell in row.cells:
        borders = OxmlElement("w:tcBorders")
        for side in ["top"] * top + ["bottom"] * bottom:
            rule = OxmlElement(f"w:{side}")
            for name, value in (("val", "single"), ("sz", "6"), ("color", "444444")):
                rule.set(qn(f"w:{name}"), value)
            borders.append(rule)
        cell._tc.get_or_add_tcPr().append(borders)  # noqa: SLF001 - python-docx has no public name


def add_line(
    paragraph: Any, line: Line, numbers: Mapping[str, int], *, bold: bool = False, points: float | None = None
) -> None:
    """Add a line of text to a paragraph."""
    from docx.enum.text import WD_COLOR_INDEX  # noqa: PLC0415 - an optional dependency
    from docx.shared import Pt  # noqa: PLC0415

    for part in line:
        match part:
            case Text() | Value():
                run = paragraph.add_run(part.text)
            case Citation():
                run = paragraph.add_run(f"[{', '.join(str(numbers[key]) for key in part.keys)}]")
            case ToWrite():
                run = paragraph.add_run(f"{TO_WRITE}: {part.text}." if part.text else f"{TO_WRITE}.")
                run.font.highlight_color = WD_COLOR_INDEX.YELLOW
        if bold:
            run.bold = True
        if points is not None:
            run.font.size = Pt(points)
