"""Copy weights between our networks and those of other libraries. A transfer copies all weights or none."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.errors import WeightsError, nearest_or_all
from keras_cnns.networks.graph import graph_nodes
from keras_cnns.networks.weights.entries import Entry, match_arrays
from keras_cnns.networks.weights.files import read_state
from keras_cnns.networks.weights.layouts import HEADS, KERAS, LAYOUTS, STATE_DICTS, Layout
from keras_cnns.networks.weights.structure import find_differences, kind_of

if TYPE_CHECKING:
    from keras import Model

PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
BATCH_COUNTER = "num_batches_tracked"
CLASSIFIERS = ("logits", "auxiliary1_logits", "auxiliary2_logits")
OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.(\d\.)")  # names in torchvision's first checkpoints


def from_keras(model: Model, source: Model, *, classifier: bool = True) -> None:
    """Copy the weights of a network from `keras.applications`.

    Layers are matched by name. These networks have a counterpart:

    | `keras.applications` | keras-cnns |
    |---|---|
    | `VGG16`, `VGG19` | `vgg16`, `vgg19` |
    | `ResNet50`, `ResNet101`, `ResNet152` | `resnet50-keras`, ... |
    | `ResNet50V2`, `ResNet101V2`, `ResNet152V2` | `resnet50-v2-keras`, ... |
    | `DenseNet121`, `DenseNet169`, `DenseNet201` | `densenet121`, ..., with `batch_norm_epsilon=1.001e-5` |

    Args:
        model: A network from `build` with the same structure.
        source: A network from `keras.applications`; with `classifier=False` it can lack the top.
        classifier: False keeps the last layer of `model`, for other classes.

    Raises:
        WeightsError: The networks differ. No weights are copied in this case.

    Example:
        >>> import keras, keras_cnns
        >>> model = keras_cnns.build("resnet50-keras")
        >>> keras_cnns.weights.from_keras(model, keras.applications.ResNet50())
    """
    state = {
        f"{layer.name}/{variable.name}": values
        for layer in source.layers
        for variable, values in zip(layer.weights, layer.get_weights(), strict=True)
    }
    transfer(model, state, KERAS, classifier=classifier)


def from_state_dict(
    model: Model,
    state: Mapping[str, Any] | str | os.PathLike[str],
    *,
    layout: str | None = None,
    classifier: bool = True,
) -> None:
    """Copy a state dict of torchvision or timm into a network. PyTorch does not have to be installed.

    Axes are converted to Keras's order, including those of dense layers that follow flattened feature maps. Batch
    counters (`num_batches_tracked`) are ignored, and auxiliary classifiers are ignored if `model` has none.

    Args:
        model: A network from `build` with the same structure.
        state: Arrays by name, or the path of a `.safetensors` or `.npz` file. Pickled files are never opened.
        layout: Library whose names the state dict has: "torchvision" or "timm"; None detects it from the names.
        classifier: False keeps the last layer of `model` and of its auxiliary classifiers, for other classes.

    Raises:
        WeightsError: Entries are missing, unexpected or of another shape, the library has no such network, or the file
            cannot be read. No weights are copied in this case.

    Example:
        >>> import keras_cnns
        >>> model = keras_cnns.build("resnet50-v1.5")
        >>> keras_cnns.weights.from_state_dict(model, "resnet50.safetensors")
    """
    if layout is not None:
        check_layout(layout)
    arrays = {
        OLD_DENSENET.sub(r"\1\2", name): values
        for name, values in read_state(state).items()
        if not name.endswith(f".{BATCH_COUNTER}")
    }
    if not any(layer.name.startswith("auxiliary") for layer in model.layers):
        arrays = {name: values for name, values in arrays.items() if not HEADS.match(name)}
    transfer(model, arrays, layout or detect_layout(model, arrays), classifier=classifier)


def to_state_dict(model: Model, layout: str = "torchvision") -> dict[str, np.ndarray]:
    """Return the weights of a network as a state dict of another library.

    Args:
        model: A network from `build`.
        layout: Library whose names and shapes to use: "torchvision" or "timm".

    Returns:
        Contiguous arrays by name. Convolution kernels have shape (output channels, input channels, height, width), and
        dense layers (units, features). Batch normalization has a `num_batches_tracked` of 0, so that PyTorch's strict
        `load_state_dict` accepts the result.

    Raises:
        WeightsError: The library has no such network.

    Example:
        >>> import keras_cnns
        >>> keras_cnns.weights.to_state_dict(keras_cnns.build("resnet18"))["fc.weight"].shape
        (1000, 512)
    """
    check_layout(layout)
    values = {layer.name: iter(layer.get_weights()) for layer in model.layers}
    state: dict[str, np.ndarray] = {}
    for entry in make_entries(model, layout):
        state[entry.name] = entry.export_values(next(values[entry.layer]))
        if entry.name.endswith(".running_var"):
            state[entry.name.replace("running_var", BATCH_COUNTER)] = np.zeros((), np.int64)
    return state


def check_layout(layout: str) -> None:
    """Raise a `WeightsError` if there is no such layout of state dicts."""
    if layout not in STATE_DICTS:
        raise WeightsError(f"unknown layout {layout!r}.{nearest_or_all(layout, STATE_DICTS)}")


def transfer(model: Model, state: Mapping[str, Any], layout: str, *, classifier: bool) -> None:
    """Copy arrays with the names of a library into a network."""
    entries = make_entries(model, layout)
    if not classifier:
        entries = [entry for entry in entries if not entry.classifier]
        names = find_layout(model, layout).names(CLASSIFIERS)
        prefixes = tuple(f"{names[layer]}{end}" for layer in CLASSIFIERS if layer in names for end in "./")
        state = {name: values for name, values in state.items() if not name.startswith(prefixes)}
    weights = match_arrays(model.name, entries, state)
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])


def detect_layout(model: Model, state: Mapping[str, Any]) -> str:
    """Return the layout that shares the most names with a state dict."""
    kind = kind_of([layer.name for layer in model.layers])
    known = [layout for layout in STATE_DICTS if kind in LAYOUTS[layout]] or STATE_DICTS[:1]
    return max(known, key=lambda layout: sum(entry.name in state for entry in make_entries(model, layout)))


def find_layout(model: Model, layout: str) -> Layout:
    """Return the layout of a network's counterpart in a library.

    Raises:
        WeightsError: The library has no such network, or its network differs in a setting that shapes do not show.
    """
    layers = {layer.name: layer for layer in model.layers}
    kind = kind_of(layers)
    if kind is None or kind not in LAYOUTS[layout]:
        others = [name for name in LAYOUTS if kind in LAYOUTS[name]]
        works = f"; libraries that have one: {', '.join(others)}" if others else f", only {', '.join(LAYOUTS[layout])}"
        raise WeightsError(f"{model.name}: {layout} has no network of this kind{works}.")
    found = LAYOUTS[layout][kind]
    for setting, value in find_differences(layers, found.settings):
        accepted = " or ".join(f"{setting}={other!r}" for other in found.settings[setting])
        raise WeightsError(
            f"{model.name} has {setting}={value!r} and would give other outputs than {layout}'s network with the same "
            f"weights; build it with {accepted}."
        )
    return found


def make_entries(model: Model, layout: str) -> list[Entry]:
    """Return the counterpart of each weight of a network, in the order of layers and of their weights.

    Raises:
        WeightsError: The library has no such network, or no counterpart of one of its layers.
    """
    names = find_layout(model, layout).names([layer.name for layer in model.layers])
    flattened = flattened_sizes(model)
    entries: list[Entry] = []
    for layer in model.layers:
        for variable in layer.weights:
            name, shape = variable.name, tuple(variable.shape)
            if layer.name not in names or name not in PARAMETERS:
                raise WeightsError(f"{model.name}: {layout} has no counterpart of {layer.name}/{name} {shape}.")
            theirs = f"{names[layer.name]}/{name}" if layout == KERAS else f"{names[layer.name]}.{PARAMETERS[name]}"
            entry = Entry(name=theirs, shape=shape, layer=layer.name, own_shape=shape)
            if layout != KERAS and name == "kernel":
                entry = as_pytorch_kernel(entry, flattened.get(layer.name, (1, 1)))
            entries.append(entry)
    return entries


def as_pytorch_kernel(entry: Entry, flattened: tuple[int, int]) -> Entry:
    """Return the entry of a kernel with PyTorch's shape.

    Args:
        entry: The entry with the shape of our layer.
        flattened: Height and width of the feature maps that are flattened for a dense layer, or 1 and 1.
    """
    height, width = entry.own_shape[:2] if len(entry.own_shape) == 4 else flattened
    outputs = entry.own_shape[-1]
    inputs = math.prod(entry.own_shape) // (height * width * outputs)
    shape: tuple[int, ...] = (outputs, inputs, height, width)
    if len(entry.own_shape) == 2 and not entry.name.startswith("pre_logits."):  # timm's are convolutions
        shape = (outputs, inputs * height * width)
    return replace(entry, shape=shape, kernel_shape=(height, width, inputs, outputs))


def flattened_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """Return the height and width of the feature maps that are flattened for a dense layer, by that layer's name."""
    return {
        "fc6" if layer.name == "flatten" else layer.name.replace("flatten", "fc"): inputs[0].shape[1:3]
        for layer, inputs, _ in graph_nodes(model)
        if layer.name.endswith("flatten")
    }
