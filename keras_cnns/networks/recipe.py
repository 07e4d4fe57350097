"""Training recipes: everything that training needs besides the network and the data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from keras_cnns.errors import SettingError
from keras_cnns.networks.augmentations import AUGMENTATIONS
from keras_cnns.networks.settings import (
    Choice,
    Domain,
    FloatRange,
    IntRange,
    Name,
    NoneOr,
    Settings,
    TupleOf,
    format_value,
    setting,
)

EPOCHS = IntRange(0, 100_000)
NOTHING, FEATURES = "none", "features"
"""Values of `freeze` that are not the name of a block."""
PROBE = "probe"
FINE_TUNING = ("freeze", "unfreeze_at", "layer_decay", "head_rate", "batch_norm_statistics", "head")
"""The fields that treat the blocks of a network differently, or initialise its head."""
RECIPE_NAMES = ("plain", "modern", "paper", "finetune", PROBE)
"""The names of recipes, see `keras_cnns.training.presets`."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """How a network is trained.

    Attributes:
        epochs: Number of passes over the training images. 0 trains nothing but the classifier of `head="probe"`.
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
        freeze: What is not trained: "none"; "features", all but the head; or the name of a block, such as stage2, with
            everything before it. A block is a group of layers whose names are equal up to the first underscore. The
            head is the classifier, auxiliary classifiers, and layers that keep their initial values when training
            begins with weights. Frozen batch norm uses its moving statistics, which do not change.
        unfreeze_at: Gradual unfreezing (Howard and Ruder 2018, arXiv 1801.06146): after each of these epochs one more
            frozen block is trained, the last one first, and after the last of these epochs all of them.
        layer_decay: Layer-wise learning rates, as in BEiT (Bao et al. 2022, arXiv 2106.08254): the learning rate of a
            block is multiplied by `layer_decay ** distance`, where the distance of the last block before the head is 1,
            that of the block before it 2. Weight decay decreases with it.
        head_rate: Factor of the learning rate of the head.
        batch_norm_statistics: "updated", or "frozen" for the moving statistics, with which training begins, instead of
            those of the batch. Scale and offset of batch norm are trained in both cases.
        head: How the classifier is initialised: "random", or "probe" for a logistic regression on the features of the
            training images, whose strength of L2 regularisation is chosen by cross-validation among them.
    """

    epochs: int = setting(20, EPOCHS)
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
    freeze: str = setting(NOTHING, Name((NOTHING, FEATURES), "the name of a block of the network"))
    unfreeze_at: tuple[int, ...] | None = setting(None, NoneOr(TupleOf(IntRange(1, 100_000), max_length=64)))
    layer_decay: float = setting(1.0, FloatRange(0.01, 1.0))
    head_rate: float = setting(1.0, FloatRange(0.001, 1000.0, log=True))
    batch_norm_statistics: str = setting("updated", Choice(("updated", "frozen")))
    head: str = setting("random", Choice(("random", PROBE)))

    def check_together(self) -> None:
        """Raise a `SettingError` if there is nothing to train, or unfreezing does not fit the frozen blocks."""
        if self.epochs == 0 and self.head != PROBE:
            raise SettingError(f"epochs=0 is for head={PROBE}, which fits the classifier; use at least 1 epoch.")
        if self.unfreeze_at is None:
            return
        listed = f"unfreeze_at={format_value(self.unfreeze_at)}"
        if self.freeze == NOTHING:
            raise SettingError(f"{listed} needs frozen blocks; name them with freeze, such as freeze={FEATURES}.")
        if any(one >= other for one, other in itertools.pairwise((*self.unfreeze_at, self.epochs))):
            raise SettingError(f"{listed} must be increasing, and below epochs, which is {self.epochs}.")

    @property
    def recorded_epochs(self) -> int:
        """The number of epochs that a run records: at least one, which validates a probe without epochs."""
        return max(1, self.epochs)

    @property
    def is_fine_tuning(self) -> bool:
        """Whether blocks of the network are treated differently, or the head is initialised by a probe."""
        return any(getattr(self, field.name) != field.default for field in fields(self) if field.name in FINE_TUNING)

    def for_refit(self, epochs: int) -> Self:
        """Return the recipe for a training without validation images, for the number of epochs that was best with them.

        A probe without epochs remains one. The epochs at which blocks are unfrozen are scaled like the learning rate
        schedule.
        """
        epochs = min(epochs, self.epochs)
        scaled = sorted({max(1, round(epoch * epochs / self.epochs)) for epoch in self.unfreeze_at or ()})
        unfreeze_at = tuple(epoch for epoch in scaled if epoch < epochs) or None
        return self.replace({"epochs": epochs, "keep": "last", "patience": None, "unfreeze_at": unfreeze_at})


SEARCH: Mapping[str, Domain] = {
    "learning_rate": FloatRange(5e-4, 1e-2, log=True),
    "weight_decay": FloatRange(1e-4, 5e-2, log=True),
}
