"""State dicts from PyTorch's `.pth` files, without PyTorch and without unpickling.

Since PyTorch 1.6 such a file is a zip archive with a pickle and a file for each storage. Before, it was a sequence of
five pickles followed by all storages. `keras_cnns.networks.weights.pickles` reads the pickles. Numbers are read when
they are used, so a file takes no more memory than the weights that fit the network.
"""

from __future__ import annotations

import functools
import math
import struct
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_cnns.networks.weights.arrays import StoredArray
from keras_cnns.networks.weights.pickles import BROKEN, PickleError, Storage, Tensor, read_pickle

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "<u1",
}  # fmt: skip
WRAPPERS = ("state_dict_ema", "state_dict", "model_state_dict", "model", "net", "network", "backbone")
"""Keys of training checkpoints under which their state dict is."""
INCOMPLETE = "it is incomplete"
PREFIX = "module."  # of the names in a state dict from data-parallel training
MAX_DIRECTORY = 2**22  # bytes of the table of contents of an archive
# Signature, position of the size of the table of contents and its format in an archive's last records.
END_RECORDS = ((b"PK\x06\x06", 40, "<Q"), (b"PK\x05\x06", 12, "<I"))
END_BYTES = 2**16 + 2**8
ReadBytes = Callable[[int, int], bytes]
"""Returns the bytes of a storage from one position to another."""


def read_pytorch(path: Path, files: ExitStack) -> dict[str, StoredArray]:
    """Return the state dict in a `.pth` file, whose arrays can be read until `files` is closed.

    Raises:
        PickleError: The file has more than a state dict, or is broken.
        OSError: The file cannot be read.
    """
    file = files.enter_context(path.open("rb"))
    is_archive = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return read_archive(file, files) if is_archive else read_sequence(file)


def read_archive(file: BinaryIO, files: ExitStack) -> dict[str, StoredArray]:
    """Return the state dict in an archive, the format since PyTorch 1.6."""
    check_directory(file)
    archive = files.enter_context(zipfile.ZipFile(file))
    names = set(archive.namelist())
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise PickleError("it is an archive without the pickle of a state dict")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        raise PickleError("it is a program (TorchScript) and not a state dict")
    if f"{root}byteorder" in names and archive.open(f"{root}byteorder").read(8) == b"big":
        raise PickleError("its numbers are big-endian")
    with archive.open(pickles[0]) as pickle:
        found = read_pickle(pickle)
    return make_state(found, lambda storage: functools.partial(read_entry, archive, f"{root}data/{storage.key}"))


def check_directory(file: BinaryIO) -> None:
    """Check the size of an archive's table of contents, which `zipfile` reads as a whole.

    Raises:
        PickleError: It is too large, or there is none.
    """
    file.seek(max(0, file.seek(0, 2) - END_BYTES))
    end = file.read()
    sizes: list[int] = []
    for signature, offset, kind in END_RECORDS:
        begin = end.rfind(signature) + offset
        if begin >= offset and begin + struct.calcsize(kind) <= len(end):
            sizes.extend(struct.unpack_from(kind, end, begin))
    if not sizes:
        raise PickleError(INCOMPLETE)
    if sizes[0] > MAX_DIRECTORY:
        raise PickleError("its table of contents is larger than that of any state dict")


def read_entry(archive: zipfile.ZipFile, name: str, begin: int, end: int) -> bytes:
    """Return bytes of a file in an archive."""
    with archive.open(name) as file:
        file.seek(begin)
        return read_exactly(file, end - begin)


def read_sequence(file: BinaryIO) -> dict[str, StoredArray]:
    """Return the state dict in a sequence of pickles and storages, the format before PyTorch 1.6."""
    storages: dict[str, Storage] = {}
    magic_number, protocol, machine = (read_pickle(file) for _ in range(3))
    if magic_number != MAGIC_NUMBER or protocol != PROTOCOL or not isinstance(machine, dict):
        raise PickleError("it is not a file of PyTorch")
    if machine.get("little_endian") is not True:
        raise PickleError("its numbers are big-endian")
    found = read_pickle(file, storages)
    keys = read_pickle(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise PickleError(BROKEN)
    positions: dict[str, int] = {}
    for key in keys:
        (size,) = struct.unpack("<q", read_exactly(file, 8))
        if size != storages[key].size:
            raise PickleError(BROKEN)
        positions[key] = file.tell()
        file.seek(size * np.dtype(DTYPES[storages[key].kind]).itemsize, 1)
    if missing := storages.keys() - positions.keys():
        raise PickleError(f"it lacks {len(missing)} storages")
    return make_state(found, lambda storage: functools.partial(read_part, file, positions[storage.key]))


def read_part(file: BinaryIO, position: int, begin: int, end: int) -> bytes:
    """Return bytes of a storage that begins at a position in a file."""
    file.seek(position + begin)
    return read_exactly(file, end - begin)


def read_exactly(file: Any, size: int) -> bytes:
    """Return the next bytes of a file, or raise a `PickleError` if it has fewer."""
    data: bytes = file.read(size)
    if len(data) < size:
        raise PickleError(INCOMPLETE)
    return data


def make_state(found: object, open_storage: Callable[[Storage], ReadBytes]) -> dict[str, StoredArray]:
    """Return the tensors of a state dict, or of the state dict in a training checkpoint, by name."""
    while isinstance(found, dict) and not any(isinstance(value, Tensor) for value in found.values()):
        found = next((found[key] for key in WRAPPERS if isinstance(found.get(key), dict)), None)
    if not isinstance(found, dict):
        raise PickleError("it has no state dict")
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return {name: make_array(tensor, open_storage(tensor.storage)) for name, tensor in tensors.items()}


def make_array(tensor: Tensor, read_bytes: ReadBytes) -> StoredArray:
    """Return a tensor as an array that is read from its storage when it is used.

    Raises:
        PickleError: The tensor is not a part of its storage without gaps and repetitions.
    """
    size, axes, step = math.prod(tensor.shape), np.argsort(tensor.strides, kind="stable")[::-1], 1
    for axis in axes[::-1]:
        if tensor.shape[axis] > 1 and tensor.strides[axis] != step:
            raise PickleError("it has a tensor that is a view")
        step *= tensor.shape[axis]
    if tensor.offset + size > tensor.storage.size:
        raise PickleError("it has a tensor that is larger than its storage")
    dtype = np.dtype(DTYPES[tensor.storage.kind])

    def read() -> np.ndarray:
        data = read_bytes(tensor.offset * dtype.itemsize, (tensor.offset + size) * dtype.itemsize)
        values = np.frombuffer(data, dtype)
        if tensor.storage.kind == "BFloat16Storage":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape([tensor.shape[axis] for axis in axes]).transpose(np.argsort(axes))

    return StoredArray(tensor.shape, read)
