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
from keras_cnns.lazy import keras
from keras_cnns.networks.graph import AUXILIARY, graph_nodes
from keras_cnns.networks.layouts import KERAS, Layout
from keras_cnns.networks.registry import all_families
from keras_cnns.networks.weights.entries import Entry, find_head, match_arrays
from keras_cnns.networks.weights.files import open_state

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
OWN = "keras-cnns"
KERAS_NAMES = (KERAS, OWN)
"""The libraries whose weights have the names and shapes of Keras."""
BATCH_COUNTER = "num_batches_tracked"
CLASSIFIERS = ("logits", "auxiliary1_logits", "auxiliary2_logits")
HEADS = re.compile(r"aux\d+\.")  # prefix of auxiliary classifiers in state dicts


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
        state: Arrays by name, or the path of a `.safetensors`, `.pth` or `.npz` file. Nothing is unpickled: of a `.pth`
            file, only tensors are read, and a file with anything else is refused.
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
        check_library(layout)
    with open_state(state) as arrays:
        used = select_arrays(model, arrays)
        transfer(model, used, layout or detect_library(model, used), classifier=classifier)


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
    check_library(layout)
    values = {layer.name: iter(layer.get_weights()) for layer in model.layers}
    state: dict[str, np.ndarray] = {}
    for entry in make_entries(model, layout, find_layout(model, layout)):
        state[entry.name] = entry.export_values(next(values[entry.layer]))
        if entry.name.endswith(".running_var"):
            state[entry.name.replace("running_var", BATCH_COUNTER)] = np.zeros((), np.int64)
    return state


def select_arrays(model: Model, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict without batch counters and, if the network has none, without auxiliary classifiers."""
    arrays = {name: values for name, values in state.items() if not name.endswith(f".{BATCH_COUNTER}")}
    if any(layer.name.startswith(AUXILIARY) for layer in model.layers):
        return arrays
    return {name: values for name, values in arrays.items() if not HEADS.match(name)}


def state_dict_libraries() -> list[str]:
    """Return the libraries whose state dicts can be read and written, in the order of the families' layouts."""
    libraries = (name for family in all_families().values() for layout in family.layouts for name in layout.libraries)
    return [library for library in dict.fromkeys(libraries) if library != KERAS]


def check_library(library: str) -> None:
    """Raise a `WeightsError` if state dicts do not exist in the layout of this library."""
    if library not in state_dict_libraries():
        raise WeightsError(f"unknown layout {library!r}.{nearest_or_all(library, state_dict_libraries())}")


def transfer(model: Model, state: Mapping[str, Any], library: str, *, classifier: bool) -> None:
    """Copy arrays with the names of a library into a network."""
    layout = find_layout(model, library)
    state = {layout.rename_old(name): values for name, values in state.items()}
    entries = make_entries(model, library, layout)
    if not classifier:
        entries = [entry for entry in entries if not entry.classifier]
        names = layout.names(CLASSIFIERS)
        prefixes = tuple(f"{names[layer]}{end}" for layer in CLASSIFIERS if layer in names for end in "./")
        state = {name: values for name, values in state.items() if not name.startswith(prefixes)}
    weights = match_arrays(model.name, entries, state)
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])


def detect_library(model: Model, state: Mapping[str, Any]) -> str:
    """Return the library whose layout of the network shares the most names with a state dict."""
    available = [library for library in layouts_by_library(model) if library != KERAS] or state_dict_libraries()[:1]

    def shared_names(library: str) -> int:
        entries = make_entries(model, library, find_layout(model, library))
        return sum(entry.name in state for entry in entries)

    return max(available, key=shared_names)


def layouts_by_library(model: Model) -> dict[str, Layout]:
    """Return the layout of a network's counterpart in each library that has one; the first that fits counts."""
    layers = {layer.name for layer in model.layers}
    return {
        library: layout
        for family in all_families().values()
        for layout in reversed(family.layouts)
        if layout.identifying_layers <= layers
        for library in layout.libraries
    }


def find_layout(model: Model, library: str) -> Layout:
    """Return the layout of a network's counterpart in a library.

    Raises:
        WeightsError: The library has no such network, or its network differs in a setting that shapes do not show.
    """
    available = layouts_by_library(model)
    if library not in available:
        families = [
            family.name
            for family in all_families().values()
            if any(library in layout.libraries for layout in family.layouts)
        ]
        works = f"; libraries that have one: {', '.join(available)}" if available else f", only {', '.join(families)}"
        raise WeightsError(f"{model.name}: {library} has no network of this kind{works}.")
    layout = available[library]
    for setting, value in layout.find_differences({layer.name: layer for layer in model.layers}):
        accepted = " or ".join(f"{setting}={other!r}" for other in layout.settings[setting].values)
        raise WeightsError(
            f"{model.name} has {setting}={value!r} and would give other outputs than {library}'s network with the same "
            f"weights; build it with {accepted}."
        )
    return layout


def make_entries(model: Model, library: str, layout: Layout) -> list[Entry]:
    """Return the counterpart of each weight of a network, in the order of layers and of their weights.

    Raises:
        WeightsError: The library has no counterpart of one of the layers.
    """
    names = layout.names([layer.name for layer in model.layers])
    flattened, head = flattened_sizes(model), find_head(model)
    entries: list[Entry] = []
    for layer in model.layers:
        for variable in layer.weights:
            name, shape = variable.name, tuple(variable.shape)
            if layer.name not in names or (name not in PARAMETERS and library not in KERAS_NAMES):
                raise WeightsError(f"{model.name}: {library} has no counterpart of {layer.name}/{name} {shape}.")
            of_keras, layer_name = library in KERAS_NAMES, names[layer.name]
            theirs = f"{layer_name}/{name}" if of_keras else f"{layer_name}.{PARAMETERS[name]}"
            entry = Entry(name=theirs, shape=shape, layer=layer.name, own_shape=shape, is_head=layer.name in head)
            if not of_keras and name == "kernel":
                is_dense = len(shape) == 2 and not theirs.startswith(layout.convolutions)
                entry = as_pytorch_kernel(entry, flattened.get(layer.name, (1, 1)), is_dense=is_dense)
            entries.append(entry)
    return entries


def as_pytorch_kernel(entry: Entry, flattened: tuple[int, int], *, is_dense: bool) -> Entry:
    """Return the entry of a kernel with PyTorch's shape.

    Args:
        entry: The entry with the shape of our layer.
        flattened: Height and width of the feature maps that are flattened for a dense layer, or 1 and 1.
        is_dense: Whether PyTorch's layer is a dense layer and not a convolution.
    """
    height, width = entry.own_shape[:2] if len(entry.own_shape) == 4 else flattened
    outputs = entry.own_shape[-1]
    inputs = math.prod(entry.own_shape) // (height * width * outputs)
    shape = (outputs, inputs * height * width) if is_dense else (outputs, inputs, height, width)
    return replace(entry, shape=shape, kernel_shape=(height, width, inputs, outputs))


def flattened_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """Return the height and width of the feature maps that are flattened for a dense layer, by that layer's name."""
    flat: dict[int, tuple[int, int]] = {}
    sizes = {}
    for layer, inputs, outputs in graph_nodes(model):
        if isinstance(layer, keras.layers.Flatten):
            flat[id(outputs[0])] = inputs[0].shape[1:3]
        elif id(inputs[0]) in flat:
            if isinstance(layer, keras.layers.Dense):
                sizes[layer.name] = flat[id(inputs[0])]
            else:
                flat[id(outputs[0])] = flat[id(inputs[0])]
    return sizes
