"""Keras's own format, with the description as one more file in the archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns.exporting.formats import ExportFormat, Runtime
from keras_cnns.tracking.network_file import add_description


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write a `.keras` file."""
    model.save(path)
    add_description(path, description)


def load(path: Path, model: Any) -> Runtime:  # noqa: ARG001 - the file has all
    """Load the file with Keras."""
    loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    return lambda pixels: np.asarray(loaded.predict_on_batch(pixels))


FORMAT = ExportFormat(name="keras", title="Keras", suffix=".keras", runtime_package="keras", write=write, load=load)
