"""A small sweep, for tests of what is done with one."""

from __future__ import annotations

from typing import Any

from keras_cnns import Recipe
from keras_cnns.data import Dataset
from tuning.candidates.space import make_space
from tuning.running.plan import Plan


def plan(digits: Dataset, **changes: Any) -> Plan:
    space = make_space("densenet", recipe=Recipe(epochs=2), space={"growth_rate": "4..8"}, image_shape=(8, 8, 1))
    chosen = {"trials": 5, "seed": 7, "scheduler": "none", "search": "random", "cost": None, "repeats": 2}
    return Plan(**{"space": space, "dataset": digits, **chosen, **changes})
