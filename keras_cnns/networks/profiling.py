"""Parameters, multiply-accumulates, activations and receptive fields of a built network, from its graph."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.lazy import keras
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.graph import Node, block_name, graph_nodes, weights_of
from keras_cnns.networks.receptive_fields import ReceptiveField, output_receptive_field, single_pixel, whole_image

SUMMED = ("trainable_parameters", "parameters", "macs", "activations", "activation_bytes")


@dataclass(frozen=True, kw_only=True)
class ComponentProfile:
    """The cost of a layer or block.

    Attributes:
        name: Name of the layer or block.
        output_shape: Shape of its output for one image: height, width and channels, or features.
        trainable_parameters: Trainable parameters.
        parameters: All variables; those that several layers share are counted in the first one.
        macs: Multiply-accumulates for one image, as in `Counts`.
        activations: Number of values in the outputs of its layers for one image.
        activation_bytes: Memory of these values in bytes.
        receptive_field: Height and width in pixels of the region of the image that one output value depends on; None
            for the whole image. With zero padding it can be larger than the image.
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
class LayerProfile(ComponentProfile):
    """The cost of a layer. A layer that is used several times has one profile for each use.

    Attributes:
        kind: Keras class of the layer.
        block: Block of the layer: its name up to the first underscore.
    """

    kind: str
    block: str


@dataclass(frozen=True, kw_only=True)
class BlockProfile(ComponentProfile):
    """The total cost of the layers of a block; output shape and receptive field are those of its last layer.

    Attributes:
        layers: Number of layers.
    """

    layers: int


@dataclass(frozen=True, kw_only=True)
class Profile(Counts):
    """The cost of a built network.

    Attributes:
        trainable_parameters: As in `Counts`.
        total_parameters: As in `Counts`.
        macs: As in `Counts`.
        peak_activations: Largest number of values in memory at one time in the forward pass of one image, if each
            tensor is freed after its last use.
        layers: The cost of each layer, in execution order.
    """

    peak_activations: int
    layers: tuple[LayerProfile, ...] = field(repr=False)

    @property
    def activations(self) -> int:
        """Number of values in the outputs of all layers for one image, which training stores for the gradient."""
        return sum(layer.activations for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Memory of the activations in bytes."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def blocks(self) -> tuple[BlockProfile, ...]:
        """The cost of each block, in the order of their first layers."""
        blocks: dict[str, list[LayerProfile]] = {}
        for layer in self.layers:
            blocks.setdefault(layer.block, []).append(layer)
        return tuple(sum_layers(name, layers) for name, layers in blocks.items())

    def as_dict(self) -> dict[str, Any]:
        """Return the whole profile as a dictionary for JSON."""
        sums = {"activations": self.activations, "activation_bytes": self.activation_bytes}
        return {**asdict(self), **sums, "blocks": [asdict(block) for block in self.blocks]}


def profile(model: Any) -> Profile:
    """Compute the cost of a built functional model, in total and for each layer.

    Args:
        model: A functional or sequential `keras.Model` with a fixed input size.

    Raises:
        SettingError: `model` is not a built model, such as the name of a network, or its input size is not fixed.

    Example:
        >>> profile(build("lenet5")).blocks[0].macs
        117600
    """
    if not isinstance(model, keras.Model):
        raise SettingError(f"profile needs a built model, such as keras_cnns.build({str(model)!r}).")
    nodes = list(graph_nodes(model))
    layers = tuple(profile_layers(model, nodes))
    return Profile(
        trainable_parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        total_parameters=model.count_params(),
        macs=sum(layer.macs for layer in layers),
        peak_activations=peak_activations(nodes, model.outputs),
        layers=layers,
    )


def profile_layers(model: Any, nodes: Sequence[Node]) -> Iterator[LayerProfile]:
    """Yield the cost of each node of a model's graph."""
    fields = find_receptive_fields(model, nodes)
    counted: set[int] = set()
    for operation, inputs, outputs in nodes:
        weights = [weight for weight in weights_of(operation) if id(weight) not in counted]
        counted.update(map(id, weights))
        trainable = {id(weight) for weight in getattr(operation, "trainable_weights", ())}
        yield LayerProfile(
            name=operation.name,
            kind=type(operation).__name__,
            block=block_name(operation.name),
            output_shape=tuple(outputs[0].shape[1:]),
            trainable_parameters=sum(math.prod(weight.shape) for weight in weights if id(weight) in trainable),
            parameters=sum(math.prod(weight.shape) for weight in weights),
            macs=multiply_accumulates(operation, inputs, outputs),
            activations=sum(map(count_values, outputs)),
            activation_bytes=sum(count_values(tensor) * dtype_bytes(tensor.dtype) for tensor in outputs),
            receptive_field=fields[id(outputs[0])].pixels,
        )


def sum_layers(name: str, layers: Sequence[LayerProfile]) -> BlockProfile:
    """Return the total cost of the layers of a block."""
    return BlockProfile(
        name=name,
        layers=len(layers),
        output_shape=layers[-1].output_shape,
        receptive_field=layers[-1].receptive_field,
        **{cost: sum(getattr(layer, cost) for layer in layers) for cost in SUMMED},
    )


def find_receptive_fields(model: Any, nodes: Sequence[Node]) -> dict[int, ReceptiveField]:
    """Return the receptive field of each tensor of a model's graph by the tensor's id."""
    axes = max(len(tensor.shape) for tensor in model.inputs) - 2
    starts = [single_pixel(axes) if len(tensor.shape) == axes + 2 else whole_image(axes) for tensor in model.inputs]
    return propagate(nodes, model.inputs, starts, axes)


def propagate(
    nodes: Iterable[Node], inputs: Sequence[Any], starts: Sequence[ReceptiveField], axes: int
) -> dict[int, ReceptiveField]:
    """Return the receptive field of each tensor of a graph by the tensor's id, given those of the graph's inputs."""
    fields = dict(zip(map(id, inputs), starts, strict=True))
    for operation, tensors, outputs in nodes:
        before = [fields[id(tensor)] for tensor in tensors]
        if isinstance(operation, keras.Model):
            inner = propagate(graph_nodes(operation), operation.inputs, before, axes)
            after = [inner[id(tensor)] for tensor in operation.outputs]
        else:
            shape = tensors[0].shape if tensors else ()
            after = [output_receptive_field(operation, before, axes, shape, output.shape) for output in outputs]
        fields.update(zip(map(id, outputs), after, strict=True))
    return fields


def dtype_bytes(dtype: str) -> int:
    """Return the size of one value in bytes: 4 for "float32", 2 for "bfloat16", 1 for "bool"."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1


def count_values(tensor: Any) -> int:
    """Return the number of values of a tensor for one image, or raise a `SettingError` if its size is not fixed."""
    if None in tensor.shape[1:]:
        raise SettingError(
            f"{tensor.name} has no fixed size, and costs depend on it; build the network with an input_shape that has "
            f"a height and a width."
        )
    return math.prod(tensor.shape[1:])


def multiply_accumulates(operation: Any, inputs: list[Any], outputs: list[Any]) -> int:
    """Return the multiply-accumulates of one operation for one image."""
    if isinstance(operation, keras.Model):
        return sum(multiply_accumulates(*node) for node in graph_nodes(operation))
    if isinstance(operation, keras.layers.Dense):
        return count_values(inputs[0]) * int(operation.units)
    if isinstance(operation, keras.layers.EinsumDense):
        return count_einsum(operation.equation, inputs[0].shape, operation.kernel.shape)
    if isinstance(operation, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D):
        kernels = [operation.depthwise_kernel, operation.pointwise_kernel]
    elif hasattr(operation, "kernel") and hasattr(operation, "kernel_size"):
        kernels = [operation.kernel]
    else:
        return 0
    transposed = isinstance(operation, keras.layers.Conv1DTranspose | keras.layers.Conv2DTranspose)
    tensor = inputs[0] if transposed else outputs[0]
    channels_first = getattr(operation, "data_format", "channels_last") == "channels_first"
    channels = int(tensor.shape[1 if channels_first else -1])
    return count_values(tensor) // channels * sum(int(math.prod(kernel.shape)) for kernel in kernels)


def count_einsum(equation: str, *shapes: Sequence[int | None]) -> int:
    """Return the multiply-accumulates of a product of tensors in Einstein notation: the product of all axes.

    Args:
        equation: Such as "abc,cd->abd". An ellipsis stands for the axes of the first tensor that have no letter.
        *shapes: The shapes of the tensors; the batch axis is None.
    """
    sizes: dict[str, int] = {}
    total = 1
    for letters, shape in zip(equation.partition("->")[0].split(","), shapes, strict=True):
        before, ellipsis, after = letters.strip().partition("...")
        if ellipsis:
            others = shape[len(before) : len(shape) - len(after)]
            total *= math.prod(size or 1 for size in others)
        named = [*shape[: len(before)], *shape[len(shape) - len(after) :]] if ellipsis else shape
        sizes |= {letter: size or 1 for letter, size in zip(before + after, named, strict=True)}
    return total * math.prod(sizes.values())


def peak_activations(nodes: list[Node], results: list[Any]) -> int:
    """Return the largest number of values in memory at one time if tensors are freed after their last use."""
    uses = Counter(id(tensor) for _, inputs, _ in nodes for tensor in {id(t): t for t in inputs}.values())
    uses.update(map(id, results))
    alive: dict[int, int] = {}
    peak = 0
    for _, inputs, outputs in nodes:
        alive.update({id(tensor): count_values(tensor) for tensor in [*inputs, *outputs]})
        peak = max(peak, sum(alive.values()))
        for key in {id(tensor) for tensor in inputs}:
            uses[key] -= 1
            if uses[key] <= 0:
                alive.pop(key)
    return peak
