"""The cache: files that are made once on a machine, and can be made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_cnns.errors import DataError

CACHE_VARIABLE = "KERAS_CNNS_CACHE"
OWNER_ONLY = 0o700


def cache_folder(name: str = "images") -> Path:
    """Return a folder of the cache, which is KERAS_CNNS_CACHE or `~/.cache/keras-cnns`, creating it if necessary."""
    root = os.environ.get(CACHE_VARIABLE)
    folder = (Path(root).expanduser() if root else Path.home() / ".cache" / "keras-cnns") / name
    with catch_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY)
    return folder


@contextmanager
def catch_write_errors(folder: Path) -> Iterator[None]:
    """Raise an `OSError` while writing to the cache as a `DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); set {CACHE_VARIABLE} to another folder."
        ) from None
