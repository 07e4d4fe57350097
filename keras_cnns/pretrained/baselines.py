"""Weights of baselines: files that Keras publishes, or that were saved from the function's own model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.errors import WeightsError
from keras_cnns.lazy import keras
from keras_cnns.networks.baselines.families import BaselineNetwork
from keras_cnns.networks.baselines.functions import NetworkFunction, without_values
from keras_cnns.networks.baselines.graph_copy import (
    Copy,
    name_by_leaves,
    set_values,
)
from keras_cnns.networks.baselines.published import find_published_file, load_published
from keras_cnns.networks.graph import weights_of
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.registry import build, find_variant
from keras_cnns.networks.weights.entries import Entry, find_head, match_arrays, parent
from keras_cnns.networks.weights.files import open_state
from keras_cnns.networks.weights.loading import reorder_channels, stem_layer
from keras_cnns.networks.weights.own import check_order
from keras_cnns.pretrained.download import compute_checksum
from keras_cnns.pretrained.source import Source

if TYPE_CHECKING:
    from keras import Model

WHITE = 255.0
RGB = 3


def load_baseline(
    path: Path, name: str, shape: tuple[int, int, int], classes: int | None, settings: Mapping[str, Any]
) -> Source:
    """Build a baseline for RGB images and load the weights of a file that was saved from the function's own model.

    Args:
        path: The file.
        name: The name of the baseline.
        shape: The shape of the images; the number of channels is not used.
        classes: The number of classes; None: the default of the function.
        settings: Settings that differ from the defaults.

    Raises:
        WeightsError: The weights do not fit, or it is not known how images were standardized for them.
        KerasCnnsError: The network is not valid.
    """
    family, variant = find_variant(name)
    assert isinstance(family.network, BaselineNetwork)  # noqa: S101 - for type checkers
    builder, chosen = family.network, variant.settings.replace(settings)
    function, images = builder.function, (*shape[:2], RGB)
    number = variant.classes if classes is None else classes
    if is_published(path, name, settings):
        model = load_published(function, chosen.as_dict(), path)
        source = trace(builder, model)
        state = {
            f"{leaf.name}/{position}": values
            for leaf in source.leaves
            if weights_of(leaf.operation) and leaf.operation not in source.removed
            for position, values in enumerate(leaf.operation.get_weights())
        }
    else:
        model = function.build(chosen.as_dict(), images, number)
        source = trace(builder, model)
        if path.suffix.lower() == ".keras":
            check_order(path, model)
        with open_state(path) as arrays:
            state = read_state(model, source, arrays)
    preprocessing, order = find_preprocessing(function, source)
    network = build(name, input_shape=images, classes=number, classifier_activation=None, **settings)
    initial = set_state(network, state)
    stem = stem_layer(network)
    if source.readers != 1 or not isinstance(stem, keras.layers.Conv2D) or stem.groups != 1:
        raise WeightsError(f"{name}: weights need a network that begins with one convolution of the images.")
    reorder_channels(network, order)
    return Source(network=network, preprocessing=preprocessing, initial=initial)


def is_published(path: Path, name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a file has the checksum of the weights that Keras publishes, or is the download without one."""
    try:
        url, checksum = find_published_file(name, settings)
    except WeightsError:
        return False
    if not checksum:
        return path.name.endswith(url.rpartition("/")[2])
    return compute_checksum(path, checksum) == checksum


def trace(builder: BaselineNetwork, model: Model) -> Copy:
    """Return the layers of a model and what a copy of it leaves out."""
    with without_values():
        return builder.copy(model, keras.Input(model.inputs[0].shape[1:]), with_values=False)


def read_state(model: Model, source: Copy, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of a file by the names of the layers of the copy; sets the weights of what it leaves out."""
    state = name_by_leaves(model, source.leaves, arrays)
    found: dict[str, Any] = {}
    for leaf in source.leaves:
        variables = weights_of(leaf.operation)
        own = [
            state.pop(f"{leaf.source_name}/{n}") for n in range(len(variables)) if f"{leaf.source_name}/{n}" in state
        ]
        if leaf.operation not in source.removed:
            found |= {f"{leaf.name}/{position}": np.asarray(values) for position, values in enumerate(own)}
        elif own and len(own) == len(variables):
            set_values(leaf.operation, [np.asarray(values) for values in own])
    return {**found, **{name: np.asarray(values) for name, values in state.items()}}


def set_state(network: Model, state: Mapping[str, Any]) -> tuple[str, ...]:
    """Set the weights of a network, except layers of its head that do not fit, and return the names of those layers.

    Raises:
        WeightsError: Other layers do not fit. No weights are set in this case.
    """
    head = find_head(network)
    entries = [
        Entry(name=f"{layer.name}/{position}", shape=shape, layer=layer.name, own_shape=shape)
        for layer in network.layers
        for position, shape in enumerate(tuple(weight.shape) for weight in layer.weights)
    ]
    fits = {entry.name: np.shape(state[entry.name]) == entry.shape for entry in entries if entry.name in state}
    initial = dict.fromkeys(entry.layer for entry in entries if entry.layer in head and not fits.get(entry.name))
    kept = [entry for entry in entries if entry.layer not in initial]
    if all(entry.layer in head for entry in kept):
        raise WeightsError(f"{network.name}: the weights do not fit: none of its convolutions is among them.")
    arrays = {name: values for name, values in state.items() if parent(name) not in initial}
    weights = match_arrays(network.name, kept, arrays)
    for layer in network.layers:
        if layer.name in weights:
            set_values(layer, weights[layer.name])
    return tuple(initial)


def find_preprocessing(function: NetworkFunction, source: Copy) -> tuple[Preprocessing, Sequence[int]]:
    """Return how a network standardizes images: by its first layers, or by `preprocess_input` of its module.

    Raises:
        WeightsError: It is not known.
    """
    if source.preprocessing:
        return measure_preprocessing(function.name, lambda pixels: apply_all(source.preprocessing, pixels))
    preprocess = getattr(function.module, "preprocess_input", None)
    if preprocess is None:
        raise WeightsError(
            f"{function.name}: it is not known how images were standardized for these weights: begin the network with "
            f"keras.layers.Rescaling or Normalization, or use the .keras file of a run."
        )
    return measure_preprocessing(function.name, preprocess)


def apply_all(functions: Sequence[Callable[[Any], Any]], values: Any) -> Any:
    """Return the result of functions that are applied one after the other."""
    for function in functions:
        values = function(values)
    return values


def measure_preprocessing(name: str, apply: Callable[[np.ndarray], Any]) -> tuple[Preprocessing, Sequence[int]]:
    """Find scale and offset of each channel from what a function makes of black, red, green and blue.

    Returns:
        The preprocessing, red first, and for each channel its position in the output of the function.

    Raises:
        WeightsError: It is not linear in each channel.
    """
    pixels = np.zeros((RGB + 1, 1, 1, RGB), np.float32)
    pixels[1:, 0, 0] = WHITE * np.eye(RGB)
    values = np.asarray(keras.ops.convert_to_numpy(apply(pixels)), np.float64)[:, 0, 0]
    response = (values[1:] - values[0]) / WHITE
    order = np.abs(response).argmax(axis=1)
    scale = response[np.arange(RGB), order]
    expected = np.zeros_like(response)
    expected[np.arange(RGB), order] = scale
    if sorted(order) != list(range(RGB)) or not np.allclose(response, expected, atol=1e-6 * np.abs(scale).max()):
        raise WeightsError(f"{name}: its preprocessing of images is not linear in each channel.")
    preprocessing = Preprocessing(scale=tuple(map(float, scale)), offset=tuple(map(float, values[0][order])))
    return preprocessing, [int(position) for position in order]
