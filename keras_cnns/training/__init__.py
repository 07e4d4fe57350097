"""Training: recipes, devices, checkpoints, and runs that can be resumed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_cnns.networks.recipe import Recipe

if TYPE_CHECKING:
    from keras_cnns.training.run import TrainedRun, train

__all__ = ["Recipe", "TrainedRun", "train"]


def __getattr__(name: str) -> Any:
    """Import what needs a backend when it is first asked for: a recipe needs none."""
    if name in ("TrainedRun", "train"):
        return getattr(importlib.import_module("keras_cnns.training.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
