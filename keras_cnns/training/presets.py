"""Recipes by name: the papers', and one that is what we would use ourselves."""

from __future__ import annotations

from collections.abc import Mapping

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.recipe import Recipe

# Chosen by cross-validation, as docs/training.md shows.
MODERN = Recipe(
    epochs=40,
    learning_rate=3e-3,
    weight_decay=0.05,
    ema=0.98,
    label_smoothing=0.1,
    standardization="image",
    augmentation="medical",
    monitor="val_auc",
    keep="last",
)

# What the papers, or where they are silent their authors' code, say for the smaller images they train on. Keras decays
# weights apart from the gradient, and we leave biases and batch norm out; "steps" are at 1/2 and 3/4 of the training.
PAPERS: Mapping[str, Recipe] = {
    # Krizhevsky et al. 2012, section 5: batches of 128, momentum 0.9, decay 5e-4, rate 0.01 divided by 10 three times
    # as validation stopped improving, about 90 epochs. Here divided twice.
    "alexnet": Recipe(
        epochs=90,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.01,
        schedule="steps",
        weight_decay=5e-4,
        augmentation="standard",
    ),
    # Simonyan and Zisserman 2015, section 3.1: batches of 256, momentum 0.9, decay 5e-4, 74 epochs, rate 0.01 divided
    # by 10 three times as validation stopped improving. Here divided twice.
    "vgg": Recipe(
        epochs=74,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.01,
        schedule="steps",
        weight_decay=5e-4,
        augmentation="standard",
    ),
    # He et al. 2016, section 4.2: 64,000 iterations of 128 of CIFAR-10's 45,000 images, rate 0.1 divided by 10 at
    # 32,000 and 48,000.
    "resnet": Recipe(
        epochs=182,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="steps",
        weight_decay=1e-4,
        augmentation="standard",
    ),
    # Huang et al. 2017, section 4.2, for CIFAR: Nesterov momentum, rate 0.1 divided by 10 at 1/2 and 3/4 of 300 epochs.
    "densenet": Recipe(
        epochs=300,
        batch_size=64,
        optimizer="nesterov",
        learning_rate=0.1,
        schedule="steps",
        weight_decay=1e-4,
        augmentation="standard",
    ),
}
PRESETS = ("plain", "modern", "paper")


def preset(name: str, family: str) -> Recipe:
    """Return a recipe by name.

    Args:
        name: "plain" is `Recipe()`; "modern" what we would use ourselves; "paper" what the family's paper trains with.
        family: The family of the network.

    Raises:
        SettingError: There is no such recipe, or the paper's cannot be followed.
    """
    if name == "paper" and family in PAPERS:
        return PAPERS[family]
    if name == "paper":
        raise SettingError(
            f"there is no recipe of the paper for {family}: it gives too little, or an optimizer that Keras has not. "
            f"Those of {', '.join(PAPERS)} are there, and the recipe modern for all."
        )
    if name not in PRESETS:
        raise SettingError(f"there is no recipe {name!r}: choose {', '.join(PRESETS)}.{nearest(name, PRESETS)}")
    return MODERN if name == "modern" else Recipe()
