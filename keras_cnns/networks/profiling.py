"""Parameters, multiply-accumulates, activations and receptive fields of a network, counted from its graph."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.graph import Step, block_of, graph_steps
from keras_cnns.networks.receptive_fields import ReceptiveField, everything, pixels, reach_after


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of a network costs.

    Attributes:
        name: Its name.
        output_shape: What it gives for one image: height, width and maps, or features.
        trainable_parameters: As in `Counts`.
        parameters: These and all other variables; what several layers share counts at the first one.
        macs: As in `Counts`.
        activations: Values that its layers give for one image, each layer's counted.
        activation_bytes: The memory that those take.
        receptive_field: Height and width, in pixels, of what one value of the output can depend on; None for all of
            the image. With zero padding it may exceed the image.
    """

    name: str
    output_shape: tuple[int, ...]
    trainable_parameters: int
    parameters: int
    macs: int
    activations: int
    activation_bytes: int
    receptive_field: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class LayerProfile(Part):
    """What one layer costs, or one use of a layer that is used several times.

    Attributes:
        kind: Its class in Keras.
        block: Its name up to the first underscore.
    """

    kind: str
    block: str


@dataclass(frozen=True, kw_only=True)
class BlockProfile(Part):
    """What the layers of a block cost together; output and receptive field are those of its last layer.

    Attributes:
        layers: How many layers it has.
    """

    layers: int


@dataclass(frozen=True, kw_only=True)
class Profile(Counts):
    """What a built network costs.

    Attributes:
        trainable_parameters: As in `Counts`.
        total_parameters: As in `Counts`.
        macs: As in `Counts`.
        peak_activations: The most values that must be kept at one time to carry one image forward, where each
            tensor is dropped after its last use.
        layers: What each layer costs, in the order of execution.
    """

    peak_activations: int
    layers: tuple[LayerProfile, ...] = field(repr=False)

    @property
    def activations(self) -> int:
        """Values that all layers give for one image: what training keeps where nothing is recomputed."""
        return sum(layer.activations for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """The memory that those take."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def blocks(self) -> tuple[BlockProfile, ...]:
        """What each block costs, in the order of their first layers."""
        blocks: dict[str, list[LayerProfile]] = {}
        for layer in self.layers:
            blocks.setdefault(layer.block, []).append(layer)
        return tuple(sum_layers(name, layers) for name, layers in blocks.items())

    def as_dict(self) -> dict[str, Any]:
        """Return all of it by name, for JSON."""
        sums = {"activations": self.activations, "activation_bytes": self.activation_bytes}
        return {**asdict(self), **sums, "blocks": [asdict(block) for block in self.blocks]}


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
        layers=tuple(profile_layers(model, steps)),
    )


def profile_layers(model: Any, steps: Sequence[Step]) -> Iterator[LayerProfile]:
    """Count what each step of a model's graph costs."""
    axes = max(len(tensor.shape) for tensor in model.inputs) - 2
    starts = [pixels(axes) if len(tensor.shape) == axes + 2 else everything(axes) for tensor in model.inputs]
    reaches = follow(steps, model.inputs, starts, axes)
    counted: set[int] = set()
    for operation, inputs, outputs in steps:
        weights = [weight for weight in getattr(operation, "weights", ()) if id(weight) not in counted]
        counted.update(map(id, weights))
        trainable = {id(weight) for weight in getattr(operation, "trainable_weights", ())}
        yield LayerProfile(
            name=operation.name,
            kind=type(operation).__name__,
            block=block_of(operation.name),
            output_shape=tuple(outputs[0].shape[1:]),
            trainable_parameters=sum(math.prod(weight.shape) for weight in weights if id(weight) in trainable),
            parameters=sum(math.prod(weight.shape) for weight in weights),
            macs=multiply_accumulates(operation, inputs, outputs),
            activations=sum(map(size, outputs)),
            activation_bytes=sum(size(tensor) * bytes_of(tensor.dtype) for tensor in outputs),
            receptive_field=reaches[id(outputs[0])].field,
        )


def bytes_of(dtype: str) -> int:
    """Return the bytes that one value takes: 4 for "float32", 2 for "bfloat16", 1 for "bool"."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1


def sum_layers(name: str, layers: Sequence[LayerProfile]) -> BlockProfile:
    """Return what the layers of a block cost together."""
    return BlockProfile(
        name=name,
        layers=len(layers),
        output_shape=layers[-1].output_shape,
        trainable_parameters=sum(layer.trainable_parameters for layer in layers),
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        activations=sum(layer.activations for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        receptive_field=layers[-1].receptive_field,
    )


def follow(
    steps: Iterable[Step], inputs: Sequence[Any], starts: Sequence[ReceptiveField], axes: int
) -> dict[int, ReceptiveField]:
    """Return how far each tensor of a graph sees, by the tensor's id, from how far its inputs see."""
    reaches = dict(zip(map(id, inputs), starts, strict=True))
    for operation, given, outputs in steps:
        seen = [reaches[id(tensor)] for tensor in given]
        if isinstance(operation, keras.Model):
            inner = follow(graph_steps(operation), operation.inputs, seen, axes)
            found = [inner[id(tensor)] for tensor in operation.outputs]
        else:
            before = given[0].shape if given else ()
            found = [reach_after(operation, seen, axes, before, tensor.shape) for tensor in outputs]
        reaches.update(zip(map(id, outputs), found, strict=True))
    return reaches


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


def peak_activations(steps: list[Step], results: list[Any]) -> int:
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
