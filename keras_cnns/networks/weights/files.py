"""State dicts from `.safetensors` and `.npz` files. Pickled files are never opened."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from keras_cnns.errors import WeightsError, first_line

PICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".tar")
READ_ERRORS = (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, MemoryError, zipfile.BadZipFile,
    zlib.error, safetensors.SafetensorError)  # fmt: skip


def read_state(state: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return a state dict, read from a file if `state` is a path.

    Raises:
        WeightsError: The file is missing, broken, pickled or of an unsupported format.
    """
    if isinstance(state, Mapping):
        return state
    path = Path(state)
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        raise WeightsError(
            f"{path}: pickled files can contain code and are never opened; convert it where PyTorch is installed: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), "
            f"{path.with_suffix('.safetensors').name!r})"
        )
    if suffix not in (".safetensors", ".npz"):
        raise WeightsError(f"{path}: weights are read from .safetensors and .npz files.")
    if not path.is_file():
        raise WeightsError(f"{path}: the file does not exist.")
    try:
        return dict(safetensors.numpy.load_file(path)) if suffix == ".safetensors" else read_npz(path)
    except READ_ERRORS as error:
        if "allow_pickle" in str(error):
            message = f"{path}: contains pickled objects, which are never loaded; save plain arrays of numbers."
        else:
            message = f"{path}: cannot be read; it is broken or not a {suffix} file ({first_line(error)})."
        raise WeightsError(message) from None


def read_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an `.npz` file by name."""
    with zipfile.ZipFile(path):
        pass  # rejects other formats, which `np.load` would read regardless of the file name
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
