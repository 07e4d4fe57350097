"""Training recipes by name."""

from __future__ import annotations

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.family import Family
from keras_cnns.networks.recipe import Recipe

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
NAMES = ("plain", "modern", "paper")


def get_recipe(name: str, family: Family) -> Recipe:
    """Return a training recipe by name.

    Args:
        name: "plain" for `Recipe()`, "modern" for the recommended recipe, "paper" for the recipe of the family's paper.
        family: The network's family.

    Raises:
        SettingError: The name is unknown, or the family has no recipe of its paper.
    """
    if name not in NAMES:
        raise SettingError(f"there is no recipe {name!r}: choose {', '.join(NAMES)}.{nearest(name, NAMES)}")
    if name != "paper":
        return MODERN if name == "modern" else Recipe()
    recipe = family.paper_recipe
    if isinstance(recipe, str):
        raise SettingError(f"{family.name} has no recipe 'paper': {recipe}; use 'modern' (--recipe modern) instead.")
    return recipe
