"""Single weights of a network and their counterparts in another library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.errors import WeightsError
from keras_cnns.networks.graph import AUXILIARY, LOGITS, graph_nodes

if TYPE_CHECKING:
    from keras import Model

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
        is_head: Whether it is a weight of the classifier, of a dense layer before it, or of an auxiliary classifier.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    own_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...] | None = None
    is_head: bool = False

    @property
    def classifier(self) -> bool:
        """Whether the shape depends on the number of classes."""
        return self.layer.endswith(LOGITS)

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


def find_head(model: Model) -> set[str]:
    """Return the layers that depend on the classes and the size of images, which weights need not fit.

    They are the classifier, the dense layers before it, after the last convolution, and auxiliary classifiers.
    """
    kernels = [
        (layer.name, len(kernel.shape), len(inputs[0].shape))
        for layer, inputs, _ in graph_nodes(model)
        if (kernel := getattr(layer, "kernel", None)) is not None
    ]
    auxiliary = {layer.name for layer in model.layers if layer.name.startswith(AUXILIARY)}
    main = [found for found in kernels if found[0] not in auxiliary]
    last = max((index for index, (_, axes, _) in enumerate(main) if axes == 4), default=-1)
    dense = {name for name, axes, input_axes in main[last + 1 :] if axes == 2 and input_axes == 2}
    return {*auxiliary, *dense, *(layer.name for layer in model.layers if layer.name.endswith(LOGITS))}


def match_arrays(owner: str, entries: Sequence[Entry], state: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    """Return the new weights of each layer. Arrays are read only if all of them fit.

    Args:
        owner: Name of the network, for error messages.
        entries: The weights to set, in the order of each layer's weights.
        state: Arrays by their names in the library.

    Raises:
        WeightsError: Arrays are missing, unexpected, of another shape or not numeric.
    """
    shapes_by_name = {name: tuple(np.shape(values)) for name, values in state.items()}
    expected = {entry.name for entry in entries}
    missing = [f"{entry.name} {entry.shape} is missing" for entry in entries if entry.name not in state]
    unexpected = [f"{name} {shape} is unexpected" for name, shape in shapes_by_name.items() if name not in expected]
    misshapen = [entry for entry in entries if shapes_by_name.get(entry.name, entry.shape) != entry.shape]
    shapes = [f"{entry.name} is {shapes_by_name[entry.name]} instead of {entry.shape}" for entry in misshapen]
    if problems := [item for items in zip_longest(missing, unexpected, shapes) for item in items if item]:
        more = f" and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        other_classes = len(problems) == len(misshapen) and all(entry.classifier for entry in misshapen)
        hint = " For other classes, classifier=False keeps the classifier." if other_classes else ""
        raise WeightsError(f"{owner}: the weights do not fit: {', '.join(problems[:MAX_PROBLEMS])}{more}.{hint}")
    weights: dict[str, list[np.ndarray]] = {}
    for entry in entries:
        values = as_array(entry.name, state[entry.name])
        weights.setdefault(entry.layer, []).append(entry.import_values(values))
    return weights


def leave_head(
    entries: Sequence[Entry], state: Mapping[str, Any], convolutions: tuple[str, ...]
) -> tuple[list[Entry], dict[str, Any], list[str]]:
    """Leave out what need not fit: dense layers and auxiliary classifiers, which depend on classes and image size.

    Args:
        entries: All weights of a network.
        state: Arrays by their names in the library.
        convolutions: Prefixes of the names of dense layers that the library implements as convolutions.

    Returns:
        The other entries, the arrays without those of dense layers that the network lacks, and the names of the layers
        that are left out, which keep their initial values.
    """
    left = [
        entry.layer
        for entry in entries
        if entry.is_head and (entry.name not in state or tuple(np.shape(state[entry.name])) != entry.shape)
    ]
    kept = [entry for entry in entries if entry.layer not in left]
    names = {entry.name for entry in kept}
    dense = {parent(name) for name, values in state.items() if len(np.shape(values)) == 2}
    unused = {parent(entry.name) for entry in entries if entry.layer in left}
    unused |= {layer for layer in map(parent, state) if layer in dense or f"{layer}.".startswith(convolutions)}
    arrays = {name: values for name, values in state.items() if name in names or parent(name) not in unused}
    return kept, arrays, list(dict.fromkeys(left))


def parent(name: str) -> str:
    """Return the name of the layer of an array, such as "fc" of "fc.weight" or "fc1" of "fc1/kernel"."""
    return name.rpartition("/" if "/" in name else ".")[0]


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
