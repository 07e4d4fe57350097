"""The optimizer, learning rate schedule and loss of a recipe."""

from __future__ import annotations

from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.networks.recipe import Recipe
from keras_cnns.training import variable_rates
from keras_cnns.training.variable_rates import VariableRates

FOCAL_GAMMA = 2.0
STEP_FRACTIONS = (0.5, 0.75)  # of the training, after which the schedule "steps" divides the learning rate by 10


def make_optimizer(recipe: Recipe, steps_per_epoch: int, rates: VariableRates | None = None) -> Any:
    """Return the optimizer of a recipe, with the learning rate schedule over all steps of the training.

    Args:
        recipe: The recipe.
        steps_per_epoch: Batches per epoch.
        rates: The learning rate of each variable relative to the schedule; None if it is the same for all, which are
            trained from the first step on.
    """
    options: dict[str, Any] = {"weight_decay": recipe.weight_decay, "global_clipnorm": recipe.clip_norm}
    if recipe.ema:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    rate = make_learning_rate(recipe, recipe.epochs * steps_per_epoch)
    library = keras.optimizers if rates is None else variable_rates
    if recipe.optimizer == "adamw":
        optimizer = library.AdamW(rate, **options)
    else:
        nesterov = recipe.optimizer == "nesterov"
        optimizer = library.SGD(rate, momentum=0.9, nesterov=nesterov, **options)
    if rates is not None:
        optimizer.rates = rates
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def make_learning_rate(recipe: Recipe, steps: int) -> Any:
    """Return the learning rate of a recipe: a number, or a schedule over `steps`."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    schedules = keras.optimizers.schedules
    if recipe.schedule == "steps":
        rates = [recipe.learning_rate * factor for factor in (1.0, 0.1, 0.01)]
        return schedules.PiecewiseConstantDecay([max(1, round(part * steps)) for part in STEP_FRACTIONS], rates)
    warmup_steps = round(recipe.warmup * steps)
    return schedules.CosineDecay(
        recipe.learning_rate * (0.0 if warmup_steps else 1.0),
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=recipe.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def make_loss(recipe: Recipe, task: str) -> Any:
    """Return the loss of a recipe for a task of `Dataset`; its labels have the shape (images, classes)."""
    losses, smoothing = keras.losses, recipe.label_smoothing
    if recipe.loss == "focal":
        if task == "multi-label":
            return losses.BinaryFocalCrossentropy(gamma=FOCAL_GAMMA, label_smoothing=smoothing)
        return losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=FOCAL_GAMMA, label_smoothing=smoothing)
    if task == "multi-label":
        return losses.BinaryCrossentropy(label_smoothing=smoothing)
    return losses.CategoricalCrossentropy(label_smoothing=smoothing)
