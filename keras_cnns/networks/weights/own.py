"""What a `.keras` file of ours says of its network besides the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import WeightsError
from keras_cnns.networks.preprocessing import CONSTANT, STANDARDIZE, STANDARDIZE_IMAGE, Preprocessing
from keras_cnns.networks.weights.files import readable
from keras_cnns.networks.weights.hdf5 import read_configuration

if TYPE_CHECKING:
    from keras import Model

STRUCTURE = ("strides", "padding", "dilation_rate", "groups", "kernel_size", "pool_size", "output_size", "activation",
    "epsilon", "axis", "center", "scale", "offset", "size", "bias", "alpha", "beta")  # fmt: skip
"""What a layer computes besides its weights."""
OUTPUT_ACTIVATIONS = frozenset({"linear", "softmax", "sigmoid"})
"""Activations of a classifier, which depend on the use of a network."""
OUTPUTS = ("images", "predictions", "main_output")
"""Names of layers that depend on the use of a network."""


def read_preprocessing(path: Path) -> Preprocessing | None:
    """Return the preprocessing of the network in a `.keras` file, or None if it does not begin with one of ours.

    Raises:
        WeightsError: The file is broken.
    """
    with readable(path):
        layers = {name: layer["config"] for name, layer in read_layers(path).items()}
        found = layers.get(STANDARDIZE, {})
        if not all(isinstance(found.get(name), list | Mapping) for name in ("scale", "offset")):
            return None
        scale, offset = flatten(found["scale"]), flatten(found["offset"])
    return Preprocessing(scale=scale, offset=offset, by_image=STANDARDIZE_IMAGE in layers, constant=CONSTANT in layers)


def read_layers(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the descriptions of the layers in a `.keras` file by their names."""
    return {layer["config"]["name"]: layer for layer in read_configuration(path)["config"]["layers"]}


def check_structure(path: Path, model: Model) -> None:
    """Check that the layers in a `.keras` file compute what those of the same names in a network compute.

    Weights can have the right shapes although strides, poolings or activations differ.

    Raises:
        WeightsError: They do not, or the file is broken.
    """
    with readable(path):
        stored = read_layers(path)
        for layer in list_layers(model):
            name = layer["config"]["name"]
            if name in stored and name not in OUTPUTS:
                compare_layers(path, stored[name], layer, model.name)


def check_order(path: Path, model: Model) -> None:
    """Check that the layers in a `.keras` file compute what those of a model compute, one after the other.

    Their names may differ. The file may end before the model, without its classifier.

    Raises:
        WeightsError: They do not, or the file is broken.
    """
    with readable(path):
        stored = leaf_layers(read_configuration(path)["config"]["layers"])
        for theirs, ours in zip(stored, leaf_layers(list_layers(model)), strict=False):
            compare_layers(path, theirs, ours, model.name)


def list_layers(model: Model) -> list[dict[str, Any]]:
    """Return the descriptions of a model's layers as they are written to a file."""
    found: list[dict[str, Any]] = json.loads(json.dumps(model.get_config()["layers"], default=repr))
    return found


def leaf_layers(layers: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the descriptions of layers, with those of a nested model in its place, without inputs."""
    for layer in layers:
        if "layers" in layer["config"]:
            yield from leaf_layers(layer["config"]["layers"])
        elif layer["class_name"] != "InputLayer":
            yield layer


def compare_layers(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], owner: str) -> None:
    """Raise a `WeightsError` if two layers compute different things with the same weights."""
    ours, theirs = ({"class_name": layer["class_name"], **layer["config"]} for layer in (ours, theirs))
    for name in ("class_name", *STRUCTURE):
        pair = theirs.get(name), ours.get(name)
        if pair[0] != pair[1] and not (name == "activation" and OUTPUT_ACTIVATIONS.issuperset(map(str, pair))):
            raise WeightsError(
                f"{path}: its network is another one: {theirs.get('name')} has {name}={pair[0]}, and "
                f"{ours.get('name')} of {owner} has {pair[1]}."
            )


def flatten(values: Any) -> tuple[float, ...]:
    """Return the numbers in nested lists, which Keras may describe as an array."""
    if isinstance(values, Mapping):
        values = values["config"]["value"]
    while isinstance(values[0], list):
        (values,) = values
    return tuple(float(value) for value in values)
