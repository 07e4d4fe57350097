"""Decoded images in files instead of in memory: decoded once for each machine, read a few at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_cnns.errors import DataError

CACHE_VARIABLE = "KERAS_CNNS_CACHE"
LARGEST_SHARE = 0.5
OWNER_ONLY = 0o700
ROWS = 256


def cache_folder(of: str = "images") -> Path:
    """Return where something is kept for this machine, in what KERAS_CNNS_CACHE names or the user's cache folder.

    Raises:
        DataError: It cannot be written.
    """
    named = os.environ.get(CACHE_VARIABLE)
    folder = (Path(named).expanduser() if named else Path.home() / ".cache" / "keras-cnns") / of
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY)
    return folder


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what can go wrong when the cache is written into one line."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); name another folder with {CACHE_VARIABLE}."
        ) from None


def fits_in_memory(size: int) -> bool:
    """Return whether so many bytes of images leave half of the memory that is free now."""
    import psutil  # noqa: PLC0415 - seldom needed

    return bool(size <= LARGEST_SHARE * psutil.virtual_memory().available)


def reserve(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Make a file for images and map it. The disk's blocks are taken at once, so that none is missing later.

    Raises:
        DataError: There is no room.
    """
    with writing(path.parent):
        check_room(path.parent, shape)
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


def check_room(folder: Path, shape: tuple[int, ...]) -> None:
    """Raise a `DataError` where images do not fit on a disk."""
    needed, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: decoded images need {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; make them smaller "
            f"with --image-size (image_size), or name a folder with more room with {CACHE_VARIABLE}."
        )


def copy_rows(images: np.ndarray, places: np.ndarray) -> np.memmap:
    """Return some of many images as a memory map of their own, of a file that is gone when nothing holds it.

    Args:
        images: Shape (images, ...), uint8.
        places: Which of them, in which order.
    """
    folder = cache_folder()
    shape = (len(places), *images.shape[1:])
    with writing(folder):
        check_room(folder, shape)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(1, int(np.prod(shape, dtype=np.int64))))
            rows = np.memmap(file, np.uint8, "r+", shape=shape)
    for begin in range(0, len(places), ROWS):
        rows[begin : begin + ROWS] = images[places[begin : begin + ROWS]]
    return rows
