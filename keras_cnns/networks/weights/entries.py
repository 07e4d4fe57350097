"""Single weights of a network and their counterparts in another library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from keras_cnns.errors import WeightsError

MAX_PROBLEMS = 5


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One weight of a network, with its name and shape in another library.

    Attributes:
        name: Name in the library.
        shape: Shape in the library.
        layer: Name of our layer.
        own_shape: Shape in our layer.
        kernel_shape: For kernels whose axes are ordered differently in the library: height, width, input channels and
            output channels. A dense layer counts as a convolution with the height and width of the feature maps that
            are flattened before it, or 1x1.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    own_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...] | None = None

    @property
    def classifier(self) -> bool:
        """Whether the shape depends on the number of classes."""
        return self.layer.endswith("logits")

    def export_values(self, values: np.ndarray) -> np.ndarray:
        """Return values of our layer as a contiguous copy in the library's axis order."""
        if self.kernel_shape is not None:
            values = values.reshape(self.kernel_shape).transpose(3, 2, 0, 1).reshape(self.shape)
        return np.array(values, order="C")

    def import_values(self, values: np.ndarray) -> np.ndarray:
        """Return values of the library in our axis order."""
        if self.kernel_shape is None:
            return values
        height, width, inputs, outputs = self.kernel_shape
        return values.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0).reshape(self.own_shape)


def match_arrays(owner: str, entries: Sequence[Entry], state: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    """Return the new weights of each layer.

    Args:
        owner: Name of the network, for error messages.
        entries: The weights to set, in the order of each layer's weights.
        state: Arrays by their names in the library.

    Raises:
        WeightsError: Arrays are missing, unexpected, of another shape or not numeric.
    """
    arrays = {entry.name: as_array(entry.name, state[entry.name]) for entry in entries if entry.name in state}
    missing = [f"{entry.name} {entry.shape} is missing" for entry in entries if entry.name not in arrays]
    unexpected = [f"{name} {np.shape(values)} is unexpected" for name, values in state.items() if name not in arrays]
    misshapen = [entry for entry in entries if entry.name in arrays and arrays[entry.name].shape != entry.shape]
    shapes = [f"{entry.name} is {arrays[entry.name].shape} instead of {entry.shape}" for entry in misshapen]
    if problems := [item for items in zip_longest(missing, unexpected, shapes) for item in items if item]:
        more = f" and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        other_classes = len(problems) == len(misshapen) and all(entry.classifier for entry in misshapen)
        hint = " For other classes, classifier=False keeps the classifier." if other_classes else ""
        raise WeightsError(f"{owner}: the weights do not fit: {', '.join(problems[:MAX_PROBLEMS])}{more}.{hint}")
    weights: dict[str, list[np.ndarray]] = {}
    for entry in entries:
        weights.setdefault(entry.layer, []).append(entry.import_values(arrays[entry.name]))
    return weights


def as_array(name: str, values: Any) -> np.ndarray:
    """Return values as an array of float32, or of float64 if they are float64.

    Raises:
        WeightsError: The values are not numbers.
    """
    try:
        array = np.asarray(values)
        return array if array.dtype == np.float64 else array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{name} is not an array of numbers: {str(error).splitlines()[0]}") from None
