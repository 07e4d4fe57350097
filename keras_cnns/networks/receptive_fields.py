"""Receptive fields: the pixels of the image that one value of a layer's output depends on (Araujo et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_cnns.lazy import keras


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one value of a tensor, along each axis of the image.

    Attributes:
        sizes: Size in pixels; infinite for the whole image.
        jumps: Distance in pixels between the receptive fields of two adjacent values.
    """

    sizes: tuple[float, ...]
    jumps: tuple[float, ...]

    @property
    def pixels(self) -> tuple[int, ...] | None:
        """The size in whole pixels; None for the whole image."""
        return tuple(map(math.ceil, self.sizes)) if self.sizes and math.inf not in self.sizes else None


def single_pixel(axes: int) -> ReceptiveField:
    """Return the receptive field of a pixel of the image."""
    return ReceptiveField((1.0,) * axes, (1.0,) * axes)


def whole_image(axes: int) -> ReceptiveField:
    """Return the receptive field of a value that depends on all pixels."""
    return ReceptiveField((math.inf,) * axes, (0.0,) * axes)


def output_receptive_field(
    operation: Any, inputs: Sequence[ReceptiveField], axes: int, input_shape: Sequence[int], output_shape: Sequence[int]
) -> ReceptiveField:
    """Return the receptive field of the output of a layer.

    Convolution and pooling enlarge it. A layer that merges tensors takes the largest of its inputs. An output without
    height and width depends on the whole image. All other layers are assumed to work elementwise.

    Args:
        operation: The layer.
        inputs: Receptive fields of its inputs.
        axes: Number of axes of the images: 2.
        input_shape: Shape of its first input, with the batch axis.
        output_shape: Shape of its output, with the batch axis.
    """
    global_pooling = isinstance(operation, keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D)
    if len(output_shape) != axes + 2 or not inputs or global_pooling:
        return whole_image(axes)
    sizes = tuple(map(max, zip(*(field.sizes for field in inputs), strict=True)))
    jumps = tuple(map(max, zip(*(field.jumps for field in inputs), strict=True)))
    windows, strides = window(operation, axes, input_shape)
    return ReceptiveField(
        tuple(size + (side - 1) * jump for size, side, jump in zip(sizes, windows, jumps, strict=True)),
        tuple(jump * stride for jump, stride in zip(jumps, strides, strict=True)),
    )


def window(operation: Any, axes: int, input_shape: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the sides and strides of a layer's sliding windows; 1 and 1 for elementwise layers."""

    def per_axis(name: str, default: Any = 1) -> tuple[int, ...]:
        value = getattr(operation, name, default)
        return (value,) * axes if isinstance(value, int) else tuple(value)

    if isinstance(operation, keras.layers.AdaptiveAveragePooling2D | keras.layers.AdaptiveMaxPooling2D):
        lengths = input_shape[2:] if operation.data_format == "channels_first" else input_shape[1:-1]
        pairs = list(zip(lengths, per_axis("output_size"), strict=True))
        return tuple(largest_window(*pair) for pair in pairs), tuple(length / count for length, count in pairs)
    sides, strides = per_axis("kernel_size", getattr(operation, "pool_size", 1)), per_axis("strides")
    spans = tuple((side - 1) * rate + 1 for side, rate in zip(sides, per_axis("dilation_rate"), strict=True))
    if isinstance(operation, keras.layers.Conv1DTranspose | keras.layers.Conv2DTranspose):
        pairs = list(zip(spans, strides, strict=True))
        return tuple(math.ceil(span / stride) for span, stride in pairs), tuple(1 / stride for stride in strides)
    return spans, strides


def largest_window(length: int, count: int) -> int:
    """Return the largest of the `count` overlapping windows with which adaptive pooling covers an axis."""
    return max(-(-(index + 1) * length // count) - index * length // count for index in range(count))
