"""All that training needs beside the network and the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.settings import Choice, Domain, FloatRange, IntRange, Settings, free


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """How a network is trained.

    Attributes:
        epochs: Times that every training image is seen.
        batch_size: Images a step, over all devices together.
        optimizer: "sgd" has Nesterov momentum 0.9; "adamw" is Adam with decoupled weight decay.
        learning_rate: The highest learning rate.
        schedule: How the learning rate falls to zero: along a "cosine", or not at all ("constant").
        warmup: Share of all steps over which the learning rate first rises from zero.
        weight_decay: Decay of weights at each step, times the learning rate; biases and batch norm have none.
        monitor: What the best epoch is the best in, measured on the validation images.
    """

    epochs: int = free(20, IntRange(1, 100_000))
    batch_size: int = free(64, IntRange(1, 65_536))
    optimizer: str = free("adamw", Choice(("sgd", "adamw")))
    learning_rate: float = free(2e-3, FloatRange(1e-7, 10.0, log=True))
    schedule: str = free("cosine", Choice(("cosine", "constant")))
    warmup: float = free(0.1, FloatRange(0.0, 0.9))
    weight_decay: float = free(5e-3, FloatRange(0.0, 1.0))
    monitor: str = free("val_accuracy", Choice(("val_accuracy", "val_auc")))


SEARCH: Mapping[str, Domain] = {
    "learning_rate": FloatRange(5e-4, 1e-2, log=True),
    "weight_decay": FloatRange(1e-4, 5e-2, log=True),
}


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> Any:
    """Return the recipe's optimizer, its schedule laid over all steps of the training."""
    if recipe.optimizer == "sgd":
        make, options = keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}
    else:
        make, options = keras.optimizers.AdamW, {}
    rate = learning_rate(recipe, recipe.epochs * steps_per_epoch)
    optimizer = make(learning_rate=rate, weight_decay=recipe.weight_decay or None, **options)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rate(recipe: Recipe, steps: int) -> Any:
    """Return the learning rate: a number, or a schedule over `steps`."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warmup_steps = round(recipe.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate * (0.0 if warmup_steps else 1.0),
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=recipe.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
