"""Parameters and multiply-accumulates of a network, counted by running its builder on symbolic tensors.

A builder that receives a `SymbolicTensor` instead of a Keras tensor adds the cost of each layer to a `CostCounter`.
Repeated layers are counted once, so even the deepest network takes less than two milliseconds. The count and the
network come from the same code and can differ only if an operation counts its layer incorrectly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keras_cnns.errors import ImageSizeError


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The cost of a network.

    Attributes:
        trainable_parameters: Weights, biases, and the scales and offsets of batch normalization.
        total_parameters: Trainable parameters and all other variables, such as moving means and variances.
        macs: Multiply-accumulates of convolutions and dense layers for one image, including those with zero padding.
            Biases, normalization, pooling and activations are not counted. One multiply-accumulate is two
            floating-point operations.
    """

    trainable_parameters: int
    total_parameters: int
    macs: int

    def as_metrics(self) -> dict[str, int]:
        """Return the counts under the names of a run's metrics."""
        return {
            "parameters": self.total_parameters,
            "trainable_parameters": self.trainable_parameters,
            "macs": self.macs,
        }


class TooSmallError(ImageSizeError):
    """The output of a layer would have no height or no width."""


@dataclass(slots=True)
class CostCounter:
    """Running totals of trainable parameters, other variables and multiply-accumulates.

    Attributes:
        trainable: Trainable parameters.
        fixed: Other variables.
        macs: Multiply-accumulates.
        layers: By name, in their order: the layers with trainable parameters, and whether they have a kernel. Of
            repeated layers, only the first and the last are listed.
    """

    trainable: int = 0
    fixed: int = 0
    macs: int = 0
    layers: dict[str, bool] = field(default_factory=dict)

    @property
    def totals(self) -> tuple[int, int, int]:
        """The running totals."""
        return self.trainable, self.fixed, self.macs

    def counts(self) -> Counts:
        """Return the cost of a network that consists of the layers counted so far."""
        total = self.trainable + self.fixed
        return Counts(trainable_parameters=self.trainable, total_parameters=total, macs=self.macs)


@dataclass(slots=True, eq=False)
class SymbolicTensor:
    """A stand-in for a tensor of (batch, height, width, channels); layers applied to it add their cost to `counter`."""

    height: int
    width: int
    channels: int
    counter: CostCounter

    @property
    def shape(self) -> tuple[None, int, int, int]:
        """The shape as Keras writes it: (None, height, width, channels)."""
        return None, self.height, self.width, self.channels

    def layer_output(
        self,
        height: int,
        width: int,
        channels: int,
        *,
        trainable: int = 0,
        fixed: int = 0,
        macs: int = 0,
        name: str | None = None,
    ) -> SymbolicTensor:
        """Return the output of a layer applied to this tensor and add the layer's cost to the counter.

        Args:
            height: Height of the output.
            width: Width of the output.
            channels: Channels of the output, or its features if it is flat.
            trainable: Trainable parameters of the layer.
            fixed: Other variables of the layer.
            macs: Multiply-accumulates of the layer.
            name: Name of the layer, if it has trainable parameters.

        Raises:
            TooSmallError: The output has no height or no width.
        """
        if height < 1 or width < 1:
            raise TooSmallError(f"a {self.height}x{self.width} input is too small for a layer.")
        self.counter.trainable += trainable
        self.counter.fixed += fixed
        self.counter.macs += macs
        if name is not None and trainable:
            self.counter.layers[name] = macs > 0
        return SymbolicTensor(height, width, channels, self.counter)


def repeat_layers(x: Any, count: int, layer: Callable[[Any, int], Any]) -> Any:
    """Apply `layer(x, index)` for each index from 1 to `count` and return the last output.

    On a symbolic tensor only the first and the last layer are counted. The cost must therefore be constant, as in a
    stage of equal residual units, or grow linearly with the index, as in a dense block.
    """
    if not isinstance(x, SymbolicTensor) or count < 3:
        for index in range(1, count + 1):
            x = layer(x, index)
        return x
    counter = x.counter
    before = counter.totals
    first = layer(x, 1)
    growth = first.channels - x.channels
    last = layer(SymbolicTensor(first.height, first.width, x.channels + (count - 1) * growth, counter), count)
    counter.trainable, counter.fixed, counter.macs = (
        start + count * (end - start) // 2 for start, end in zip(before, counter.totals, strict=True)
    )
    return last
