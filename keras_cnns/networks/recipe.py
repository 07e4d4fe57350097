"""All that training needs beside the network and the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, NoneOr, Settings, setting

AUGMENTATIONS = ("none", "light", "standard", "medical", "randaugment")


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

    epochs: int = setting(20, IntRange(1, 100_000))
    batch_size: int = setting(64, IntRange(1, 65_536))
    optimizer: str = setting("adamw", Choice(("sgd", "nesterov", "adamw")))
    learning_rate: float = setting(2e-3, FloatRange(1e-7, 10.0, log=True))
    schedule: str = setting("cosine", Choice(("cosine", "steps", "constant")))
    warmup: float = setting(0.1, FloatRange(0.0, 0.9))
    weight_decay: float = setting(5e-3, FloatRange(0.0, 1.0))
    clip_norm: float | None = setting(None, NoneOr(FloatRange(1e-6, 1e6, log=True)))
    ema: float = setting(0.0, FloatRange(0.0, 0.99999))
    loss: str = setting("cross-entropy", Choice(("cross-entropy", "focal")))
    class_weights: str = setting("none", Choice(("none", "balanced")))
    label_smoothing: float = setting(0.0, FloatRange(0.0, 0.9))
    standardization: str = setting("dataset", Choice(("dataset", "image")))
    augmentation: str = setting("none", Choice(AUGMENTATIONS))
    mixup: float = setting(0.0, FloatRange(0.0, 10.0))
    cutmix: float = setting(0.0, FloatRange(0.0, 10.0))
    patience: int | None = setting(None, NoneOr(IntRange(1, 100_000)))
    precision: str = setting("float32", Choice(("float32", "mixed_bfloat16", "auto")))
    monitor: str = setting("val_accuracy", Choice(("val_accuracy", "val_auc")))
    keep: str = setting("best", Choice(("best", "last")))


SEARCH: Mapping[str, Domain] = {
    "learning_rate": FloatRange(5e-4, 1e-2, log=True),
    "weight_decay": FloatRange(1e-4, 5e-2, log=True),
}
