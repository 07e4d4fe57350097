"""Copy weights between a network of ours and its counterpart in another library, all of them or none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.errors import WeightsError, nearest
from keras_cnns.networks.graph import graph_steps
from keras_cnns.networks.weights.entries import Entry, fit
from keras_cnns.networks.weights.files import read_state
from keras_cnns.networks.weights.layouts import HEADS, KERAS, LAYOUTS, STATE_DICTS, Layout
from keras_cnns.networks.weights.structure import differences, kind_of

if TYPE_CHECKING:
    from keras import Model

PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
COUNTER = "num_batches_tracked"
CLASSIFIERS = ("logits", "auxiliary1_logits", "auxiliary2_logits")
OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.(\d\.)")  # torchvision's first checkpoints


def from_keras(model: Model, source: Model, *, classifier: bool = True) -> None:
    """Copy the weights of a network from `keras.applications` into ours.

    Layers are matched by their names. The networks that have a counterpart:

    | `keras.applications` | ours |
    |---|---|
    | `VGG16`, `VGG19` | `vgg16`, `vgg19` |
    | `ResNet50`, `ResNet101`, `ResNet152` | `resnet50-keras`, ... |
    | `ResNet50V2`, `ResNet101V2`, `ResNet152V2` | `resnet50-v2-keras`, ... |
    | `DenseNet121`, `DenseNet169`, `DenseNet201` | `densenet121`, ..., with `batch_norm_epsilon=1.001e-5` |

    Args:
        model: A network as `build` makes it, of the same structure.
        source: A network of `keras.applications`, with its top; without one where `classifier` is False.
        classifier: False leaves the last layer of `model` as it is, for other classes.

    Raises:
        WeightsError: The networks differ; nothing is copied then.

    Example:
        >>> import keras, keras_cnns, keras_cnns.networks.weights
        >>> model = keras_cnns.build("resnet50-keras")
        >>> keras_cnns.networks.weights.from_keras(model, keras.applications.ResNet50())
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
    """Copy a state dict, as PyTorch's libraries make them, into a network of ours. PyTorch is not needed.

    Axes are put into Keras's order, those of a dense layer that reads flattened maps included. What counts batches
    (`num_batches_tracked`) is left out, and so are auxiliary classifiers where `model` has none.

    Args:
        model: A network as `build` makes it, of the same structure.
        state: Arrays by name, or a path to a `.safetensors` or `.npz` file of them. Nothing pickled is opened.
        layout: Whose names they are: "torchvision" or "timm"; None: seen from the names.
        classifier: False leaves the last layer of `model`, and that of each auxiliary classifier, as it is, for other
            classes.

    Raises:
        WeightsError: Entries are missing, left over or of another shape, the library has no such network, or the file
            cannot be read; nothing is copied then.

    Example:
        >>> import keras_cnns, keras_cnns.networks.weights
        >>> model = keras_cnns.build("resnet50-v1.5")
        >>> keras_cnns.networks.weights.from_state_dict(model, "resnet50.safetensors")
    """
    if layout is not None:
        check_layout(layout)
    arrays = {
        OLD_DENSENET.sub(r"\1\2", name): values
        for name, values in read_state(state).items()
        if not name.endswith(f".{COUNTER}")
    }
    if not any(layer.name.startswith("auxiliary") for layer in model.layers):
        arrays = {name: values for name, values in arrays.items() if not HEADS.match(name)}
    transfer(model, arrays, layout or recognise(model, arrays), classifier=classifier)


def to_state_dict(model: Model, layout: str = "torchvision") -> dict[str, np.ndarray]:
    """Return a network's weights as the state dict of its counterpart in another library.

    Args:
        model: A network as `build` makes it.
        layout: Whose names and shapes: "torchvision" or "timm".

    Returns:
        Contiguous arrays by name, axes in PyTorch's order: kernels (maps made, maps read, height, width), dense
        layers (units, features). Batch norm has a `num_batches_tracked` of 0, so that PyTorch loads it all strictly.

    Raises:
        WeightsError: The library has no such network.

    Example:
        >>> import keras_cnns, keras_cnns.networks.weights
        >>> keras_cnns.networks.weights.to_state_dict(keras_cnns.build("resnet18"))["fc.weight"].shape
        (1000, 512)
    """
    check_layout(layout)
    values = {layer.name: iter(layer.get_weights()) for layer in model.layers}
    state: dict[str, np.ndarray] = {}
    for entry in entries_of(model, layout):
        state[entry.name] = entry.exported(next(values[entry.layer]))
        if entry.name.endswith(".running_var"):
            state[entry.name.replace("running_var", COUNTER)] = np.zeros((), np.int64)
    return state


def check_layout(layout: str) -> None:
    """Raise a `WeightsError` that names the layouts where this is none."""
    if layout not in STATE_DICTS:
        hint = nearest(layout, STATE_DICTS) or f" There are: {', '.join(STATE_DICTS)}."
        raise WeightsError(f"there is no layout {layout!r}.{hint}")


def transfer(model: Model, state: Mapping[str, Any], layout: str, *, classifier: bool) -> None:
    """Copy arrays, by the names that they have in a library, into a network."""
    wanted = entries_of(model, layout)
    if not classifier:
        wanted = [entry for entry in wanted if not entry.classifier]
        places = find_layout(model, layout).places(CLASSIFIERS)
        left_out = tuple(f"{places[name]}{end}" for name in CLASSIFIERS if name in places for end in "./")
        state = {name: values for name, values in state.items() if not name.startswith(left_out)}
    weights = fit(model.name, wanted, state)
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])


def recognise(model: Model, state: Mapping[str, Any]) -> str:
    """Return the layout that names most of a network's weights as a state dict does."""
    kind = kind_of([layer.name for layer in model.layers])
    known = [layout for layout in STATE_DICTS if kind in LAYOUTS[layout]] or STATE_DICTS[:1]
    return max(known, key=lambda layout: sum(entry.name in state for entry in entries_of(model, layout)))


def find_layout(model: Model, layout: str) -> Layout:
    """Return how a library keeps the weights of a network.

    Raises:
        WeightsError: It has no such network, or one that differs where shapes do not show it.
    """
    layers = {layer.name: layer for layer in model.layers}
    kind = kind_of(layers)
    if kind is None or kind not in LAYOUTS[layout]:
        others = [name for name in LAYOUTS if kind in LAYOUTS[name]]
        works = f"; those with one: {', '.join(others)}" if others else f", only {', '.join(LAYOUTS[layout])}"
        raise WeightsError(f"{model.name}: {layout} has no network of this kind{works}.")
    found = LAYOUTS[layout][kind]
    for setting, value in differences(kind, layers, found.settings):
        fitting = " or ".join(f"{setting}={fit!r}" for fit in found.settings[setting])
        raise WeightsError(
            f"{model.name} has {setting}={value!r}, and {layout}'s networks {fitting}: with equal weights they would "
            f"give other outputs. Build it with that."
        )
    return found


def entries_of(model: Model, layout: str) -> list[Entry]:
    """Return what a layout has for each weight of a network, in the order of the layers and of their weights.

    Raises:
        WeightsError: The library has no such network, or nothing like one of its layers.
    """
    places = find_layout(model, layout).places([layer.name for layer in model.layers])
    maps = flattened_maps(model)
    entries: list[Entry] = []
    for layer in model.layers:
        for variable in layer.weights:
            name, shape = variable.name, tuple(variable.shape)
            if layer.name not in places or name not in PARTS:
                raise WeightsError(f"{model.name}: {layout} has nothing like the weights {layer.name}/{name} {shape}.")
            place = places[layer.name]
            if layout == KERAS:
                entries.append(Entry(name=f"{place}/{name}", shape=shape, layer=layer.name, own_shape=shape))
            else:
                entries.append(state_dict_entry(place, layer.name, name, shape, maps.get(layer.name, (1, 1))))
    return entries


def state_dict_entry(
    place: str, layer: str, variable: str, shape: tuple[int, ...], flattened: tuple[int, int]
) -> Entry:
    """Return what a state dict has for one weight; `flattened` is the size of the maps that a dense layer reads."""
    name = f"{place}.{PARTS[variable]}"
    if variable != "kernel":
        return Entry(name=name, shape=shape, layer=layer, own_shape=shape)
    if len(shape) == 4:
        height, width, read, made = shape
    else:
        (height, width), (features, made) = flattened, shape
        read = features // (height * width)
    as_convolution = len(shape) == 4 or place.startswith("pre_logits.")
    return Entry(
        name=name,
        shape=(made, read, height, width) if as_convolution else (made, height * width * read),
        layer=layer,
        own_shape=shape,
        kernel_shape=(height, width, read, made),
    )


def flattened_maps(model: Model) -> dict[str, tuple[int, int]]:
    """Return height and width of the maps that are flattened for a dense layer, by that layer's name."""
    return {
        "fc6" if step.name == "flatten" else step.name.replace("flatten", "fc"): inputs[0].shape[1:3]
        for step, inputs, _ in graph_steps(model)
        if step.name.endswith("flatten")
    }
