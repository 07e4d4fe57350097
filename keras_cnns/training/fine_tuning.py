"""Frozen blocks, gradual unfreezing, and learning rates by block."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import keras

from keras_cnns.networks.blocks import group_blocks
from keras_cnns.networks.graph import graph_nodes, weights_of
from keras_cnns.networks.recipe import FEATURES, NOTHING, Recipe
from keras_cnns.training.variable_rates import VariableRates


class FineTuning:
    """How the blocks of a network are trained.

    Args:
        model: The network.
        recipe: The recipe.
        initial: Names of the layers that keep their initial values when training begins with weights.
    """

    def __init__(self, model: keras.Model, recipe: Recipe, initial: Collection[str] = ()) -> None:
        self.model = model
        self.recipe = recipe
        layers = {layer.name: layer for layer, _, _ in graph_nodes(model) if weights_of(layer)}
        blocks = group_blocks({name: hasattr(layer, "kernel") for name, layer in layers.items()}, initial)
        self.block_names = list(blocks)
        self.blocks = [[layers[name] for name in names] for names in blocks.values()]

    def count_frozen(self, epoch: int) -> int:
        """Return the number of blocks that are frozen in an epoch, counted from 0: the first ones of the network."""
        recipe = self.recipe
        if recipe.freeze == NOTHING:
            return 0
        frozen = len(self.blocks) if recipe.freeze == FEATURES else self.block_names.index(recipe.freeze) + 1
        listed = recipe.unfreeze_at or ()
        passed = sum(end <= epoch for end in listed)
        return 0 if listed and passed == len(listed) else max(0, frozen - passed)

    def freeze(self, epoch: int) -> bool:
        """Freeze the blocks that are frozen in an epoch and no others, and return whether that is a change."""
        frozen, changed = self.count_frozen(epoch), False
        for index, block in enumerate(self.blocks):
            for layer in block:
                if layer.trainable != (index >= frozen):
                    layer.trainable = index >= frozen
                    changed = True
        return changed

    def trained_variables(self) -> list[Any]:
        """Return the variables that are trained in any epoch; those of the last one, because none is frozen again."""
        self.freeze(self.recipe.epochs)
        return list(self.model.trainable_variables)

    def rates(self, steps_per_epoch: int) -> VariableRates | None:
        """Return how each of `trained_variables` is trained; None if they have one rate and begin together."""
        recipe = self.recipe
        if recipe.layer_decay == recipe.head_rate == 1.0 and recipe.unfreeze_at is None:
            return None
        blocks = {
            id(variable): index
            for index, block in enumerate(self.blocks)
            for layer in block
            for variable in layer.variables
        }
        indices = [blocks.get(id(variable)) for variable in self.trained_variables()]
        return VariableRates(
            factors=[self.factor(index) for index in indices],
            first_steps=[0 if index is None else self.first_epoch(index) * steps_per_epoch for index in indices],
        )

    def factor(self, index: int | None) -> float:
        """Return the factor of the learning rate of a block, or of the head for None."""
        if index is None:
            return self.recipe.head_rate
        return float(self.recipe.layer_decay ** (len(self.blocks) - index))

    def first_epoch(self, index: int) -> int:
        """Return the first epoch, counted from 0, in which a block is trained that is trained in some epoch."""
        return next(epoch for epoch in (0, *(self.recipe.unfreeze_at or ())) if self.count_frozen(epoch) <= index)


@contextlib.contextmanager
def all_trainable(model: keras.Model) -> Iterator[None]:
    """Unfreeze all layers temporarily, so that a saved network does not depend on how it was trained."""
    frozen = [layer for layer in model.layers if not layer.trainable]
    for layer in frozen:
        layer.trainable = True
    try:
        yield
    finally:
        for layer in frozen:
            layer.trainable = False
