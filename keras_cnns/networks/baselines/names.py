"""Names of baselines: `keras:NAME`, `FILE.py:FUNCTION` and `MODULE:FUNCTION`."""

from __future__ import annotations

import ast
import functools
import re
from importlib.util import find_spec
from pathlib import Path

BASELINE = "baseline"
"""The name of the family of all baselines."""
KERAS = "keras"
WAYS = "keras:NAME, FILE.py:FUNCTION or MODULE:FUNCTION"


def is_baseline(name: str) -> bool:
    """Return whether a name is that of a baseline and not of a variant of a family."""
    return ":" in name


def split_name(name: str) -> tuple[str, str]:
    """Split a name into the source of the function, `keras`, a file or a module, and the function."""
    source, _, function = name.rpartition(":")
    return source, function


def is_of_keras(name: str) -> bool:
    """Return whether a name is that of a network of `keras.applications`."""
    return split_name(name)[0] == KERAS


@functools.cache
def list_keras_networks() -> tuple[str, ...]:
    """Return the names of the networks of the installed Keras, such as `keras:ConvNeXtTiny`, without importing it."""
    spec = find_spec(KERAS)
    if spec is None or spec.origin is None:
        return ()
    source = Path(spec.origin).with_name("applications") / "__init__.py"
    imported = [node for node in ast.parse(source.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    names = (alias.name for node in imported for alias in node.names)
    return tuple(f"{KERAS}:{name}" for name in names if name[0].isupper())


def to_file_name(name: str) -> str:
    """Return the name of a network with only such characters as the names of files and of Keras models can have."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def to_path(text: str) -> Path:
    """Return a path whose "~" or "~USER" is the home folder; without such a user, the path as it is written."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
