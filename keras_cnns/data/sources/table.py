"""Tables of images: a CSV or Parquet file with one row per image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from keras_cnns.data.dataset import SPLIT_NAMES, SPLITS, Split, list_examples
from keras_cnns.data.sources import SourceKind
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.sources.folder import first_outside
from keras_cnns.errors import DataError, nearest
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
ROLES = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target", "diagnosis"),
    "split": ("split",),
    "patient": ("patient", "patient_id", "patientid"),
}
"""The names of columns that are recognised, by role."""
SEPARATORS = ",;\t"
BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")


def split_query(source: str) -> tuple[Path, str]:
    """Split `cases.csv?label=finding` into the path and the query, which is empty if a file has the whole name."""
    path, _, query = source.partition("?")
    return (Path(source), "") if Path(source).exists() else (Path(path), query)


def is_table(source: str) -> bool:
    """Return whether a source is a table that exists."""
    path, _ = split_query(source)
    return path.suffix.lower() in SUFFIXES and path.is_file()


def list_table(path: Path, query: str) -> ImageFiles:
    """Read the images of a table with their labels, splits, patients and other columns.

    Args:
        path: The table.
        query: The columns to use if they do not have the usual names: `path=image_file&label=effusion,mass`.

    Raises:
        DataError: The table cannot be read, a column is missing, or a cell is empty or invalid.
    """
    table = Table(path, read_cells(path))
    roles = find_roles(table, query)
    files = read_paths(table, roles["path"][0])
    splits = np.full(len(files), "train")
    if "split" in roles:
        splits = table.map(roles["split"][0], SPLIT_NAMES, "train, validation or test")
    labels, class_names, notes = read_labels(table, roles)
    patients = table.filled(roles["patient"][0]) if "patient" in roles else None
    used = {name for names in roles.values() for name in names} | set(class_names if labels.ndim == 2 else ())
    columns = {name: parse_numbers(table.cells[name].to_numpy(str)) for name in table.cells if name not in used}
    samples = Split(np.arange(len(files)), labels, files=tuple(files), patients=patients, columns=columns)
    order = np.argsort([SPLITS.index(split) for split in splits], kind="stable")
    return ImageFiles(
        name=path.name,
        source=f"{path.absolute()}?{query}" if query else str(path.absolute()),
        root=path.parent,
        samples=samples.take(order),
        splits=splits[order],
        class_names=class_names,
        notes=notes,
    )


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: Its file, for error messages.
        cells: The cells without surrounding spaces; missing values are "".
    """

    path: Path
    cells: pd.DataFrame

    def filled(self, column: str) -> np.ndarray:
        """Return a column, or raise a `DataError` if a cell is empty."""
        values: np.ndarray = self.cells[column].to_numpy(str)
        empty = np.flatnonzero(values == "")
        if len(empty):
            rows = f"{len(empty)} of {len(values)} rows: {list_examples(empty + 1)}"
            raise DataError(f"{self.path}: column {column!r} is empty in {rows}; fill it.")
        return values

    def map(self, column: str, meanings: Mapping[str, Any], expected: str) -> np.ndarray:
        """Translate the cells of a column, or raise a `DataError` at the first that is not `expected`."""
        values = self.filled(column).tolist()
        for row, value in enumerate(values, start=1):
            if value.lower() not in meanings:
                raise DataError(
                    f"{self.path}: {value!r} in column {column!r}, row {row}, is not {expected}."
                    f"{nearest(value.lower(), meanings)}"
                )
        return np.array([meanings[value.lower()] for value in values])


def read_cells(path: Path) -> pd.DataFrame:
    """Read all cells as text without surrounding spaces; missing values are ""."""
    empty = f"{path}: the table is empty; write a header and one row per image."
    try:
        cells = read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    except PermissionError:
        raise DataError(f"{path}: cannot be opened; check its permissions.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8.") from None
    except pd.errors.EmptyDataError:
        raise DataError(empty) from None
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{path}: is broken or not a table ({reason}); save it again.") from None
    repeated = [name for name, count in cells.columns.str.lower().value_counts().items() if count > 1]
    if repeated:
        raise DataError(f"{path}: several columns are called {repeated[0]!r}; use a different name for each.")
    if cells.empty:
        raise DataError(empty)
    return cells.apply(lambda column: column.str.strip())


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file with commas, semicolons or tabs, ignoring columns without a name."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    separator = max(SEPARATORS, key=header.count)
    rows = pd.read_csv(
        path, sep=separator, dtype=str, encoding="utf-8-sig", header=None, keep_default_na=False, na_values=[]
    ).fillna("")
    cells = rows.iloc[1:].reset_index(drop=True)
    cells.columns = rows.iloc[0].str.strip()
    return cells.loc[:, cells.columns != ""]


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file as text, whole numbers without a decimal point."""
    columns = {}
    for name, column in pd.read_parquet(path).items():
        is_whole = pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all()
        columns[str(name)] = (column.astype("Int64") if is_whole else column).astype("string").fillna("")
    return pd.DataFrame(columns)


def find_roles(table: Table, query: str) -> dict[str, list[str]]:
    """Return the columns of each role, from the query or by their usual names; raise a `DataError` if unclear."""
    path, everything = table.path, f"the columns are {', '.join(table.cells)}"
    roles = {role: match_names(table, role, text) for role, text in parse_query(path, query).items()}
    used = {name for names in roles.values() for name in names}
    for role, usual in ROLES.items():
        matches = [name for name in table.cells if name.lower() in usual and name not in used]
        if role in roles or not matches:
            continue
        if len(matches) > 1:
            raise DataError(
                f"{path}: {' and '.join(map(repr, matches))} could both be the {role}; choose one, as in "
                f"{path.name}?{role}={matches[0]}."
            )
        roles[role] = matches
    for role in ("path", "split", "patient"):
        if len(roles.get(role, ())) > 1:
            raise DataError(f"{path}: the {role} must be a single column, not {', '.join(roles[role])}.")
    if "path" not in roles:
        raise DataError(
            f"{path}: no column is called path, file, filename or image; {everything}. Choose the one with the files "
            f"with {path.name}?path=NAME.{nearest('path', table.cells)}"
        )
    return roles


def parse_query(path: Path, query: str) -> dict[str, str]:
    """Return the names of columns in a query, by role."""
    try:
        roles = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    except ValueError:
        raise DataError(f"{path.name}?{query}: write ROLE=COLUMN, with & between several.") from None
    for role in roles:
        if role not in ROLES:
            known = f"use {', '.join(ROLES)}.{nearest(role, ROLES)}"
            raise DataError(f"{path.name}?{query}: unknown role {role!r}; {known}")
    return roles


def match_names(table: Table, role: str, text: str) -> list[str]:
    """Return the columns with the given names, which are separated by commas and not case-sensitive."""
    by_name = {name.lower(): name for name in table.cells}
    names = [text] if text.lower() in by_name else text.split(",")
    for name in names:
        if name.lower() not in by_name:
            raise DataError(
                f"{table.path}: column {name!r} for the {role} does not exist; the columns are "
                f"{', '.join(table.cells)}.{nearest(name, table.cells)}"
            )
    return list(dict.fromkeys(by_name[name.lower()] for name in names))


def read_paths(table: Table, column: str) -> list[str]:
    """Return the files, or raise a `DataError` if a path is empty, repeated or outside the table's folder."""
    files = [text.replace("\\", "/") for text in table.filled(column).tolist()]
    outside = first_outside(table.path.parent, files)
    if outside is not None:
        raise DataError(f"{table.path}: {outside!r} is outside the table's folder; use relative paths inside it.")
    files = [Path(file).as_posix() for file in files]
    repeated = [file for file, count in Counter(files).items() if count > 1]
    if repeated:
        problem = f"{len(repeated)} files have several rows: {list_examples(repeated)}"
        raise DataError(f"{table.path}: {problem}; use one row per image.")
    return files


def read_labels(
    table: Table, roles: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the labels as in `Split`, the class names, and notes; raise a `DataError` if labels are missing."""
    names = roles.get("label", ())
    if len(names) == 1:
        values = table.filled(names[0])
        numeric = all(NUMBER.fullmatch(value) for value in values.tolist())
        classes = sorted(set(values.tolist()), key=float if numeric else str)
        indices = {name: index for index, name in enumerate(classes)}
        return np.array([indices[value] for value in values.tolist()], np.int64), tuple(classes), ()
    notes: tuple[str, ...] = ()
    if not names:
        used = {name for of_role in roles.values() for name in of_role}
        names = [name for name in table.cells if name not in used and is_binary(table.cells[name])]
        if len(names) < 2:
            raise DataError(
                f"{table.path}: no column is called label, class, target or diagnosis, and there are not several "
                f"columns of 0 and 1; the columns are {', '.join(table.cells)}. Choose the one with the classes with "
                f"{table.path.name}?label=NAME.{nearest('label', table.cells)}"
            )
        notes = (f"Labels, each 0 or 1: {', '.join(names)}.",)
    return np.stack([table.map(name, BINARY, "0 or 1") for name in names], axis=1), tuple(names), notes


def is_binary(column: pd.Series) -> bool:
    """Return whether a column contains only 0 and 1; empty cells are ignored here and rejected later."""
    values = set(column.str.lower())
    return values <= {*BINARY, ""} and values != {""}


def parse_numbers(values: np.ndarray) -> np.ndarray:
    """Return a column as numbers, NaN for empty cells, if all other cells are numbers; 007 is text."""
    cells = values.tolist()
    if any(cells) and all(NUMBER.fullmatch(cell) for cell in cells if cell):
        return np.array([float(cell or "nan") for cell in cells])
    return values


SOURCE = SourceKind(
    usage="FILE.csv/.tsv/.parquet",
    description="a table with the path and the class of each image",
    matches=is_table,
    read=lambda source: list_table(*split_query(source)),
)
