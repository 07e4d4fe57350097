"""State dicts with the names of torchvision or timm, for their networks in PyTorch.

The folder has `weights.safetensors` and, because a state dict has weights only, `description.json`: the description,
the library whose names it has, and how pixel values are standardized.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import save_file

from keras_cnns.errors import ExportError
from keras_cnns.exporting.formats import ExportFormat, Runtime
from keras_cnns.networks.layouts import KERAS
from keras_cnns.networks.preprocessing import CONSTANT, STANDARDIZE, STANDARDIZE_IMAGE
from keras_cnns.networks.weights.transfer import from_state_dict, layouts_by_library, to_state_dict

WEIGHTS, DESCRIPTION = "weights.safetensors", "description.json"


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write a folder with the weights and the description.

    Raises:
        WeightsError: No library has such a network.
    """
    library = next((name for name in layouts_by_library(model) if name != KERAS), "torchvision")
    state = to_state_dict(model, library)
    path.mkdir()
    save_file(state, path / WEIGHTS, metadata={"format": "pt", "library": library})
    more = {"library": library, "standardization": describe_standardization(model)}
    (path / DESCRIPTION).write_text(json.dumps({**description, **more}, indent=1))


def describe_standardization(model: Any) -> dict[str, Any]:
    """Return how pixel values from 0 to 255 become the input of the first layer with weights.

    Raises:
        ExportError: A state dict cannot express it.
    """
    layers = {layer.name: layer for layer in model.layers}
    if CONSTANT in layers:
        raise ExportError(
            f"{model.name} reads a channel of ones, which no network of PyTorch does; use another format."
        )
    scale, offset = 1.0, 0.0
    if STANDARDIZE in layers:
        scale, offset = (np.ravel(getattr(layers[STANDARDIZE], name)).tolist() for name in ("scale", "offset"))
    return {"scale": scale, "offset": offset, "divide_by_own_deviation": STANDARDIZE_IMAGE in layers}


def load(path: Path, model: Any) -> Runtime:
    """Load the weights into a new network of the same structure."""
    copy = keras.models.clone_model(model)
    from_state_dict(copy, path / WEIGHTS)
    return lambda pixels: np.asarray(copy.predict_on_batch(pixels))


FORMAT = ExportFormat(
    name="state-dict", title="state dict of PyTorch", suffix="", runtime_package="keras", write=write, load=load,
    folds=False,
)  # fmt: skip
