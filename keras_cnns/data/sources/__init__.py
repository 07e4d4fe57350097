"""The kinds of sources that can be read, each with its reader; slow readers are imported when they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_cnns.data.dataset import Dataset
from keras_cnns.data.sources.archive import read_archive
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.sources.folder import list_folder
from keras_cnns.errors import DataError
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.data.sources import digits, table, tfds
else:
    digits, table, tfds = (LazyModule(f"keras_cnns.data.sources.{name}") for name in ("digits", "table", "tfds"))

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})


@dataclass(frozen=True)
class SourceKind:
    """A kind of source.

    Attributes:
        usage: How users write it.
        matches: Whether a source, given as text and as a path, is of this kind.
        read: Reads the arrays, or lists the files, of a source, given as text, as a path and with its query.
    """

    usage: str
    matches: Callable[[str, Path], bool]
    read: Callable[[str, Path, str], Dataset | ImageFiles]


SOURCES = (
    SourceKind("digits", lambda text, _: text == "digits", lambda *_: digits.read_digits()),
    SourceKind(
        "tfds:NAME",
        lambda text, _: text.startswith("tfds:"),
        lambda text, *_: tfds.read_tfds(text.removeprefix("tfds:")),
    ),
    SourceKind(
        "a folder SPLIT/CLASS/image or CLASS/image",
        lambda _, path: path.is_dir(),
        lambda _, path, __: list_folder(path),
    ),
    SourceKind(
        "an .npz file",
        lambda _, path: path.suffix == ".npz" and path.exists(),
        lambda _, path, __: read_archive(path),
    ),
    SourceKind(
        "a table .csv, .tsv or .parquet",
        lambda _, path: path.suffix.lower() in TABLE_SUFFIXES and path.exists(),
        lambda _, path, query: table.list_table(path, query),
    ),
)


def read_source(source: str) -> Dataset | ImageFiles:
    """Read the arrays of a source, or list its files; raise a `DataError` if it does not exist or is not valid."""
    path, query = split_query(source)
    for kind in SOURCES:
        if kind.matches(source, path):
            return kind.read(source, path, query)
    problem = "is not a supported source" if path.exists() else "does not exist"
    raise DataError(f"{source}: {problem}; use {', '.join(kind.usage for kind in SOURCES)}.")


def split_query(source: str) -> tuple[Path, str]:
    """Split `cases.csv?label=finding` into the path and the query of a table."""
    whole = Path(source).expanduser()
    before, _, query = source.partition("?")
    path = Path(before).expanduser()
    return (path, query) if not whole.exists() and path.suffix.lower() in TABLE_SUFFIXES else (whole, "")
