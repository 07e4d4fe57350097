"""Training recipes by name."""

from __future__ import annotations

from collections.abc import Mapping

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.family import Family
from keras_cnns.networks.recipe import FEATURES, PROBE, RECIPE_NAMES, Recipe

# Chosen by cross-validation; see docs/training.md.
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
# Learning rate and `layer_decay` were chosen by cross-validation; see docs/transfer.md. The rest follows the literature
# (BEiT; Kumar et al. 2022, arXiv 2202.10054).
FINETUNE = Recipe(
    epochs=12,
    learning_rate=1e-4,
    weight_decay=0.05,
    layer_decay=0.7,
    batch_norm_statistics="frozen",
    head=PROBE,
    label_smoothing=0.1,
    augmentation="medical",
    monitor="val_auc",
    keep="last",
)
LINEAR_PROBE = Recipe(epochs=0, head=PROBE, freeze=FEATURES, monitor="val_auc", keep="last")
RECIPES: Mapping[str, Recipe] = {"plain": Recipe(), "modern": MODERN, "finetune": FINETUNE, PROBE: LINEAR_PROBE}
NEED_WEIGHTS = ("finetune", PROBE)
"""Recipes for trainings that begin with weights: with random ones, the features that they rely on do not exist."""


def get_recipe(name: str, family: Family, *, with_weights: bool = False) -> Recipe:
    """Return a training recipe by name.

    Args:
        name: "plain" for `Recipe()`, "modern" for the recommended recipe, "paper" for the recipe of the family's paper;
            for trainings that begin with weights, "finetune" for the recommended recipe, and "probe" for a linear probe
            without any training.
        family: The network's family.
        with_weights: Whether training begins with weights.

    Raises:
        SettingError: The name is unknown, the family has no recipe of its paper, or there are no weights.
    """
    if name not in RECIPE_NAMES:
        hint = nearest(name, RECIPE_NAMES)
        raise SettingError(f"there is no recipe {name!r}: choose {', '.join(RECIPE_NAMES)}.{hint}")
    if name in NEED_WEIGHTS and not with_weights:
        raise SettingError(
            f"recipe {name!r} is for trainings that begin with weights; name them with --weights (weights), such as "
            f"imagenet."
        )
    if name in RECIPES:
        return RECIPES[name]
    recipe = family.paper_recipe
    if isinstance(recipe, str):
        raise SettingError(f"{family.name} has no recipe 'paper': {recipe}; use 'modern' (--recipe modern) instead.")
    return recipe
