"""The feature maps of a network that others use: the last ones before its classifier, and the last ones at a stride."""

from __future__ import annotations

from collections import Counter
from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.networks.graph import LOGITS, block_name, graph_nodes, model_inputs, raised_recursion_limit
from keras_cnns.networks.profiling import find_receptive_fields
from keras_cnns.networks.receptive_fields import ReceptiveField

AXES = 4
"""Axes of feature maps: batch, height, width and channels."""


def has_classifier(model: Any) -> bool:
    """Return whether a model ends in a classifier with the name that all our classifiers have."""
    return any(layer.name == LOGITS for layer in model.layers)


def last_feature_maps(model: Any, *, classifier: bool) -> Any:
    """Return the tensor that a classifier receives, before global pooling; None if it has no height and width.

    Args:
        model: A functional or sequential model with one output, without auxiliary classifiers.
        classifier: Whether the model ends in a classifier: the last layer with a kernel, and what follows it.
    """
    nodes = list(graph_nodes(model))
    producers = {id(output): (operation, inputs) for operation, inputs, outputs in nodes for output in outputs}
    tensor, found = model.outputs[0], None
    if classifier:
        tensor = next(inputs[0] for operation, inputs, _ in reversed(nodes) if hasattr(operation, "kernel"))
    while id(tensor) in producers:
        operation, inputs = producers[id(tensor)]
        if isinstance(operation, keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D):
            return inputs[0]  # some classifiers have 1x1 convolutions after global pooling
        if found is None and len(tensor.shape) == AXES:
            found = tensor
        if found is not None and len(inputs) > 1:
            break
        tensor = inputs[0]
    return found


def feature_maps_by_stride(model: Any) -> dict[int, Any]:
    """Return the last feature maps of each resolution by the distance of their pixels in the image.

    Only tensors count through which all information flows, not those on a branch beside a shortcut. If branches are
    joined at a resolution, the last tensor of the block that joins them is returned: the output of a residual stage or
    a dense block, and not what the next block computes before it reduces the resolution. The coarsest feature maps are
    those that the classifier receives.

    Args:
        model: A functional or sequential model with one output, without auxiliary classifiers.
    """
    last = last_feature_maps(model, classifier=has_classifier(model))
    if last is None:
        return {}
    with raised_recursion_limit():
        network = keras.Model(model_inputs(model), last)
    nodes = list(graph_nodes(network))
    fields = find_receptive_fields(network, nodes)
    uses = Counter(id(tensor) for _, inputs, _ in nodes for tensor in inputs)
    uses[id(last)] += 1
    needed = set(map(id, network.inputs))
    found: dict[int, Any] = {}
    joined: dict[int, str] = {}
    for operation, inputs, outputs in nodes:
        uses.subtract(map(id, inputs))
        needed = {key for key in (*needed, *map(id, outputs)) if uses[key] > 0}
        stride, block = find_stride(fields[id(outputs[0])]), block_name(operation.name)
        if needed != {id(outputs[0])} or stride is None or leaves_values_unchanged(operation):
            continue
        if len(inputs) > 1:
            joined[stride] = block
        if joined.get(stride, block) == block:
            found[stride] = outputs[0]
    if (stride := find_stride(fields[id(last)])) is not None:
        found[stride] = last
    return found


def find_stride(field: ReceptiveField) -> int | None:
    """Return the distance in pixels between adjacent values; None for pixels, vectors and unequal distances."""
    jump = field.jumps[0]
    is_stride = set(field.jumps) == {jump} and jump == int(jump) and jump > 0
    return int(jump) if is_stride and field.pixels != (1, 1) else None


def leaves_values_unchanged(operation: Any) -> bool:
    """Return whether the operation only pads feature maps with zeros, or is inactive after training."""
    return isinstance(operation, keras.layers.ZeroPadding2D | keras.layers.Dropout)
