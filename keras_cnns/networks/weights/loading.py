"""Load pretrained weights into networks with other classes, other channels and another head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.errors import WeightsError
from keras_cnns.networks.layouts import KERAS, Layout
from keras_cnns.networks.weights.entries import Entry, leave_head, match_arrays, parent
from keras_cnns.networks.weights.transfer import OWN, detect_library, find_layout, make_entries, select_arrays

if TYPE_CHECKING:
    from keras import Model

OWN_LAYOUT = Layout(
    libraries=(OWN,), identifying_layers=frozenset(), names=lambda names: {name: name for name in names}, settings={}
)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was loaded into a network.

    Attributes:
        layout: The layout that the weights have.
        initial: Names of the layers that keep their initial values.
    """

    layout: Layout
    initial: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """Whether the weights have the names of keras-cnns."""
        return self.layout is OWN_LAYOUT


def load_state(model: Model, state: Mapping[str, Any], *, is_own: bool = False) -> Loaded:
    """Copy weights into a network. The classifier and the dense layers before it may be missing or of other shapes.

    Args:
        model: A network from `build`.
        state: Arrays by name: of a state dict, or of Keras's files, as `open_state` returns them.
        is_own: Whether the weights are known to have the names of keras-cnns.

    Raises:
        WeightsError: Other layers do not fit. No weights are copied in this case.
    """
    of_keras = all("/" in name for name in state)
    find = find_keras_library if of_keras else detect_library
    library = OWN if is_own else find(model, state)
    layout = OWN_LAYOUT if library == OWN else find_layout(model, library)
    entries = make_entries(model, library, layout)
    arrays = select_arrays(model, {layout.rename_old(name): values for name, values in state.items()})
    if of_keras:
        arrays = name_variables(arrays, entries)
    kept, arrays, initial = leave_head(entries, arrays, layout.convolutions)
    if all(entry.is_head for entry in kept):
        raise WeightsError(f"{model.name}: the weights do not fit: none of its convolutions is among them.")
    weights = match_arrays(model.name, kept, arrays)
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
    return Loaded(layout=layout, initial=tuple(initial))


def find_keras_library(model: Model, state: Mapping[str, Any]) -> str:
    """Return whether the names in a file of Keras are ours or those of `keras.applications`."""
    layers = set(map(parent, state))
    own = sum(layer.name in layers for layer in model.layers if layer.weights)
    return OWN if own > len(layers) / 2 else KERAS


def name_variables(state: Mapping[str, Any], entries: list[Entry]) -> dict[str, Any]:
    """Return arrays of Keras's files, "layer/0", under the names of a network's variables, "layer/kernel".

    Arrays of layers that the network lacks, or that has another number of variables, keep their names.
    """
    variables: dict[str, list[str]] = {}
    for entry in entries:
        variables.setdefault(parent(entry.name), []).append(entry.name)
    counts = Counter(map(parent, state))
    renamed = {
        f"{layer}/{position}": name
        for layer, names in variables.items()
        if counts[layer] == len(names)
        for position, name in enumerate(names)
    }
    return {renamed.get(name, name): values for name, values in state.items()}


def stem_layer(model: Model) -> Any:
    """Return the first layer of a network with a kernel, which receives the images."""
    return next(layer for layer in model.layers if len(getattr(getattr(layer, "kernel", None), "shape", ())) == 4)


def reorder_channels(model: Model, order: Sequence[int]) -> None:
    """Reorder the input channels of a network's first kernel: channel `i` takes the place of channel `order[i]`."""
    stem = stem_layer(model)
    kernel, *others = stem.get_weights()
    stem.set_weights([kernel[:, :, list(order)], *others])


def copy_weights(source: Model, target: Model, stem_kernel: np.ndarray) -> None:
    """Copy the weights of a network to one with the same layers or without the last ones; the first kernel is given."""
    stem, kept = stem_layer(source).name, {layer.name for layer in target.layers}
    for layer in source.layers:
        if layer.weights and layer.name in kept:
            values = layer.get_weights()
            if layer.name == stem:
                values = [stem_kernel, *values[1:]]
            target.get_layer(layer.name).set_weights(values)
