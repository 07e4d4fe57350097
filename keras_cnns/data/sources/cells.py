"""Reading of the cells of a table, as spreadsheet programs and data frames write them."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from keras_cnns.data.dataset import list_examples
from keras_cnns.errors import DataError, nearest
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

Value = TypeVar("Value")
SEPARATORS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?\1*[ \t]*(\r\n|\r|\n|$)', re.IGNORECASE)
QUOTED_CELL = re.compile(r'(^|[,;\t|])[ ]*"(?:[^"]|"")*"', re.MULTILINE)
HEADER_CHARACTERS = 100_000
COMPARED_ROWS = 20
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""The encoding that each byte order mark announces, those of UTF-32 first, because one starts like that of UTF-16."""
WORKBOOK_BYTES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
SPREADSHEET_ERROR = re.compile(r"#(N/A|NV|[A-ZÄÖÜ/0]+[!?]|#+)")
"""What spreadsheets write if a formula fails (#N/A, #REF!, #BEZUG!) or a column is too narrow (###)."""
ROUNDED = re.compile(r"\d[.,]\d+[eE]\+?\d+")
"""What spreadsheets make of a long number, such as the ID 1234567890123."""
MISSING_WORDS = frozenset({"na", "n/a", "n.a.", "nan", "null", "none", "missing", "-", "?"})


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: Its file, for error messages.
        columns: The cells of each column, without surrounding spaces; missing values are "".
        rows: The number of each row in messages: the header of a text file is row 1.
        notes: How the file was read, where that is not obvious.
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    rows: Sequence[int]
    notes: tuple[str, ...]

    def filled(self, column: str) -> Sequence[str]:
        """Return a column, or raise a `DataError` if a cell is empty or contains an error of a spreadsheet."""
        values = self.columns[column]
        empty = [row for row, value in zip(self.rows, values, strict=True) if not value]
        if empty:
            rows = f"{len(empty)} of {len(values)} rows: {list_examples(empty)}"
            raise DataError(f"{self.path}: column {column!r} is empty in {rows}; fill it.")
        for row, value in zip(self.rows, values, strict=True):
            if SPREADSHEET_ERROR.fullmatch(value):
                problem = f"column {column!r}, row {row}, contains {value!r}, an error of the spreadsheet"
                raise DataError(f"{self.path}: {problem}; correct the cell and save the table again.")
        return values

    def translate(
        self, column: str, meaning: Callable[[str], Value | None], expected: str, known: Iterable[str]
    ) -> list[Value]:
        """Translate the cells of a column.

        Args:
            column: The name of the column.
            meaning: Returns the meaning of a cell, or None if it does not have one.
            expected: What the cells should be, for the error message.
            known: Valid cells, to suggest the nearest one.

        Raises:
            DataError: A cell is empty or does not have a meaning.
        """
        translated = []
        meanings: dict[str, Value | None] = {}
        for row, value in zip(self.rows, self.filled(column), strict=True):
            where = f"column {column!r}, row {row}"
            if value not in meanings:
                try:
                    meanings[value] = meaning(value)
                except DataError as error:
                    raise DataError(f"{self.path}: {where}: {error}") from None
            result = meanings[value]
            if result is None:
                raise DataError(f"{self.path}: {value!r} in {where}, is not {expected}.{nearest(value.lower(), known)}")
            translated.append(result)
        return translated

    def doubtful_notes(self, column: str) -> list[str]:
        """Return notes on cells, such as NA and 1.23E+12, that may not be the values that they were."""
        values, notes = self.columns[column], []
        missing = [value for value in values if value.casefold() in MISSING_WORDS]
        rounded = [value for value in values if ROUNDED.fullmatch(value)]
        if missing:
            where = f"Column {column!r} is {missing[0]!r} in {count_of(len(missing), 'row')}"
            notes.append(f"{where}, which is read as text: remove these rows if it means a missing value.")
        if rounded:
            where = f"Column {column!r} is {rounded[0]!r} in row {self.rows[values.index(rounded[0])]}"
            notes.append(f"{where}: check that the spreadsheet did not round long numbers, which may then be equal.")
        return notes


def read_table(path: Path) -> Table:
    """Read all cells of a CSV or Parquet file as text.

    Rows in which all cells are empty, and columns without a name, are left out and noted.

    Raises:
        DataError: The file cannot be opened, is not a table, is empty, or has a row that is longer than the header.
    """
    try:
        records, notes = read_parquet(path) if path.suffix.lower() == ".parquet" else read_text(path)
    except PermissionError:
        raise DataError(f"{path}: cannot be opened; check its permissions.") from None
    except DataError:
        raise
    except (OSError, ValueError, KeyError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{path}: is broken or not a table ({reason}); save it again.") from None
    stripped = [(row, [strip_cell(cell) for cell in cells]) for row, cells in records]
    filled = [(row, cells) for row, cells in stripped if any(cells)]
    if len(filled) < 2:
        raise DataError(f"{path}: the table is empty; write a header and one row per image.")
    (_, header), *body = filled
    while header[-1] == "":
        header.pop()
    names = [unicodedata.normalize("NFC", name) for name in header]
    repeated = [name for name, count in Counter(name.lower() for name in names if name).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: several columns are called {repeated[0]!r}; use a different name for each.")
    notes += blank_row_notes([row for row, cells in stripped if not any(cells)], header_row=filled[0][0])
    short = [row for row, cells in body if len(cells) < len(header)]
    if short:
        notes.append(f"The last cells are missing, and read as empty, in {count_of(len(short), 'row')}: "
                     f"{list_examples(short)}.")  # fmt: skip
    rows = [fit_row(path, row, cells, len(header)) for row, cells in body]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    unnamed = [column for name, column in zip(names, zip(*rows, strict=True), strict=True) if not name]
    if any(map(any, unnamed)):
        notes.append(f"{count_of(len(unnamed), 'column')} without a name left out.")
    columns.pop("", None)
    return Table(path, columns, [row for row, _ in body], tuple(notes))


def strip_cell(cell: str) -> str:
    """Remove spaces and byte order marks around a cell."""
    return cell.strip().strip("\ufeff").strip()


def blank_row_notes(blank: Sequence[int], header_row: int) -> list[str]:
    """Return a note on the blank rows below the header."""
    below = [row for row in blank if row > header_row]
    if not below:
        return []
    return [f"{count_of(len(below), 'blank row')} {'was' if len(below) == 1 else 'were'} left out."]


def fit_row(path: Path, row: int, cells: list[str], width: int) -> list[str]:
    """Return a row with as many cells as the header, or raise a `DataError` if further cells are not empty."""
    if any(cells[width:]):
        raise DataError(
            f"{path}: row {row} has {len(cells)} cells, but the header has {width}; put a cell that contains the "
            f"separator in double quotes."
        )
    return [*cells[:width], *[""] * (width - len(cells))]


def read_parquet(path: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the names of the columns as row 0, the rows from 1, with whole numbers as such, and no notes."""
    frame = pd.read_parquet(path)
    columns = []
    for name, column in frame.items():
        is_whole = pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all()
        text = (column.astype("Int64") if is_whole else column).astype("string").fillna("")
        columns.append([str(name), *text.tolist()])
    return list(enumerate(map(list, zip(*columns, strict=True)))), []


def read_text(path: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the numbered rows of a CSV file, and notes.

    The encoding is that of the byte order mark, UTF-8 or Windows-1252, and the separator that of a first line such as
    `sep=;` or of the header.
    """
    text, notes = decode_text(path)
    announced = SEPARATOR_LINE.match(text)
    first_row = 2 if announced else 1
    text = text[announced.end() :] if announced else text
    separator = announced[1] if announced else find_separator(text)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend(enumerate(iterate_rows(text, separator), start=first_row))
    except csv.Error as error:
        raise DataError(f"{path}: row {first_row + len(rows)} is broken ({error}); check its double quotes.") from None
    return rows, notes


def iterate_rows(text: str, separator: str, *, strict: bool = True) -> Iterator[list[str]]:
    """Return an iterator over the rows of a CSV text; if it is strict, wrong quotes are a `csv.Error`."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=strict)


def find_separator(text: str) -> str:
    """Return the separator that is in the header, outside quotes, and divides the first rows alike."""
    unquoted = QUOTED_CELL.sub(r"\1x", text[:HEADER_CHARACTERS])
    header = next((line for line in unquoted.splitlines() if line.strip(f" {SEPARATORS}")), "")

    def rate(separator: str) -> tuple[int, int]:
        rows = itertools.islice(iterate_rows(text, separator, strict=False), COMPARED_ROWS)
        filled = [len(row) for row in rows if any(map(str.strip, row))]
        return filled.count(filled[0]), header.count(separator)

    return max(filter(header.__contains__, SEPARATORS), key=rate, default=",")


def decode_text(path: Path) -> tuple[str, list[str]]:
    """Return the text of a file without a byte order mark, and notes on its encoding."""
    data = path.read_bytes()
    if data.startswith(WORKBOOK_BYTES):
        raise DataError(f"{path}: is a workbook of a spreadsheet program; save it there as CSV in UTF-8.")
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return decode_as(path, data.removeprefix(mark), encoding), []
    unmarked = guess_utf16(data)
    if unmarked:
        note = f"The table has no byte order mark and was read as {unmarked.upper()}, because it contains NUL bytes."
        return decode_as(path, data, unmarked), [note]
    if b"\0" in data:
        raise DataError(f"{path}: is not text, because it contains NUL bytes; save it as CSV in UTF-8.")
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        if mostly_utf8(data):
            raise DataError(undecodable(path, data[: error.start].decode("utf-8"), "UTF-8")) from None
    text = decode_as(path, data, "cp1252")
    example = next(word for word in re.split(r'[\s,;|"]+', text) if not word.isascii())
    return text, [f"The table is not in UTF-8 and was read as Windows-1252 (cp1252): check names such as {example!r}."]


def decode_as(path: Path, data: bytes, encoding: str) -> str:
    """Decode a text, or raise a `DataError` that names the first row that does not have this encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8 or Windows-1252 (cp1252)" if encoding == "cp1252" else encoding.upper()
        raise DataError(undecodable(path, data[: error.start].decode(encoding), name)) from None


def undecodable(path: Path, before: str, encoding: str) -> str:
    """Return the error message for a text that has another encoding after `before`."""
    row = sum(1 for _ in iterate_rows(f"{before}?", find_separator(before), strict=False))
    return f"{path}: row {row} contains characters that are not {encoding}; save the whole table as CSV in UTF-8."


def guess_utf16(data: bytes) -> str | None:
    """Return the kind of UTF-16 of a text without a byte order mark if its bytes alternate with NUL, else None."""
    high, low = (data[start::2].count(0) / max(1, len(data) // 2) for start in (0, 1))
    if len(data) % 2 or min(high, low) > 0.05 or max(high, low) < 0.3:
        return None
    return "utf-16-be" if high > low else "utf-16-le"


def mostly_utf8(data: bytes) -> bool:
    """Return whether a text that is not UTF-8 has at least as many characters in UTF-8 as bytes that are not."""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return sum(not character.isascii() for character in text) - wrong >= wrong


def count_of(count: int, unit: str) -> str:
    """Format a number of things: 1 row, 2 rows."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
