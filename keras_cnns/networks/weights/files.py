"""Files of weights: PyTorch's, Keras's, `.safetensors` and `.npz`. Nothing is unpickled, and nothing is executed."""

from __future__ import annotations

import functools
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from keras_cnns.errors import KerasCnnsError, WeightsError, first_line
from keras_cnns.lazy import LazyModule
from keras_cnns.networks.weights.arrays import StoredArray
from keras_cnns.networks.weights.hdf5 import KerasFileError, read_hdf5, read_keras
from keras_cnns.networks.weights.pickles import PickleError
from keras_cnns.networks.weights.pytorch import read_pytorch

if TYPE_CHECKING:
    import safetensors
else:
    safetensors = LazyModule("safetensors")

READ_ERRORS: tuple[type[Exception], ...] = (
    OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
Reader = Callable[[Path, ExitStack], Mapping[str, Any]]


@contextmanager
def open_state(state: Mapping[str, Any] | str | os.PathLike[str]) -> Iterator[Mapping[str, Any]]:
    """Yield a state dict, from a file if `state` is a path; its arrays can be used until the end of the context.

    Raises:
        WeightsError: The file is missing, broken or of an unsupported format, or has more than arrays.
    """
    if isinstance(state, Mapping):
        yield state
        return
    path = Path(state)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise WeightsError(
            f"{path}: weights are read from {', '.join(list(READERS)[:-1])} and {list(READERS)[-1]} files."
        )
    if not path.is_file():
        raise WeightsError(f"{path}: the file does not exist.")
    with ExitStack() as files:
        with readable(path):
            found = reader(path, files)
        if not found:
            raise WeightsError(f"{path}: has no arrays.")
        yield {name: guard(path, values) for name, values in found.items()}


def guard(path: Path, values: StoredArray) -> StoredArray:
    """Return an array whose reading raises a `WeightsError` if the file is broken."""

    def read() -> np.ndarray:
        with readable(path):
            return values.read()

    return StoredArray(values.shape, read)


def read_errors(path: Path) -> tuple[type[Exception], ...]:
    """Return the errors that a broken file can cause; those of safetensors only for its files."""
    return (*READ_ERRORS, safetensors.SafetensorError) if path.suffix.lower() == ".safetensors" else READ_ERRORS


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise a `WeightsError` for errors of reading a file."""
    try:
        yield
    except KerasCnnsError:
        raise
    except PickleError as error:
        raise WeightsError(
            f"{path}: {error}, so it is not read; save only the state dict: torch.save(model.state_dict(), ...)."
        ) from None
    except KerasFileError as error:
        raise WeightsError(f"{path}: {error}.") from None
    except read_errors(path) as error:
        raise WeightsError(
            f"{path}: cannot be read; it is broken or not a {path.suffix.lower()} file ({first_line(error)})."
        ) from None


def read_safetensors(path: Path, files: ExitStack) -> dict[str, StoredArray]:
    """Return the arrays of a `.safetensors` file."""
    file = files.enter_context(safetensors.safe_open(path, framework="numpy"))
    return {
        name: StoredArray(tuple(file.get_slice(name).get_shape()), functools.partial(file.get_tensor, name))
        for name in file.keys()  # noqa: SIM118 - it is not a mapping
    }


def read_npz(path: Path, files: ExitStack) -> dict[str, StoredArray]:
    """Return the arrays of an `.npz` file."""
    archive = files.enter_context(zipfile.ZipFile(path))
    return {
        info.filename.removesuffix(".npy"): StoredArray(
            read_npy_shape(archive, info), functools.partial(read_npy, archive, info)
        )
        for info in archive.infolist()
    }


def read_npy_shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """Return the shape of an array in an archive, or raise a `WeightsError` if it does not have as many numbers."""
    with archive.open(info) as file:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, dtype = read(file)
        header = file.tell()
    if dtype.hasobject:
        raise WeightsError(f"{archive.filename}: contains pickled objects, which are never loaded; save plain arrays "
                           "of numbers.")  # fmt: skip
    if math.prod(shape) * dtype.itemsize != info.file_size - header:
        raise WeightsError(f"{archive.filename}: {info.filename} is broken: {shape} is not its size.")
    return tuple(shape)


def read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return the values of an array in an archive."""
    with archive.open(info) as file:
        return np.asarray(npy_format.read_array(file, allow_pickle=False))


READERS: Mapping[str, Reader] = {
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".keras": read_keras,
    ".h5": read_hdf5,
    **dict.fromkeys((".pth", ".pt", ".bin", ".ckpt", ".tar"), read_pytorch),
}
"""The reader of each kind of file, by the end of the file's name."""
