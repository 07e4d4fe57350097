"""What a network costs, counted by its own builder without building it.

A builder that is given `Maps` instead of a tensor adds up what each layer would cost. Steps that repeat are counted
once, so the deepest network takes well under two milliseconds, and the count cannot differ from the network by
anything but a mistake in one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import ImageSizeError


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a network costs.

    Attributes:
        trainable_parameters: Weights, biases, and scales and shifts of batch norm.
        total_parameters: These and all other variables: moving means and variances, fixed codes.
        macs: Multiply-accumulates of convolutions and dense layers for one image, zero padding included; biases,
            normalisation, pooling and activations left out. One is two floating-point operations.
    """

    trainable_parameters: int
    total_parameters: int
    macs: int

    def as_metrics(self) -> dict[str, int]:
        """Return what a run records of it."""
        return {
            "parameters": self.total_parameters,
            "trainable_parameters": self.trainable_parameters,
            "macs": self.macs,
        }


class TooSmallError(ImageSizeError):
    """A layer would have maps of no height or no width."""


class Tally:
    """What the layers so far cost: trainable and fixed parameters, and multiply-accumulates."""

    __slots__ = ("fixed", "macs", "trainable")

    def __init__(self) -> None:
        self.trainable = 0
        self.fixed = 0
        self.macs = 0

    def values(self) -> tuple[int, ...]:
        """Return all that is counted."""
        return self.trainable, self.fixed, self.macs

    def set_values(self, values: Iterable[int]) -> None:
        """Take over what `values` returns."""
        self.trainable, self.fixed, self.macs = values

    def add(self, trainable: int, fixed: int, macs: int) -> None:
        """Add the cost of a layer."""
        self.trainable += trainable
        self.fixed += fixed
        self.macs += macs

    def counts(self) -> Counts:
        """Return what a network with these layers costs."""
        total = self.trainable + self.fixed
        return Counts(trainable_parameters=self.trainable, total_parameters=total, macs=self.macs)


class SymbolicTensor:
    """Stands for a tensor of (batch, height, width, channels) where a network is counted and not built."""

    __slots__ = ("channels", "height", "tally", "width")

    def __init__(self, height: int, width: int, channels: int, tally: Tally) -> None:
        self.height = height
        self.width = width
        self.channels = channels
        self.tally = tally

    @property
    def shape(self) -> tuple[None, int, int, int]:
        """The tensor's shape."""
        return None, self.height, self.width, self.channels

    def after(
        self,
        height: int,
        width: int,
        channels: int,
        *,
        trainable: int = 0,
        fixed: int = 0,
        macs: int = 0,
    ) -> SymbolicTensor:
        """Return the maps that a layer makes of these, its cost added to the tally.

        Args:
            height: Their height.
            width: Their width.
            channels: How many there are.
            trainable: The layer's trainable parameters.
            fixed: Its other variables.
            macs: Its multiply-accumulates.

        Raises:
            TooSmallError: Nothing is left of them.
        """
        if height < 1 or width < 1:
            raise TooSmallError(f"nothing is left of {self.height}x{self.width} maps.")
        made = SymbolicTensor(height, width, channels, self.tally)
        self.tally.add(trainable, fixed, macs)
        return made


def stack(x: Any, steps: int, step: Callable[[Any, int], Any]) -> Any:
    """Apply `step(x, index)` with the indices from 1 to `steps`, one after another.

    What the steps cost has to rise evenly, as in a dense block, or not at all, as in a stage of equal units; when
    counting, the first and the last step then tell what all cost.
    """
    if not isinstance(x, SymbolicTensor) or steps < 3:
        for index in range(1, steps + 1):
            x = step(x, index)
        return x
    tally = x.tally
    before = tally.values()
    second = step(x, 1)
    growth = second.channels - x.channels
    reached = step(SymbolicTensor(second.height, second.width, x.channels + (steps - 1) * growth, tally), steps)
    ends = [last - start for start, last in zip(before, tally.values(), strict=True)]
    tally.set_values(start + steps * both // 2 for start, both in zip(before, ends, strict=True))
    return reached
