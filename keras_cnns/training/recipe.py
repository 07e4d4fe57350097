"""All that training needs beside the network and the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.data.augmentation import PRESETS, Augmentation
from keras_cnns.lazy import keras
from keras_cnns.settings import Choice, Domain, FloatRange, IntRange, Maybe, Settings, free

FOCUS = 2.0
STEPS_DOWN = (0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """How a network is trained.

    Attributes:
        epochs: Times that every training image is seen.
        batch_size: Images a step, over all devices together.
        optimizer: "sgd" has momentum 0.9, "nesterov" Nesterov's; "adamw" is Adam with decoupled weight decay.
        learning_rate: The highest learning rate.
        schedule: How the learning rate falls: along a "cosine" to zero, in "steps" to a tenth at half and again at
            three quarters of the training, or not at all ("constant").
        warmup: Share of all steps over which the learning rate first rises from zero.
        weight_decay: Decay of weights at each step, times the learning rate; biases and batch norm have none.
        clip_norm: What the norm of all gradients together is cut down to where it is larger.
        ema: How much of an average of the weights each step keeps; it is the average that is measured and kept. 0 for
            none.
        loss: "cross-entropy", or "focal" with a focus of 2 (Lin et al. 2017, arXiv 1708.02002).
        class_weights: "balanced" lets all classes count the same however many images they have.
        label_smoothing: Share of each label that is spread over all classes (Szegedy et al. 2016).
        standardization: What pixels are shifted and scaled by: mean and deviation of all training images of the
            "dataset", or of each "image" itself, so that its brightness and contrast, which differ between machines
            that take them, tell nothing.
        augmentation: How training images are changed, a preset of `keras_cnns.data.augmentation`.
        mixup: Alpha of MixUp, 0 for none.
        cutmix: Alpha of CutMix, 0 for none.
        patience: Epochs without a better one after which training stops.
        precision: Of the arithmetic: "float32", "mixed_bfloat16", or "auto", what is faster here, measured once.
        monitor: What the best epoch is the best in, measured on the validation images.
        keep: Whether the network of the "best" epoch is kept, or of the "last" one, which no measurement chose: its
            validation metrics are not the best of many looks.
    """

    epochs: int = free(20, IntRange(1, 100_000))
    batch_size: int = free(64, IntRange(1, 65_536))
    optimizer: str = free("adamw", Choice(("sgd", "nesterov", "adamw")))
    learning_rate: float = free(2e-3, FloatRange(1e-7, 10.0, log=True))
    schedule: str = free("cosine", Choice(("cosine", "steps", "constant")))
    warmup: float = free(0.1, FloatRange(0.0, 0.9))
    weight_decay: float = free(5e-3, FloatRange(0.0, 1.0))
    clip_norm: float | None = free(None, Maybe(FloatRange(1e-6, 1e6, log=True)))
    ema: float = free(0.0, FloatRange(0.0, 0.99999))
    loss: str = free("cross-entropy", Choice(("cross-entropy", "focal")))
    class_weights: str = free("none", Choice(("none", "balanced")))
    label_smoothing: float = free(0.0, FloatRange(0.0, 0.9))
    standardization: str = free("dataset", Choice(("dataset", "image")))
    augmentation: str = free("none", Choice(PRESETS))
    mixup: float = free(0.0, FloatRange(0.0, 10.0))
    cutmix: float = free(0.0, FloatRange(0.0, 10.0))
    patience: int | None = free(None, Maybe(IntRange(1, 100_000)))
    precision: str = free("float32", Choice(("float32", "mixed_bfloat16", "auto")))
    monitor: str = free("val_accuracy", Choice(("val_accuracy", "val_auc")))
    keep: str = free("best", Choice(("best", "last")))

    @property
    def image_augmentation(self) -> Augmentation:
        """How training images are changed and mixed."""
        return Augmentation(preset=self.augmentation, mixup=self.mixup, cutmix=self.cutmix)


SEARCH: Mapping[str, Domain] = {
    "learning_rate": FloatRange(5e-4, 1e-2, log=True),
    "weight_decay": FloatRange(1e-4, 5e-2, log=True),
}


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> Any:
    """Return the recipe's optimizer, its schedule laid over all steps of the training."""
    options: dict[str, Any] = {"weight_decay": recipe.weight_decay or None, "global_clipnorm": recipe.clip_norm}
    if recipe.ema:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    rate = learning_rate(recipe, recipe.epochs * steps_per_epoch)
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, **options)
    else:
        nesterov = recipe.optimizer == "nesterov"
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=nesterov, **options)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rate(recipe: Recipe, steps: int) -> Any:
    """Return the learning rate: a number, or a schedule over `steps`."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    schedules = keras.optimizers.schedules
    if recipe.schedule == "steps":
        rates = [recipe.learning_rate * factor for factor in (1.0, 0.1, 0.01)]
        return schedules.PiecewiseConstantDecay([max(1, round(share * steps)) for share in STEPS_DOWN], rates)
    warmup_steps = round(recipe.warmup * steps)
    return schedules.CosineDecay(
        recipe.learning_rate * (0.0 if warmup_steps else 1.0),
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=recipe.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def make_loss(recipe: Recipe, task: str) -> Any:
    """Return the loss for a task of `Dataset`; labels are shares of classes, shape (images, classes)."""
    losses, smoothing = keras.losses, recipe.label_smoothing
    if recipe.loss == "focal":
        if task == "multi-label":
            return losses.BinaryFocalCrossentropy(gamma=FOCUS, label_smoothing=smoothing)
        return losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=FOCUS, label_smoothing=smoothing)
    if task == "multi-label":
        return losses.BinaryCrossentropy(label_smoothing=smoothing)
    return losses.CategoricalCrossentropy(label_smoothing=smoothing)
