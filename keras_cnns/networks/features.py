"""What a network sees on the way: the maps of some of its layers, for transfer and for looking inside."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.lazy import keras
from keras_cnns.networks.backend import auxiliary
from keras_cnns.networks.graph import block_of, graph_steps, inputs_of, room_for_deep_graphs


def features(model: Any, names: Collection[str]) -> Any:
    """Return a network that gives the maps of some layers instead of classes, and shares all weights.

    Args:
        model: A functional or sequential network, built or trained. Its auxiliary classifiers are left out.
        names: Of layers; or what the names of several begin with, up to an underscore, for the last of these: "block1"
            is the end of block 1, "block1_layer2" that of its second layer. A layer with exactly this name goes first.

    Returns:
        A `keras.Model` from the network's inputs to a dict of maps by the names given.

    Raises:
        SettingError: The network has no such layer; the message has the nearest ones.

    Example:
        >>> import keras_cnns
        >>> network = keras_cnns.features(keras_cnns.build("densenet121"), ["block1", "block4"])
        >>> {name: maps.shape for name, maps in network.output.items()}
        {'block1': (None, 56, 56, 256), 'block4': (None, 7, 7, 1024)}
    """
    if isinstance(names, str) or not names:
        raise SettingError(f"names must be a list of layers, such as ['block1'], not {names!r}.")
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise SettingError(f"features needs a functional Keras model, not {type(model).__name__}.")
    maps = {operation.name: outputs[0] for operation, _, outputs in graph_steps(auxiliary.strip_auxiliary(model))}
    found = {name: maps[find_layer(name, maps)] for name in names}
    with room_for_deep_graphs():
        return keras.Model(inputs_of(model), found, name=f"{model.name}_features")


def find_layer(name: str, layers: Collection[str]) -> str:
    """Return the layer of this name, or else the last of those whose names begin with it.

    Raises:
        SettingError: There is none.
    """
    if name in layers:
        return name
    begun = [layer for layer in layers if layer.startswith(f"{name}_")]
    if begun:
        return begun[-1]
    blocks = dict.fromkeys(map(block_of, layers))
    hint = nearest(name, dict.fromkeys([*blocks, *layers])) or f" There are: {', '.join(blocks)}."
    raise SettingError(f"there is no layer {name!r}.{hint}")
