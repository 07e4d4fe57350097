"""Feature extraction: a network that returns the feature maps of intermediate layers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.lazy import keras
from keras_cnns.networks.backend import auxiliary
from keras_cnns.networks.feature_maps import feature_maps_by_stride
from keras_cnns.networks.graph import block_name, graph_nodes, model_inputs, raised_recursion_limit, weights_of


def features(model: Any, names: Collection[str] | None = None, *, strides: Collection[int] | None = None) -> Any:
    """Return a network that outputs feature maps of inner layers; it shares all weights with `model`.

    Either `names` or `strides` selects them.

    Args:
        model: A functional or sequential network, built or trained. Auxiliary classifiers are removed.
        names: Names of layers, or prefixes of layer names that end before an underscore. A prefix stands for the last
            layer that it matches: "block1" for the end of block 1, "block1_layer2" for the end of its second layer.
            A layer with exactly this name takes precedence.
        strides: Distances in pixels of the image between adjacent values of feature maps, such as (4, 8, 16, 32) for a
            feature pyramid. The last feature maps at each stride are those at the end of its last block, such as a
            stage of a ResNet or a dense block; at the largest stride, those that the classifier receives.

    Returns:
        A `keras.Model` from the network's inputs to a dictionary of feature maps. Its keys are `names`, or "stride4",
        "stride8", ... in the order of `strides`.

    Raises:
        SettingError: The network has no such layer or stride; the message suggests similar names, or lists the strides.

    Example:
        >>> import keras_cnns
        >>> network = keras_cnns.features(keras_cnns.build("densenet121"), ["block1", "block4"])
        >>> {name: output.shape for name, output in network.output.items()}
        {'block1': (None, 56, 56, 256), 'block4': (None, 7, 7, 1024)}
        >>> backbone = keras_cnns.build("resnet50", include_top=False, input_shape=(None, None, 3))
        >>> pyramid = keras_cnns.features(backbone, strides=(4, 8, 16, 32))
        >>> pyramid.output["stride8"].shape
        (None, None, None, 512)
    """
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise SettingError(f"features needs a functional Keras model, not {type(model).__name__}.")
    if (names is None) == (strides is None):
        raise SettingError("features needs either names of layers, such as ['block1'], or strides, such as (8, 16).")
    main = auxiliary.strip_auxiliary(model)
    chosen = select_layers(main, names) if names is not None else select_strides(main, strides)
    with raised_recursion_limit():
        return keras.Model(model_inputs(model), chosen, name=f"{model.name}_features")


def select_layers(model: Any, names: Any) -> dict[str, Any]:
    """Return the outputs of layers by the given names, see `features`."""
    if isinstance(names, str) or not names:
        raise SettingError(f"names must be a list of layers, such as ['block1'], not {names!r}.")
    outputs = {layer.name: tensors[0] for layer, _, tensors in graph_nodes(model)}
    return {name: outputs[find_layer(name, outputs)] for name in names}


def select_strides(model: Any, strides: Any) -> dict[str, Any]:
    """Return the last feature maps at strides, see `features`."""
    if not isinstance(strides, Collection) or isinstance(strides, str) or not strides:
        raise SettingError(f"strides must be a list of whole numbers, such as (4, 8, 16, 32), not {strides!r}.")
    found = feature_maps_by_stride(model)
    for stride in strides:
        if stride not in found:
            known = f"it has {', '.join(map(str, sorted(found)))}" if found else "it has none at any stride"
            raise SettingError(f"{model.name} has no feature maps at stride {stride!r}; {known}.")
    return {f"stride{stride}": found[stride] for stride in strides}


def with_feature_summary(model: Any) -> Any:
    """Return a network that also summarises the features of each image.

    The summary has the mean over all positions of the feature maps at the end of each block, and what the classifier,
    the last layer with weights, receives. A block is a group of layers whose names are equal up to the first
    underscore. Both networks share all weights.

    Args:
        model: A functional or sequential network that ends in a classifier. Auxiliary classifiers are removed.

    Returns:
        A `keras.Model` from the network's inputs to `features`, shape (batch, features), float32, and `predictions`.
    """
    main = auxiliary.strip_auxiliary(model)
    nodes = list(graph_nodes(main))
    ends = {block_name(layer.name): outputs[0] for layer, _, outputs in nodes if len(outputs[0].shape) == 4}
    received = next(inputs[0] for layer, inputs, _ in reversed(nodes) if weights_of(layer))
    with raised_recursion_limit():
        summary = [summarize(tensor, f"features_{number}") for number, tensor in enumerate((*ends.values(), received))]
        joined = keras.layers.Concatenate(name="features_joined", dtype="float32")(summary)
        outputs = {"features": joined, "predictions": main.outputs[0]}
        return keras.Model(model_inputs(main), outputs, name=f"{model.name}_with_features")


def summarize(tensor: Any, name: str) -> Any:
    """Return the mean of feature maps over all positions, or a tensor of another shape as a vector, in float32."""
    if len(tensor.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(data_format="channels_last", name=name, dtype="float32")(tensor)
    return keras.layers.Flatten(name=name, dtype="float32")(tensor)


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
