"""The blocks of a network in their order, which fine-tuning freezes and trains at different rates.

A block is a group of layers whose names are equal up to the first underscore. The head is not a block: it consists of
the classifier, auxiliary classifiers, and layers that keep their initial values when training begins with weights.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.counting import CostCounter, SymbolicTensor
from keras_cnns.networks.graph import AUXILIARY, LOGITS, block_name
from keras_cnns.networks.recipe import FEATURES, NOTHING, PROBE, Recipe
from keras_cnns.networks.registry import find_variant
from keras_cnns.networks.settings import Settings

LARGE_SIDE = 2**14  # pixels, large enough for any number of strides
CACHED_NETWORKS = 1024

Layers = Mapping[str, bool]
"""By name, in their order: the layers with weights, and whether they have a kernel."""


def find_head(layers: Layers, initial: Collection[str] = ()) -> set[str]:
    """Return the layers of the head.

    The classifier is the last layer with a kernel, and what follows it.

    Args:
        layers: All layers with weights.
        initial: Names of the layers that keep their initial values.
    """
    main = [name for name in layers if not name.startswith(AUXILIARY)]
    kernels = [index for index, name in enumerate(main) if layers[name]]
    classifier = main[kernels[-1] :] if kernels else main[-1:]
    return {*initial, *classifier, *(name for name in layers if name.startswith(AUXILIARY))}


def group_blocks(layers: Layers, initial: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the names of the layers of each block, in the order of the network; the head is left out."""
    head, blocks = find_head(layers, initial), dict[str, list[str]]()
    for name in layers:
        if name not in head:
            blocks.setdefault(block_name(name), []).append(name)
    return blocks


def list_blocks(model: str, settings: Settings, initial: Collection[str] = ()) -> list[str]:
    """Return the names of the blocks of a network without building it.

    Args:
        model: The name of the variant.
        settings: All settings of the network.
        initial: Names of the layers that keep their initial values.
    """
    return list(group_blocks(dict(count_layers(model, settings)), initial))


@functools.lru_cache(CACHED_NETWORKS)
def count_layers(model: str, settings: Any) -> tuple[tuple[str, bool], ...]:
    """Return the layers with trainable parameters, and whether they have a kernel."""
    counter = CostCounter()
    find_variant(model)[0].network(SymbolicTensor(LARGE_SIDE, LARGE_SIDE, 1, counter), settings, 1)
    return tuple(counter.layers.items())


def check_fine_tuning(model: str, settings: Settings, recipe: Recipe, initial: Collection[str] = ()) -> None:
    """Check that a network has the block up to which a recipe freezes it, and a classifier that can be probed.

    Args:
        model: The name of the variant.
        settings: All settings of the network.
        recipe: The recipe.
        initial: Names of the layers that keep their initial values.

    Raises:
        SettingError: It does not; the message lists the blocks.
    """
    if recipe.head == PROBE and LOGITS not in dict(count_layers(model, settings)):
        raise SettingError(f"head={PROBE}: {model} with these settings does not end in a dense layer; use head=random.")
    if recipe.freeze in (NOTHING, FEATURES):
        return
    blocks = list_blocks(model, settings, initial)
    if recipe.freeze not in blocks:
        raise SettingError(
            f"freeze={recipe.freeze}: {model} has no such block; use {FEATURES} or one of {', '.join(blocks)}."
            f"{nearest(recipe.freeze, blocks)}"
        )
