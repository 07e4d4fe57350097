"""Weights from Keras's files: `.keras`, `.weights.h5` and the older `.h5`.

Only arrays and names are read. Arrays are named "layer/0", "layer/1", ... in the order in which Keras saves the weights
of a layer. Links to other files are refused, and arrays are read when they are used.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_cnns.networks.weights.arrays import StoredArray

CONFIGURATION = "config.json"
WEIGHTS = "model.weights.h5"
MAX_CONFIGURATION = 2**26  # bytes
MAX_WEIGHTS = 2**32  # bytes
MIN_LIMIT, MAX_EXPANSION = 2**22, 4  # weights can hardly be compressed
MAX_NESTING = 8
LINKS = (h5py.SoftLink, h5py.ExternalLink)


class KerasFileError(Exception):
    """A file of weights is not one of Keras's, or is not safe."""


def read_hdf5(path: Path, files: ExitStack) -> dict[str, StoredArray]:
    """Return the arrays in an `.h5` or a `.weights.h5` file, which can be read until `files` is closed.

    Raises:
        KerasFileError: It is not a file of Keras, or has links to other files.
        OSError: The file cannot be read.
    """
    return read_groups(files.enter_context(h5py.File(path, "r")))


def read_keras(path: Path, files: ExitStack) -> dict[str, StoredArray]:
    """Return the arrays in a `.keras` file, which can be read until `files` is closed.

    Raises:
        KerasFileError: It is not a file of Keras, or has links to other files.
        OSError: The file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(read_member(archive, WEIGHTS, MAX_WEIGHTS))
    return read_groups(files.enter_context(h5py.File(content, "r")))


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the configuration of the network in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        found = json.loads(read_member(archive, CONFIGURATION, MAX_CONFIGURATION))
    if not isinstance(found, dict):
        raise KerasFileError("its configuration is not valid")
    return found


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a file in an archive if it is not larger than a limit."""
    if name not in archive.namelist():
        raise KerasFileError(f"it has no {name}")
    info = archive.getinfo(name)
    if info.file_size > min(limit, max(MIN_LIMIT, MAX_EXPANSION * info.compress_size)):
        raise KerasFileError(f"its {name} would take {info.file_size / 2**20:.0f} MiB of memory, too much to be true")
    with archive.open(name) as file:
        return file.read(limit)


def read_groups(file: h5py.File) -> dict[str, StoredArray]:
    """Return the arrays of a file of Keras by the names of their layers and their positions."""
    root = get(file, "model_weights") if "model_weights" in file else file
    find = find_legacy if "layer_names" in root.attrs else find_saved
    arrays = {
        f"{layer}/{position}": get_array(file, path)
        for layer, paths in find(root)
        for position, path in enumerate(paths)
    }
    return {name: StoredArray(array.shape, functools.partial(np.asarray, array)) for name, array in arrays.items()}


def find_legacy(root: h5py.Group) -> Iterator[tuple[str, list[str]]]:
    """Yield each layer of an `.h5` file with the paths of its arrays."""
    for name in names(root.attrs["layer_names"]):
        group = get(root, name)
        yield name, [f"{group.name}/{weight}" for weight in names(group.attrs["weight_names"])]


def find_saved(root: h5py.Group, depth: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Yield each layer of a `.weights.h5` file with the paths of its arrays."""
    if depth > MAX_NESTING:
        raise KerasFileError("its groups are nested too deeply")
    for key in root:
        if key == "optimizer" or not is_group(root, key):
            continue
        group = get(root, key)
        if key == "vars":
            if len(group) and "name" not in group.attrs:
                raise KerasFileError("it has no names of layers; save it again with a later Keras")
            if len(group):
                yield text(group.attrs["name"]), [f"{group.name}/{index}" for index in range(len(group))]
        else:
            yield from find_saved(group, depth + 1)


def names(values: Any) -> list[str]:
    """Return the texts of an attribute."""
    return [text(value) for value in np.asarray(values).ravel()]


def text(value: Any) -> str:
    """Return a text of an attribute."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def is_group(parent: h5py.Group, name: str) -> bool:
    """Return whether a member is a group that is no link."""
    return parent.get(name, getlink=True, getclass=True) not in LINKS and parent.get(name, getclass=True) is h5py.Group


def get(parent: h5py.Group, path: str) -> h5py.Group:
    """Return a group, or raise a `KerasFileError` if it is missing or a link."""
    for name in path.strip("/").split("/"):
        if name not in parent or not is_group(parent, name):
            raise KerasFileError(f"it has no group {path[:80]}")
        parent = parent[name]
    return parent


def get_array(file: h5py.File, path: str) -> h5py.Dataset:
    """Return an array, or raise a `KerasFileError` if it is missing, a link, in another file or not numeric."""
    folder, _, name = path.strip("/").rpartition("/")
    parent = get(file, folder)
    if name not in parent or parent.get(name, getlink=True, getclass=True) in LINKS:
        raise KerasFileError(f"it has no array {path[:80]}")
    found = parent[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual or found.dtype.kind not in "fiu":
        raise KerasFileError(f"{path[:80]} is not an array of numbers in this file")
    return found
