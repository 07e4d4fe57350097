"""Networks for inference only: without what is used during training, and with batch normalization in convolutions.

convolution -> batch normalization       becomes one convolution with a bias (Jacob et al. 2018, section 3.2)
batch normalization elsewhere            stays: at inference it is a scale and a shift of each channel
dropout, noise, auxiliary classifiers    are left out
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from keras_cnns.lazy import keras
from keras_cnns.networks.backend import auxiliary
from keras_cnns.networks.graph import graph_nodes, raised_recursion_limit, run_graph, weights_of

PROBABILITIES = "probabilities"
TINY = float(np.finfo(np.float32).tiny)
TRAINING_ONLY = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout",
    "GaussianNoise", "ActivityRegularization",
)  # fmt: skip
"""The layers that return their input at inference."""


def inference_network(
    model: Any,
    *,
    fold_batch_norm: bool = False,
    temperature: float | None = None,
    split_groups: bool = False,
    dtype: str = "float32",
) -> Any:
    """Return a network that gives the same outputs and has no layer that is only used during training.

    Args:
        model: A functional or sequential network that ends in a softmax or a sigmoid.
        fold_batch_norm: Fold batch normalization into the convolution or dense layer before it, where nothing else
            reads the output of that layer.
        temperature: Divide the logits by it.
        split_groups: Write each grouped convolution as one convolution for each group.
        dtype: The dtype policy of the layers, such as "mixed_bfloat16"; probabilities are float32.

    Returns:
        A `keras.Model` with weights of its own.
    """
    main = auxiliary.strip_auxiliary(model)
    nodes = list(graph_nodes(main))
    folded = find_folded(nodes) if fold_batch_norm else {}
    normalizations = {id(normalization) for normalization in folded.values()}
    last = nodes[-1][0]
    copies: dict[int, Any] = {}

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if type(operation).__name__ in TRAINING_ONLY or id(operation) in normalizations:
            return args[0]
        if operation is last:
            return call_last(operation, args[0], temperature)
        if not isinstance(operation, keras.layers.Layer):
            return operation(*args, **kwargs)
        if id(operation) in copies:
            return copies[id(operation)](*args, **kwargs)
        values = fold(operation, folded[id(operation)]) if id(operation) in folded else operation.get_weights()
        if split_groups and getattr(operation, "groups", 1) > 1:
            return call_groups(operation, args[0], values, dtype)
        bias = {"use_bias": True} if id(operation) in folded else {}
        copy = copies[id(operation)] = copy_layer(operation, dtype, **bias)
        outputs = copy(*args, **kwargs)
        copy.set_weights(values)
        return outputs

    with raised_recursion_limit():
        images = keras.Input(main.input_shape[1:], dtype="float32", name="images")
        return keras.Model(images, run_graph(main, images, call), name=model.name)


def find_folded(nodes: list[Any]) -> dict[int, Any]:
    """Return the batch normalization that each convolution or dense layer absorbs, by the identity of that layer."""
    consumers = Counter(id(tensor) for _, inputs, _ in nodes for tensor in inputs)
    uses = Counter(id(operation) for operation, _, _ in nodes)
    producers = {id(outputs[0]): operation for operation, _, outputs in nodes}
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    folded: dict[int, Any] = {}
    for operation, inputs, _ in nodes:
        if not isinstance(operation, keras.layers.BatchNormalization) or uses[id(operation)] > 1:
            continue
        producer = producers.get(id(inputs[0]))
        is_alone = consumers[id(inputs[0])] == 1 and uses[id(producer)] == 1
        by_channel = operation.axis in {-1, len(inputs[0].shape) - 1}
        if isinstance(producer, kinds) and is_linear(producer) and is_alone and by_channel:
            folded[id(producer)] = operation
    return folded


def is_linear(layer: Any) -> bool:
    """Return whether a layer has no activation."""
    return layer.activation in (None, keras.activations.linear)


def copy_layer(layer: Any, dtype: str, **changes: Any) -> Any:
    """Return a new layer with the same configuration, except for the dtype policy and some changes."""
    copy = type(layer).from_config({**layer.get_config(), "dtype": dtype, **changes})
    copy.trainable = False
    return copy


def call_groups(layer: Any, inputs: Any, values: list[np.ndarray], dtype: str) -> Any:
    """Return the output of a grouped convolution with these weights from one convolution for each group."""
    parts = keras.ops.split(inputs, layer.groups, axis=-1)
    outputs = []
    for number, (part, *weights) in enumerate(
        zip(parts, *(np.split(value, layer.groups, axis=-1) for value in values), strict=True), start=1
    ):
        name, filters = f"{layer.name}_group{number}", layer.filters // layer.groups
        copy = copy_layer(layer, dtype, name=name, filters=filters, groups=1, use_bias=len(weights) > 1)
        outputs.append(copy(part))
        copy.set_weights(weights)
    return keras.layers.Concatenate(axis=-1, name=layer.name, dtype=dtype)(outputs)


def fold(layer: Any, normalization: Any) -> list[np.ndarray]:
    """Return the kernel and the bias of a layer that also applies a batch normalization, computed in float64."""
    kernel = np.asarray(layer.get_weights()[0], np.float64)
    bias = np.asarray(layer.get_weights()[1], np.float64) if layer.use_bias else 0.0
    values = {weight.name: np.asarray(weight, np.float64) for weight in weights_of(normalization)}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + normalization.epsilon)
    shift = values.get("beta", 0.0) - values["moving_mean"] * scale
    factor = scale.reshape(kernel.shape[2:]) if isinstance(layer, keras.layers.DepthwiseConv2D) else scale
    return [np.asarray(kernel * factor, np.float32), np.asarray(bias * scale + shift, np.float32)]


def call_last(layer: Any, inputs: Any, temperature: float | None) -> Any:
    """Return the probabilities, after division of the logits by a temperature, from the input of the last layer."""
    activation = getattr(layer, "activation", None)
    logits = inputs
    if weights_of(layer):
        copy = copy_layer(layer, "float32", activation=None)
        logits = copy(inputs)
        copy.set_weights(layer.get_weights())
    elif isinstance(layer, keras.layers.Softmax):
        activation = keras.activations.softmax
    elif activation is None:
        probabilities = layer(inputs)
        if temperature is None:
            return keras.layers.Activation("linear", name=PROBABILITIES, dtype="float32")(probabilities)
        logits = keras.ops.log(keras.ops.maximum(probabilities, TINY))
        activation = keras.activations.softmax
    if temperature is not None:
        if activation is keras.activations.softmax:  # logits far from 0 would lose digits when they are scaled
            logits = keras.layers.Activation("log_softmax", name="log_probabilities", dtype="float32")(logits)
        logits = keras.layers.Rescaling(1 / temperature, name="temperature", dtype="float32")(logits)
    return keras.layers.Activation(activation, name=PROBABILITIES, dtype="float32")(logits)
