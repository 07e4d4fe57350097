"""Training recipes: everything that training needs besides the network and the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_cnns.networks.augmentations import AUGMENTATIONS
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, NoneOr, Settings, setting


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """How a network is trained.

    Attributes:
        epochs: Number of passes over the training images.
        batch_size: Images per step, over all devices.
        optimizer: "sgd" has momentum 0.9, "nesterov" Nesterov momentum 0.9; "adamw" is Adam with decoupled weight
            decay.
        learning_rate: The highest learning rate of the schedule.
        schedule: "cosine" decreases the learning rate to zero, "steps" divides it by 10 after half and after three
            quarters of the training, "constant" keeps it.
        warmup: Fraction of all steps during which the learning rate first rises linearly from zero.
        weight_decay: Weight decay per step, multiplied by the learning rate; not applied to biases and batch
            normalization.
        clip_norm: Largest global norm of the gradients; None: no clipping.
        ema: Momentum of an exponential moving average of the weights, which is evaluated and saved instead of the
            weights; 0: no average.
        loss: "cross-entropy", or "focal" with a focusing parameter of 2 (Lin et al. 2017, arXiv 1708.02002).
        class_weights: "balanced" gives all classes the same total weight regardless of their number of images.
        label_smoothing: Fraction of each label that is distributed over all classes (Szegedy et al. 2016).
        standardization: Mean and standard deviation for standardizing pixels: those of all training images
            ("dataset"), or additionally those of each image ("image"), which removes differences in brightness and
            contrast between cameras or scanners. "weights" is what the weights that training begins with were trained
            with, and applies to all trainings that begin with weights, and to no others.
        augmentation: Preset of `keras_cnns.networks.augmentations` for training images.
        mixup: Alpha of MixUp; 0: off.
        cutmix: Alpha of CutMix; 0: off.
        patience: Early stopping: epochs without improvement after which training stops; None: no early stopping.
        precision: Precision of the computation: "float32", "mixed_bfloat16", or "auto" for the faster one, which is
            measured once on this machine.
        monitor: Validation metric that selects the best epoch.
        keep: Which epoch's network is saved: the "best" one, or the "last" one, whose validation metrics are free of
            the optimism of selecting the best of many epochs.
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
    standardization: str = setting("dataset", Choice(("dataset", "image", "weights")))
    augmentation: str = setting("none", Choice(tuple(AUGMENTATIONS)))
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
