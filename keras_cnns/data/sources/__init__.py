"""The kinds of sources that `load` reads: each is one module of this package, or a plugin."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_cnns.data.dataset import Dataset
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.errors import DataError
from keras_cnns.plugins import import_modules, load_plugins


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """A kind of source.

    All kinds are imported to list them, so `read` should import slow libraries, for example with a `LazyModule`.

    Attributes:
        usage: How users write such a source.
        description: What it contains, in one line, for help and docs.
        matches: Whether a source is of this kind, given as the user wrote it, but with the home folder instead of `~`.
        read: Reads the arrays, or lists the files, of a source that matches; raises a `DataError` if it is not valid.
    """

    usage: str
    description: str
    matches: Callable[[str], bool]
    read: Callable[[str], Dataset | ImageFiles]


@functools.cache
def all_sources() -> tuple[SourceKind, ...]:
    """Return all kinds of sources, in the order in which they are tried.

    First `SOURCE` of each module of this package that has one, by the name of the module, and then plugins.
    """
    ours = (module.SOURCE for module in import_modules(__name__, __path__) if hasattr(module, "SOURCE"))
    return (*ours, *load_plugins("sources", SourceKind))


def find_kind(source: str) -> SourceKind | None:
    """Return the kind of a source; None if it does not exist or is not supported."""
    text = expand_home(source)
    return next((kind for kind in all_sources() if kind.matches(text)), None)


def expand_home(source: str) -> str:
    """Return a source with the home folder instead of `~`."""
    return os.path.expanduser(source)  # noqa: PTH111 - a Path would change texts that are not paths


def read_source(source: str) -> Dataset | ImageFiles:
    """Read the arrays of a source, or list its files; raise a `DataError` if it does not exist or is not valid."""
    text, kind = expand_home(source), find_kind(source)
    if kind is not None:
        return kind.read(text)
    problem = "is not a supported source" if Path(text).exists() else "does not exist"
    *usages, last = (kind.usage for kind in all_sources())
    raise DataError(f"{source}: {problem}; use {', '.join(usages)} or {last}.")
