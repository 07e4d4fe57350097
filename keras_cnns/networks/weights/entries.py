"""Single arrays of a network and of its counterpart: their axes, and whether all of them fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from keras_cnns.errors import WeightsError

LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One array of a layer of ours, and the name and shape that it has elsewhere.

    Attributes:
        name: There.
        shape: There.
        layer: Our layer's name.
        own_shape: Ours.
        kernel_shape: Of a kernel whose axes have another order there: height, width, maps read, maps made. A dense
            layer's kernel is one of 1x1 pixels, or of as many as the maps have that are flattened before it.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    own_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...] | None = None

    @property
    def classifier(self) -> bool:
        """Whether its shape depends on the number of classes."""
        return self.layer.endswith("logits")

    def exported(self, values: np.ndarray) -> np.ndarray:
        """Return our values in their order, as a contiguous array of its own."""
        if self.kernel_shape is not None:
            values = values.reshape(self.kernel_shape).transpose(3, 2, 0, 1).reshape(self.shape)
        return np.array(values, order="C")

    def imported(self, values: np.ndarray) -> np.ndarray:
        """Return their values in our order."""
        if self.kernel_shape is None:
            return values
        height, width, read, made = self.kernel_shape
        return values.reshape(made, read, height, width).transpose(2, 3, 1, 0).reshape(self.own_shape)


def fit(owner: str, entries: Sequence[Entry], state: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    """Return the new weights of each layer.

    Args:
        owner: Whose weights they are to be, for the message.
        entries: What there is to be filled, of each layer in the order of its weights.
        state: Arrays by name.

    Raises:
        WeightsError: Some are missing, left over, of another shape, or no numbers.
    """
    arrays = {entry.name: as_array(entry.name, state[entry.name]) for entry in entries if entry.name in state}
    missing = [f"{entry.name} {entry.shape} is missing" for entry in entries if entry.name not in arrays]
    left_over = [f"{name} {np.shape(values)} has no place" for name, values in state.items() if name not in arrays]
    misshapen = [entry for entry in entries if entry.name in arrays and arrays[entry.name].shape != entry.shape]
    unequal = [f"{entry.name} is {arrays[entry.name].shape} and not {entry.shape}" for entry in misshapen]
    if problems := list(in_turn(missing, left_over, unequal)):
        more = f" and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        other_classes = len(problems) == len(misshapen) and all(entry.classifier for entry in misshapen)
        hint = " For other classes, classifier=False leaves the classifier as it is." if other_classes else ""
        raise WeightsError(f"{owner}: the weights do not fit: {', '.join(problems[:LISTED])}{more}.{hint}")
    weights: dict[str, list[np.ndarray]] = {}
    for entry in entries:
        weights.setdefault(entry.layer, []).append(entry.imported(arrays[entry.name]))
    return weights


def as_array(name: str, values: Any) -> np.ndarray:
    """Return numbers as an array of 32-bit floats, or of 64-bit ones where they are.

    Raises:
        WeightsError: They are none.
    """
    try:
        array = np.asarray(values)
        return array if array.dtype == np.float64 else array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{name} is no array of numbers: {str(error).splitlines()[0]}") from None


def in_turn(*lists: list[str]) -> Iterator[str]:
    """Yield the first of each list, then the second of each, to the end of the longest."""
    return (item for item in chain.from_iterable(zip_longest(*lists)) if item is not None)
