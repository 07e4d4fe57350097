"""The configuration of a small sweep, for tests."""

from __future__ import annotations

from typing import Any

from keras_cnns import Recipe
from keras_cnns.data import Dataset
from tuning.candidates.space import make_space
from tuning.running.sweep_run import SweepConfig


def make_config(digits: Dataset, **changes: Any) -> SweepConfig:
    space = make_space("densenet", recipe=Recipe(epochs=2), space={"growth_rate": "4..8"}, image_shape=(8, 8, 1))
    options = {"trials": 5, "seed": 7, "scheduler": "none", "search": "random", "cost": None, "repeats": 2}
    return SweepConfig(**{"space": space, "dataset": digits, **options, **changes})
