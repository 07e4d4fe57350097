"""Images in a table: `cases.csv` or `cases.parquet`, a row for each image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd

from keras_cnns.data.dataset import SPLITS
from keras_cnns.data.files import Cases
from keras_cnns.data.folder import first_outside
from keras_cnns.data.raw import SPLIT_NAMES
from keras_cnns.errors import DataError, nearest

ROLES = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target", "diagnosis"),
    "split": ("split",),
    "patient": ("patient", "patient_id", "patientid"),
}
SEPARATORS = ",;\t"
YES_OR_NO = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
SHOWN = 3


def list_table(path: Path, query: str) -> Cases:
    """Read which images a table names, and what it says of each.

    Args:
        path: The table.
        query: What its columns are called where that is not as usual: `path=image_file&label=effusion,mass`.

    Raises:
        DataError: The table cannot be read, a column is missing, or a row is not complete.
    """
    table = read_rows(path)
    columns = find_columns(path, table, query)
    files = read_paths(path, table, columns["path"][0])
    splits = read_splits(path, table, columns["split"][0]) if "split" in columns else np.full(len(files), "train")
    labels, class_names, notes = read_labels(path, table, columns)
    patients = filled(path, table, columns["patient"][0]) if "patient" in columns else None
    order = np.argsort([SPLITS.index(split) for split in splits], kind="stable")
    used = {name for names in columns.values() for name in names} | set(class_names if labels.ndim == 2 else ())
    return Cases(
        name=path.name,
        root=path.parent,
        files=tuple(files[place] for place in order),
        splits=splits[order],
        labels=labels[order],
        class_names=class_names,
        patients=None if patients is None else patients[order],
        columns={name: as_numbers(table[name].to_numpy(str))[order] for name in table.columns if name not in used},
        notes=notes,
    )


def read_rows(path: Path) -> pd.DataFrame:
    """Read a table as text, empty where there is nothing, without spaces around it."""
    try:
        if path.suffix.lower() == ".parquet":
            read = pd.read_parquet(path)
            table = pd.DataFrame({str(name): as_text(read[name]) for name in read.columns})
        else:
            with path.open(encoding="utf-8-sig") as file:
                header = file.readline()
            separator = max(SEPARATORS, key=header.count)
            table = pd.read_csv(
                path, sep=separator, dtype=str, encoding="utf-8-sig", header=None, keep_default_na=False, na_values=[]
            ).fillna("")
            table = with_header(table)
    except PermissionError:
        raise DataError(f"{path}: may not be read; check its permissions.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; save it as CSV in UTF-8.") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the table is empty; give a header and a row for each image.") from None
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{path}: is broken or no table ({reason}); save it again.") from None
    twice = [name for name, count in table.columns.str.lower().value_counts().items() if count > 1]
    if twice:
        raise DataError(f"{path}: has several columns called {twice[0]!r}; give each its own name.")
    if table.empty:
        raise DataError(f"{path}: the table is empty; give a header and a row for each image.")
    return table.apply(lambda column: column.str.strip())


def with_header(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the first row for the names of the columns, and leave out those without one."""
    table = rows.iloc[1:].reset_index(drop=True)
    table.columns = rows.iloc[0].str.strip()
    return table.loc[:, table.columns != ""]


def as_text(column: pd.Series) -> pd.Series:
    """Write a column of any type as text, whole numbers without a point."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string").fillna("")


def find_columns(path: Path, table: pd.DataFrame, query: str) -> dict[str, list[str]]:
    """Return the columns that paths, labels, splits and patients are in.

    Raises:
        DataError: One is not there, or several might be meant.
    """
    chosen = read_query(path, query)
    columns = {role: named(path, table, role, text) for role, text in chosen.items()}
    taken = {name for names in columns.values() for name in names}
    for role, usual in ROLES.items():
        if role in columns:
            continue
        there = [name for name in table.columns if name.lower() in usual and name not in taken]
        if len(there) > 1:
            raise DataError(
                f"{path}: {' and '.join(map(repr, there))} may each be the {role}; say which with "
                f"{path.name}?{role}={there[0]}."
            )
        if there:
            columns[role] = there
    for role in ("path", "split", "patient"):
        if len(columns.get(role, ())) > 1:
            raise DataError(f"{path}: only one column can be the {role}, not {', '.join(columns[role])}.")
    if "path" not in columns:
        raise DataError(
            f"{path}: no column path, file, filename or image; has {', '.join(table.columns)}. Say which one has the "
            f"files with {path.name}?path=NAME.{nearest('path', table.columns)}"
        )
    return columns


def read_query(path: Path, query: str) -> dict[str, str]:
    """Return what a source says of its columns, by role."""
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise DataError(f"{path.name}?{query}: write NAME=COLUMN, several with & between them.") from None
    for role, _ in pairs:
        if role not in ROLES:
            raise DataError(f"{path.name}?{query}: there is no {role!r}; use {', '.join(ROLES)}.{nearest(role, ROLES)}")
    return dict(pairs)


def named(path: Path, table: pd.DataFrame, role: str, text: str) -> list[str]:
    """Return the columns that a person named, one or several with commas between them."""
    by_name = {name.lower(): name for name in table.columns}
    names = [text] if text.lower() in by_name else text.split(",")
    for name in names:
        if name.lower() not in by_name:
            raise DataError(
                f"{path}: has no column {name!r} for the {role}; has {', '.join(table.columns)}."
                f"{nearest(name, table.columns)}"
            )
    return list(dict.fromkeys(by_name[name.lower()] for name in names))


def read_paths(path: Path, table: pd.DataFrame, column: str) -> list[str]:
    """Return the files, relative to the table's folder.

    Raises:
        DataError: One is empty, named twice, or leads out of the folder.
    """
    files = [text.replace("\\", "/") for text in filled(path, table, column).tolist()]
    outside = next((file for file in files if Path(file).is_absolute() or "\0" in file), None)
    if outside is None:
        leads = first_outside((path.parent / file for file in files), path.parent)
        outside = None if leads is None else str(leads.relative_to(path.parent))
    if outside is not None:
        raise DataError(f"{path}: {outside!r} leads out of the table's folder; give paths relative to it, inside it.")
    files = [Path(file).as_posix() for file in files]
    twice = [file for file, count in pd.Series(files).value_counts(sort=False).items() if count > 1]
    if twice:
        raise DataError(
            f"{path}: {len(twice)} files are there in several rows: {first(twice)}; give each image one row."
        )
    return files


def filled(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column in which no cell may be empty, as text."""
    values: np.ndarray = table[column].to_numpy(str)
    empty = np.flatnonzero(values == "")
    if len(empty):
        rows = first([str(place + 1) for place in empty])
        raise DataError(f"{path}: column {column!r} is empty in {len(empty)} of {len(values)} rows: {rows}; fill them.")
    return values


def first(names: Sequence[str]) -> str:
    """Write the first few of many."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def read_splits(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return the split of each row."""
    values = filled(path, table, column).tolist()
    for place, value in enumerate(values):
        if value.lower() not in SPLIT_NAMES:
            raise DataError(
                f"{path}: {value!r} in column {column!r}, row {place + 1}, is no split; use train, validation and test."
                f"{nearest(value.lower(), SPLIT_NAMES)}"
            )
    return np.array([SPLIT_NAMES[value.lower()] for value in values])


def read_labels(
    path: Path, table: pd.DataFrame, columns: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the labels as in `Split`, the classes, and what a report must say.

    Raises:
        DataError: There are none, a cell is empty, or several labels are not 0 or 1.
    """
    names = columns.get("label", ())
    if len(names) == 1:
        values = filled(path, table, names[0]).tolist()
        classes = sorted(set(values), key=in_order(values))
        places = {name: place for place, name in enumerate(classes)}
        return np.array([places[value] for value in values], np.int64), tuple(classes), ()
    notes: tuple[str, ...] = ()
    if not names:
        taken = {name for used in columns.values() for name in used}
        names = [name for name in table.columns if name not in taken and holds_labels(table[name])]
        if len(names) < 2:
            raise DataError(
                f"{path}: no column label, class, target or diagnosis, nor several of 0 and 1; has "
                f"{', '.join(table.columns)}. Say which has the classes with {path.name}?label=NAME."
                f"{nearest('label', table.columns)}"
            )
        notes = (f"Labels, each 0 or 1: {', '.join(names)}.",)
    return np.stack([yes_or_no(path, table, name) for name in names], axis=1), tuple(names), notes


def holds_labels(column: pd.Series) -> bool:
    """Return whether a column has 0 and 1 alone; empty cells, which are refused later, do not hide a label."""
    values = set(column.str.lower())
    return values <= {*YES_OR_NO, ""} and values != {""}


def yes_or_no(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a label of 0 or 1 for each row."""
    values = np.char.lower(filled(path, table, column)).tolist()
    for place, value in enumerate(values):
        if value not in YES_OR_NO:
            raise DataError(f"{path}: {value!r} in label {column!r}, row {place + 1}, is neither 0 nor 1.")
    return np.array([YES_OR_NO[value] for value in values], np.int64)


def in_order(values: Iterable[str]) -> Callable[[str], float | str]:
    """Return what to sort classes by: as numbers where all are, else as text."""
    return float if all(NUMBER.fullmatch(value) for value in values) else str


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Return numbers where all cells that are not empty have one, NaN for the others; 007 is text."""
    there = [value for value in values.tolist() if value]
    if there and all(NUMBER.fullmatch(value) for value in there):
        return np.array([float(value or "nan") for value in values.tolist()])
    return values
