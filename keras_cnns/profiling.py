"""Parameters, multiply-accumulates and activations of a network, counted from its graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_cnns.counting import Counts
from keras_cnns.lazy import keras


@dataclass(frozen=True, kw_only=True)
class Profile(Counts):
    """What a built network costs.

    Attributes:
        trainable_parameters: As in `Counts`.
        total_parameters: As in `Counts`.
        macs: As in `Counts`.
        peak_activations: The most values that must be kept at one time to carry one image forward, where each
            tensor is dropped after its last use.
    """

    peak_activations: int


def profile(model: Any) -> Profile:
    """Count what a built functional model costs.

    Args:
        model: A functional or sequential `keras.Model` whose input has a fixed size.

    Raises:
        ValueError: The input's size is not fixed, or the graph holds a layer whose cost is not known.
    """
    steps = list(graph_steps(model))
    return Profile(
        trainable_parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        total_parameters=model.count_params(),
        macs=sum(multiply_accumulates(operation, inputs, outputs) for operation, inputs, outputs in steps),
        peak_activations=peak_activations(steps, model.outputs),
    )


def graph_steps(model: Any) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Yield each operation of the graph with its input and output tensors, in the order of execution."""
    if isinstance(model, keras.Sequential):
        model = model._functional  # noqa: SLF001 - Keras has no public view of a sequential model's graph
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):  # noqa: SLF001 - nor of the order
        for node in nodes:
            if not node.is_input:
                yield node.operation, node.input_tensors, node.output_tensors


def size(tensor: Any) -> int:
    """Count the values that a tensor holds for one image."""
    if None in tensor.shape[1:]:
        raise ValueError(f"{tensor.name} has no fixed size {tensor.shape}: build the network with an input_shape.")
    return math.prod(tensor.shape[1:])


def multiply_accumulates(operation: Any, inputs: list[Any], outputs: list[Any]) -> int:
    """Count the multiply-accumulates of one operation for one image."""
    macs = 0
    if hasattr(operation, "multiply_accumulates"):
        macs = operation.multiply_accumulates(outputs[0].shape)
    elif isinstance(operation, keras.Model):
        macs = sum(multiply_accumulates(*step) for step in graph_steps(operation))
    elif isinstance(operation, keras.layers.Dense):
        macs = size(inputs[0]) * operation.units
    elif isinstance(operation, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D):
        kernels = operation.depthwise_kernel, operation.pointwise_kernel
        macs = places(operation, outputs[0]) * sum(math.prod(kernel.shape) for kernel in kernels)
    elif isinstance(operation, keras.layers.Conv1DTranspose | keras.layers.Conv2DTranspose):
        macs = places(operation, inputs[0]) * math.prod(operation.kernel.shape)
    elif hasattr(operation, "kernel") and hasattr(operation, "kernel_size"):
        macs = places(operation, outputs[0]) * math.prod(operation.kernel.shape)
    return int(macs)


def places(operation: Any, tensor: Any) -> int:
    """Count the places in height and width of a convolution's input or output."""
    return size(tensor) // int(tensor.shape[1 if operation.data_format == "channels_first" else -1])


def peak_activations(steps: list[tuple[Any, list[Any], list[Any]]], results: list[Any]) -> int:
    """Return the most values alive at one time when tensors are dropped after their last use."""
    uses = Counter(id(tensor) for _, inputs, _ in steps for tensor in {id(t): t for t in inputs}.values())
    uses.update(map(id, results))
    alive: dict[int, int] = {}
    peak = 0
    for _, inputs, outputs in steps:
        alive.update({id(tensor): size(tensor) for tensor in [*inputs, *outputs]})
        peak = max(peak, sum(alive.values()))
        for key in {id(tensor) for tensor in inputs}:
            uses[key] -= 1
            if uses[key] <= 0:
                alive.pop(key)
    return peak
