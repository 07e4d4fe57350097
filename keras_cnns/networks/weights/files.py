"""State dicts from files: `.safetensors` and `.npz`, never anything pickled."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.errors import WeightsError

PICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".tar")
BROKEN = (OSError, EOFError, KeyError, RuntimeError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error)


def read_state(state: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return a state dict that is given as one, or as a path to one.

    Raises:
        WeightsError: The file is missing, broken, pickled or of another kind.
    """
    if isinstance(state, Mapping):
        return state
    path = Path(state)
    kind = path.suffix.lower()
    if kind in PICKLED:
        raise WeightsError(
            f"{path}: pickled files can hold code and are never opened; where PyTorch is, convert it: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), "
            f"{path.with_suffix('.safetensors').name!r})"
        )
    if kind not in (".safetensors", ".npz"):
        raise WeightsError(f"{path}: weights are read from .safetensors and .npz files.")
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file.")
    return read_safetensors(path) if kind == ".safetensors" else read_npz(path)


def read_safetensors(path: Path) -> dict[str, Any]:
    """Return the arrays of a `.safetensors` file by name."""
    import safetensors.numpy  # noqa: PLC0415 - needed for such files alone

    try:
        return dict(safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read, the file is broken or no .safetensors ({error}).") from None


def read_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an `.npz` file by name."""
    try:
        with zipfile.ZipFile(path):
            pass  # other kinds of files, which NumPy would read under this name too, end here
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except BROKEN as error:
        if "allow_pickle" in str(error):
            message = f"{path}: holds pickled objects, which are never loaded; save plain arrays of numbers."
            raise WeightsError(message) from None
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: cannot be read, the file is broken or no .npz ({reason}).") from None
