"""Memory-mapped images: datasets that do not fit into memory are kept in files of a cache folder."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from keras_cnns.cache import CACHE_VARIABLE, cache_folder, catch_write_errors
from keras_cnns.errors import DataError

MAX_MEMORY_SHARE = 0.5
ROWS = 256


def fits_in_memory(size: int) -> bool:
    """Return whether an array of `size` bytes takes at most half of the available memory."""
    return bool(size <= MAX_MEMORY_SHARE * psutil.virtual_memory().available)


def create_memmap(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Create and map an `.npy` file of uint8, or raise a `DataError` if the disk is too small."""
    with catch_write_errors(path.parent):
        check_disk_space(path.parent, shape)
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        with path.open("r+b") as file:
            allocate(file, path.stat().st_size)
    return images


def copy_rows(images: np.ndarray, rows: np.ndarray) -> np.memmap:
    """Copy some of many images to a temporary memory-mapped file.

    Args:
        images: Shape (images, ...), uint8.
        rows: The indices of the images to copy, in any order.
    """
    copy = create_temporary_memmap((len(rows), *images.shape[1:]))
    for start in range(0, len(rows), ROWS):
        copy[start : start + ROWS] = images[rows[start : start + ROWS]]
    return copy


def create_temporary_memmap(shape: tuple[int, ...]) -> np.memmap:
    """Create and map a file of uint8 that is deleted with the last reference to it; errors as in `create_memmap`."""
    folder = cache_folder()
    with catch_write_errors(folder):
        check_disk_space(folder, shape)
        with tempfile.TemporaryFile(dir=folder) as file:
            allocate(file, max(1, math.prod(shape)))
            return np.memmap(file, np.uint8, "r+", shape=shape)


def allocate(file: BinaryIO, size: int) -> None:
    """Allocate a file's blocks, if the system can: writing to a sparse file on a full disk would be fatal."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)


def check_disk_space(folder: Path, shape: tuple[int, ...]) -> None:
    """Raise a `DataError` if images of this shape do not fit on the disk."""
    needed, free = math.prod(shape), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: decoded images need {needed / 1e9:.2f} GB but only {free / 1e9:.2f} GB are free; use a smaller "
            f"--image-size (image_size), or set {CACHE_VARIABLE} to a folder on a larger disk."
        )
