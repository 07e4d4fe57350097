"""Tables of images: a CSV or Parquet file with one row per image."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote

import numpy as np

from keras_cnns.data.classes import label_classes
from keras_cnns.data.dataset import SPLITS, Split, list_examples
from keras_cnns.data.decoding.image import is_image
from keras_cnns.data.sources import SourceKind
from keras_cnns.data.sources.cells import Table, read_table
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.sources.folder import first_outside
from keras_cnns.data.split_names import find_split
from keras_cnns.errors import DataError, nearest

SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".parquet"})
WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"})
ROLES = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target", "diagnosis"),
    "split": ("split",),
    "patient": ("patient", "patient_id", "patientid"),
}
"""The names of columns that are recognised, by role."""
ROOT = "root"
BINARY_WORDS = {
    **dict.fromkeys(("false", "no", "falsch", "nein", "faux", "non", "falso", "nao", "não"), 0),
    **dict.fromkeys(("true", "yes", "wahr", "ja", "vrai", "oui", "vero", "verdadero", "verdadeiro"), 1),
    **dict.fromkeys(("si", "sí", "sì", "sim"), 1),
}
"""The words for 0 and 1 in columns of labels, in lower case."""
BINARY_NUMBER = re.compile(r"0*([01])([.,]0*)?")
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?(0|[1-9]\d*),\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")
LIKE_NUMBER = re.compile(
    r"[+-]?[1-9]\d{0,2}([.,'\u2019 \u00a0\u202f]\d{3})+([.,]\d+)?|[+-]?(0|[1-9]\d*)([.,]\d+)?(\s?%|\s[^\W\d_/]{1,4})"
)
"""Numbers with thousands separators, a percent sign or a unit."""
WINDOWS_DRIVE = re.compile(r"[A-Za-z]:/")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def split_query(source: str) -> tuple[Path, str]:
    """Split `cases.csv?label=finding` into the path and the query, which is empty if a file has the whole name."""
    marks = [mark.start() for mark in re.finditer(r"\?", source)]
    paths = [source, *(source[:mark] for mark in reversed(marks))]
    path = next(filter(os.path.exists, paths), paths[-1])
    return Path(path), source[len(path) + 1 :]


def is_table(source: str) -> bool:
    """Return whether a source is a table, or the workbook of a spreadsheet program, that exists."""
    path, _ = split_query(source)
    return path.suffix.lower() in SUFFIXES | WORKBOOKS and path.is_file()


def with_root(source: str, root: str | Path) -> str:
    """Return the source of a table whose paths are relative to another folder than its own.

    Args:
        source: The table, with its query if it has one.
        root: The folder, absolute or relative to the current folder.

    Raises:
        DataError: The source is not a table, or has a root already.
    """
    path, query = split_query(os.path.expanduser(source))  # noqa: PTH111 - a Path would change texts that are not paths
    if not is_table(f"{path}?{query}"):
        problem = "is not a table that exists, and only the paths of a table are relative to a root"
        raise DataError(f"{source}: {problem}; leave out --root (root).")
    if ROOT in parse_query(path, query):
        raise DataError(f"{source}: has a root already; leave out --root (root).")
    return join_query(path, query, Path(root).expanduser().absolute())


def join_query(path: Path, query: str, root: Path | None) -> str:
    """Return the source with an absolute path and, if it is given, another root."""
    parts = [part for part in query.split("&") if part and not (root and part.startswith(f"{ROOT}="))]
    parts += [f"{ROOT}={quote(str(root))}"] if root else []
    return f"{path.absolute()}{'?' * bool(parts)}{'&'.join(parts)}"


def list_table(path: Path, query: str) -> ImageFiles:
    """Read the images of a table with their labels, splits, patients and other columns.

    Args:
        path: The table.
        query: The columns to use if they do not have the usual names, and the folder that the paths are relative to
            if it is not the table's: `path=image_file&label=effusion,mass&root=/data/images`.

    Raises:
        DataError: The table cannot be read, a column is missing, or a cell is empty or invalid.
    """
    if path.suffix.lower() in WORKBOOKS:
        raise DataError(f"{path}: is a workbook of a spreadsheet program; save the sheet as CSV in UTF-8 and use that.")
    settings = parse_query(path, query)
    root = Path(settings[ROOT]).expanduser().absolute() if ROOT in settings else None
    if root and not root.is_dir():
        raise DataError(f"{path.name}?{query}: the root {root} is not a folder that exists.")
    table = read_table(path)
    roles = find_roles(table, settings)
    notes = list(table.notes)
    files, path_notes = read_paths(table, roles["path"][0], root or path.parent)
    splits, split_notes = read_splits(table, roles["split"][0]) if "split" in roles else (["train"] * len(files), [])
    labels, class_names, label_notes = read_labels(table, roles)
    notes += [*path_notes, *split_notes, *label_notes]
    patients = None
    if "patient" in roles:
        patients = np.array(table.filled(roles["patient"][0]))
        notes += table.doubtful_notes(roles["patient"][0])
    used = {name for names in roles.values() for name in names} | set(class_names if labels.ndim == 2 else ())
    columns = {}
    for name in table.columns:
        if name not in used:
            columns[name], column_notes = parse_numbers(table, name)
            notes += column_notes
    samples = Split(np.arange(len(files)), labels, files=tuple(files), patients=patients, columns=columns)
    order = np.argsort([SPLITS.index(split) for split in splits], kind="stable")
    return ImageFiles(
        name=path.name,
        source=join_query(path, query, root),
        root=root or path.parent,
        samples=samples.take(order),
        splits=np.array(splits)[order],
        class_names=class_names,
        notes=tuple(notes),
    )


def parse_query(path: Path, query: str) -> dict[str, str]:
    """Return the names of columns in a query, by role, and the root if there is one."""
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise DataError(f"{path.name}?{query}: write ROLE=COLUMN, with & between several.") from None
    keys = (*ROLES, ROOT)
    for key, count in Counter(key for key, _ in pairs).items():
        if key not in keys:
            known = f"use {', '.join(keys)}.{nearest(key, keys)}"
            raise DataError(f"{path.name}?{query}: unknown role {key!r}; {known}")
        if count > 1:
            raise DataError(f"{path.name}?{query}: {key} is given {count} times; give it once.")
    return dict(pairs)


def find_roles(table: Table, settings: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the columns of each role, from the query or by their usual names; raise a `DataError` if unclear."""
    path, everything = table.path, f"the columns are {', '.join(table.columns)}"
    roles = {role: match_names(table, role, settings[role]) for role in ROLES if role in settings}
    used = {name for names in roles.values() for name in names}
    for role, usual in ROLES.items():
        matches = [name for name in table.columns if name.lower() in usual and name not in used]
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
            f"with {path.name}?path=NAME.{nearest('path', table.columns)}"
        )
    return roles


def match_names(table: Table, role: str, text: str) -> list[str]:
    """Return the columns with the given names, which are separated by commas and not case-sensitive."""
    text = unicodedata.normalize("NFC", text)
    by_name = {name.lower(): name for name in table.columns}
    names = [text] if text.lower() in by_name else text.split(",")
    for name in names:
        if name.lower() not in by_name:
            raise DataError(
                f"{table.path}: column {name!r} for the {role} does not exist; the columns are "
                f"{', '.join(table.columns)}.{nearest(name, table.columns)}"
            )
    return list(dict.fromkeys(by_name[name.lower()] for name in names))


def read_paths(table: Table, column: str, root: Path) -> tuple[list[str], list[str]]:
    """Return the files relative to the root, and notes.

    Raises:
        DataError: A path is empty, a URL, outside the root, or stands for several files, or a file has several rows.
    """
    written = [text.replace("\\", "/") for text in table.filled(column)]
    for row, text in zip(table.rows, written, strict=True):
        if URL.match(text):
            raise DataError(f"{table.path}: {text!r} in row {row} is a URL; download the images and write their paths.")
    files = [relative_to_root(text, root) for text in written]
    check_inside(table, files, root)
    files, notes = resolve_suffixes(table, files, root)
    check_inside(table, files, root)
    repeated = [file for file, count in Counter(normalize_parts(file, root) for file in files).items() if count > 1]
    if repeated:
        problem = f"{len(repeated)} files have several rows: {list_examples(repeated)}"
        raise DataError(f"{table.path}: {problem}; use one row per image.")
    return files, notes


def relative_to_root(text: str, root: Path) -> str:
    """Return a path relative to the root if it is absolute and below the root; other paths only in POSIX form."""
    path = Path(text)
    for top in (root.absolute(), root.resolve()):
        if path.is_absolute() and path.is_relative_to(top):
            return path.relative_to(top).as_posix()
    return path.as_posix()


def check_inside(table: Table, files: Sequence[str], root: Path) -> None:
    """Raise a `DataError` if a path is absolute, or leads out of the root."""
    outside = first_outside(root, files) or next(filter(WINDOWS_DRIVE.match, files), None)
    if outside is None:
        return
    row = table.rows[files.index(outside)]
    raise DataError(
        f"{table.path}: {outside!r} in row {row} is outside the folder {root}; use paths inside it, or choose the "
        f"folder with --root (root=...)."
    )


def normalize_parts(file: str, root: Path) -> str:
    """Return a path without `..`, so that two paths of one file are equal."""
    if ".." not in Path(file).parts:
        return file
    path = root / file
    return (path.parent.resolve() / path.name).relative_to(root.resolve()).as_posix()


def resolve_suffixes(table: Table, files: Sequence[str], root: Path) -> tuple[list[str], list[str]]:
    """Find the images of paths that do not exist: with a suffix, or with the suffix in another case.

    Returns:
        The paths of the files that exist, or as they are if there is no such image; and notes.

    Raises:
        DataError: A path stands for several images.
    """
    images: dict[Path, dict[str, list[str]]] = {}
    resolved = []
    for row, file in zip(table.rows, files, strict=True):
        path = root / file
        if path.is_file():
            resolved.append(file)
            continue
        if path.parent not in images:
            images[path.parent] = images_by_name(path.parent)
        found = images[path.parent].get(path.name, []) or images[path.parent].get(fold_suffix(path), [])
        if len(found) > 1:
            raise DataError(
                f"{table.path}: {file!r} in row {row} does not exist and may be {list_examples(found)}; write the "
                f"suffix of the file."
            )
        resolved.append((Path(file).parent / found[0]).as_posix() if found else file)
    pairs = [(file, other) for file, other in zip(files, resolved, strict=True) if file != other]
    if not pairs:
        return resolved, []
    example = f"{pairs[0][0]} for {pairs[0][1]}"
    stand = "path stands for the image" if len(pairs) == 1 else "paths stand for the images"
    return resolved, [f"{len(pairs):,} {stand} of this name with another or no suffix, such as {example}."]


def images_by_name(folder: Path) -> dict[str, list[str]]:
    """Return the images in a folder by their name without a suffix, and by their name with a suffix in lower case."""
    images: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix and path.is_file() and is_image(path):
            images.setdefault(path.stem, []).append(path.name)
            images.setdefault(fold_suffix(path), []).append(path.name)
    return images


def fold_suffix(path: Path) -> str:
    """Return the name of a file with its suffix in lower case."""
    return path.stem + path.suffix.lower()


def read_splits(table: Table, column: str) -> tuple[list[str], list[str]]:
    """Return the split of each row, and a note on other words for splits."""
    splits = table.translate(column, find_split, "train, validation or test", SPLITS)
    words = dict(zip(table.columns[column], splits, strict=True))
    other = [f"{word!r} is {split}" for word, split in words.items() if word.lower() != split]
    return splits, [f"Splits by their names in the table: {', '.join(other)}."] if other else []


def read_labels(
    table: Table, roles: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the labels as in `Split`, the class names, and notes; raise a `DataError` if labels are missing."""
    names = roles.get("label", ())
    if len(names) == 1:
        values, comma_notes = replace_decimal_commas(table, names[0], table.filled(names[0]))
        labels, class_names, notes = label_classes(values)
        return labels, class_names, (*comma_notes, *notes, *table.doubtful_notes(names[0]))
    found = []
    if not names:
        used = {name for of_role in roles.values() for name in of_role}
        names = [name for name in table.columns if name not in used and is_binary(table.columns[name])]
        if len(names) < 2:
            raise DataError(
                f"{table.path}: no column is called label, class, target or diagnosis, and there are not several "
                f"columns of 0 and 1; the columns are {', '.join(table.columns)}. Choose the one with the classes with "
                f"{table.path.name}?label=NAME.{nearest('label', table.columns)}"
            )
        found = [f"Labels, each 0 or 1: {', '.join(names)}."]
    labels = np.stack([table.translate(name, parse_binary, "0 or 1", BINARY_WORDS) for name in names], axis=1)
    return labels, tuple(names), (*found, *binary_notes(table, names))


def parse_binary(text: str) -> int | None:
    """Return 0 or 1 for a number or a word such as false, yes or nein in any case; None for other text."""
    number = BINARY_NUMBER.fullmatch(text)
    return int(number[1]) if number else BINARY_WORDS.get(unicodedata.normalize("NFC", text).lower())


def is_binary(values: Sequence[str]) -> bool:
    """Return whether a column contains only 0 and 1; empty cells are ignored here and rejected later."""
    different = set(values) - {""}
    return bool(different) and all(parse_binary(value) is not None for value in different)


def binary_notes(table: Table, names: Sequence[str]) -> list[str]:
    """Return a note on the words that are read as 0 and 1."""
    words = sorted({value for name in names for value in table.columns[name] if not BINARY_NUMBER.fullmatch(value)})
    lists = (", ".join(word for word in words if parse_binary(word) == number) for number in (0, 1))
    meanings = [f"{listed} as {number}" for number, listed in enumerate(lists) if listed]
    return [f"Words in the columns of labels are read as numbers: {'; '.join(meanings)}."] if meanings else []


def parse_numbers(table: Table, name: str) -> tuple[np.ndarray, list[str]]:
    """Return a column as numbers, NaN for empty cells, if all other cells are numbers; 007 is text; and notes."""
    values, notes = replace_decimal_commas(table, name, table.columns[name])
    filled = [value for value in values if value]
    text = [value for value in filled if not NUMBER.fullmatch(value)]
    if filled and not text:
        return np.array([float(value or "nan") for value in values]), notes
    if text and (len(text) < len(filled) / 2 or all(map(LIKE_NUMBER.fullmatch, text))) and not notes:
        row = table.rows[values.index(text[0])]
        notes = [f"Column {name!r} is text, because not all cells are numbers: {text[0]!r} in row {row}."]
    return np.array(values), notes


def replace_decimal_commas(table: Table, name: str, values: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """Replace decimal commas by points in a column of numbers, and return notes.

    Cells stay as they are if their commas, or points beside commas, may separate thousands, as in 1,234.
    """
    commas = [value for value in values if DECIMAL_COMMA.fullmatch(value)]
    if not commas or not all(DECIMAL_COMMA.fullmatch(value) or NUMBER.fullmatch(value) for value in values if value):
        return values, []
    points = [value for value in values if "." in value]
    if all(map(THOUSANDS.fullmatch, commas)) or (points and all(map(THOUSANDS.fullmatch, points))):
        example = commas[0] if all(map(THOUSANDS.fullmatch, commas)) else points[0]
        row = table.rows[values.index(example)]
        problem = f"{example!r} in row {row} may be a decimal number or a thousand"
        return values, [f"Column {name!r} is text, because {problem}: write numbers without thousands separators."]
    note = f"Column {name!r} has decimal commas and is read as numbers, such as {commas[0]} as "
    return [value.replace(",", ".") for value in values], [f"{note}{commas[0].replace(',', '.')}."]


SOURCE = SourceKind(
    usage="FILE.csv/.tsv/.txt/.parquet",
    description="a table with the path and the class of each image",
    matches=is_table,
    read=lambda source: list_table(*split_query(source)),
)
