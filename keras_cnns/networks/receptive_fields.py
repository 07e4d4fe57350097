"""Receptive fields: how far in the image a value of some maps can see (Araujo et al. 2019, Distill)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_cnns.lazy import keras


@dataclass(frozen=True)
class ReceptiveField:
    """What one value of some maps can depend on, along each axis of the image.

    Attributes:
        sizes: Pixels from the first to the last; infinite where it is the whole image.
        jumps: Pixels between what two neighbours see.
    """

    sizes: tuple[float, ...]
    jumps: tuple[float, ...]

    @property
    def field(self) -> tuple[int, ...] | None:
        """The receptive field in pixels; None where it is the whole image."""
        return tuple(map(math.ceil, self.sizes)) if self.sizes and math.inf not in self.sizes else None


def pixels(axes: int) -> ReceptiveField:
    """Return the reach of the images themselves."""
    return ReceptiveField((1.0,) * axes, (1.0,) * axes)


def everything(axes: int) -> ReceptiveField:
    """Return the reach of what has seen the whole image."""
    return ReceptiveField((math.inf,) * axes, (0.0,) * axes)


def reach_after(
    operation: Any, reaches: Sequence[ReceptiveField], axes: int, before: Sequence[int], after: Sequence[int]
) -> ReceptiveField:
    """Return how far the output of a layer sees.

    Convolution and pooling widen it; layers that merge take the widest of their inputs; what has no height and width
    any more has seen everything; all else is taken to work on each place alone.

    Args:
        operation: The layer.
        reaches: Of its inputs.
        axes: Axes of the images: 2.
        before: Shape of its first input, with the batch.
        after: Shape of its output, with the batch.
    """
    if len(after) != axes + 2 or not reaches or is_global(operation):
        return everything(axes)
    sizes = tuple(map(max, zip(*(reach.sizes for reach in reaches), strict=True)))
    jumps = tuple(map(max, zip(*(reach.jumps for reach in reaches), strict=True)))
    windows, strides = window(operation, axes, before)
    return ReceptiveField(
        tuple(size + (side - 1) * jump for size, side, jump in zip(sizes, windows, jumps, strict=True)),
        tuple(jump * stride for jump, stride in zip(jumps, strides, strict=True)),
    )


def is_global(operation: Any) -> bool:
    """Say whether a layer pools all places into one and may keep height and width of 1."""
    return isinstance(operation, keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D)


def window(operation: Any, axes: int, before: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return sides and strides of the windows that a layer lays over its input: 1 and 1 if it works place by place."""
    if isinstance(operation, keras.layers.AdaptiveAveragePooling2D | keras.layers.AdaptiveMaxPooling2D):
        places = before[2:] if operation.data_format == "channels_first" else before[1:-1]
        counts = each(operation.output_size, axes)
        pairs = list(zip(places, counts, strict=True))
        return tuple(widest_part(*pair) for pair in pairs), tuple(place / count for place, count in pairs)
    sides = each(getattr(operation, "kernel_size", getattr(operation, "pool_size", 1)), axes)
    strides = each(getattr(operation, "strides", 1), axes)
    dilations = each(getattr(operation, "dilation_rate", 1), axes)
    spans = tuple((side - 1) * dilation + 1 for side, dilation in zip(sides, dilations, strict=True))
    if isinstance(operation, keras.layers.Conv1DTranspose | keras.layers.Conv2DTranspose):
        pairs = list(zip(spans, strides, strict=True))
        return tuple(math.ceil(span / stride) for span, stride in pairs), tuple(1 / stride for stride in strides)
    return spans, strides


def each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Return a value for each axis."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def widest_part(places: int, parts: int) -> int:
    """Return the widest of the overlapping windows with which adaptive pooling covers some places."""
    return max(-(-(part + 1) * places // parts) - part * places // parts for part in range(parts))
