"""What a `.keras` file of ours says of its network besides the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cnns.networks.preprocessing import CONSTANT, STANDARDIZE, STANDARDIZE_IMAGE, Preprocessing
from keras_cnns.networks.weights.files import readable
from keras_cnns.networks.weights.hdf5 import read_configuration


def read_preprocessing(path: Path) -> Preprocessing | None:
    """Return the preprocessing of the network in a `.keras` file, or None if it does not begin with one of ours.

    Raises:
        WeightsError: The file is broken.
    """
    with readable(path):
        layers = {layer["config"]["name"]: layer["config"] for layer in read_configuration(path)["config"]["layers"]}
        if STANDARDIZE not in layers:
            return None
        scale, offset = (flatten(layers[STANDARDIZE][name]) for name in ("scale", "offset"))
    return Preprocessing(scale=scale, offset=offset, by_image=STANDARDIZE_IMAGE in layers, constant=CONSTANT in layers)


def flatten(values: Any) -> tuple[float, ...]:
    """Return the numbers in nested lists, which Keras may describe as an array."""
    if isinstance(values, Mapping):
        values = values["config"]["value"]
    while isinstance(values[0], list):
        (values,) = values
    return tuple(float(value) for value in values)
