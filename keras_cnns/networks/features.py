"""Feature extraction: a network that returns the feature maps of intermediate layers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.lazy import keras
from keras_cnns.networks.backend import auxiliary
from keras_cnns.networks.graph import block_name, graph_nodes, model_inputs, raised_recursion_limit


def features(model: Any, names: Collection[str]) -> Any:
    """Return a network that outputs the feature maps of some layers; it shares all weights with `model`.

    Args:
        model: A functional or sequential network, built or trained. Auxiliary classifiers are removed.
        names: Names of layers, or prefixes of layer names that end before an underscore. A prefix stands for the last
            layer that it matches: "block1" for the end of block 1, "block1_layer2" for the end of its second layer.
            A layer with exactly this name takes precedence.

    Returns:
        A `keras.Model` from the network's inputs to a dictionary of feature maps with `names` as keys.

    Raises:
        SettingError: The network has no such layer; the message suggests similar names.

    Example:
        >>> import keras_cnns
        >>> network = keras_cnns.features(keras_cnns.build("densenet121"), ["block1", "block4"])
        >>> {name: output.shape for name, output in network.output.items()}
        {'block1': (None, 56, 56, 256), 'block4': (None, 7, 7, 1024)}
    """
    if isinstance(names, str) or not names:
        raise SettingError(f"names must be a list of layers, such as ['block1'], not {names!r}.")
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise SettingError(f"features needs a functional Keras model, not {type(model).__name__}.")
    outputs = {layer.name: tensors[0] for layer, _, tensors in graph_nodes(auxiliary.strip_auxiliary(model))}
    chosen = {name: outputs[find_layer(name, outputs)] for name in names}
    with raised_recursion_limit():
        return keras.Model(model_inputs(model), chosen, name=f"{model.name}_features")


def find_layer(name: str, layers: Collection[str]) -> str:
    """Return the layer with this name, or the last layer whose name starts with it and an underscore.

    Raises:
        SettingError: There is no such layer.
    """
    if name in layers:
        return name
    if matches := [layer for layer in layers if layer.startswith(f"{name}_")]:
        return matches[-1]
    blocks = dict.fromkeys(map(block_name, layers))
    hint = nearest(name, dict.fromkeys([*blocks, *layers])) or f" There are: {', '.join(blocks)}."
    raise SettingError(f"unknown layer {name!r}.{hint}")
