"""What a sweep does, and what makes two sweeps the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from keras_cnns.data import Dataset
from keras_cnns.networks.settings import format_value
from tuning.candidates.space import Space
from tuning.running.cluster import Machines


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep does; two sweeps with equal plans try the same candidates.

    Attributes:
        space: What may be tried.
        dataset: The images.
        trials: How many candidates are tried.
        seed: Draws the candidates, and trains them.
        scheduler: Who stops trials early.
        search: Who proposes candidates.
        cost: The cost that is searched for together with the score, if any.
        repeats: With how many other seeds the finalists are trained again; None for not at all.
        register: What the refitted winner is registered as; None where nothing is refitted.
        machines: What it runs on.
    """

    space: Space
    dataset: Dataset
    trials: int
    seed: int
    scheduler: str
    search: str
    cost: str | None
    repeats: int | None = None
    register: str | None = None
    machines: Machines = field(default_factory=Machines)

    @property
    def name(self) -> str:
        """What the sweep is over."""
        return self.space.name

    def identity(self) -> dict[str, Any]:
        """Write what a resumed sweep must have in common with the one that was begun, the seed apart."""
        return {
            "name": self.name,
            "settings": {
                model: branch.settings.to_strings()
                | {name: format_value(value) for name, value in branch.fixed.items()}
                for model, branch in self.space.branches.items()
            },
            "recipe": self.space.recipe.to_strings(),
            "searched": {name: repr(domain) for name, domain in sorted(self.space.searched().items())},
            "limits": vars(self.space.limits),
            "search": self.search,
            "cost": self.cost,
            "data": self.dataset.fingerprint,
            "storage": self.machines.storage,
            "trials": self.trials,
            "scheduler": self.scheduler,
            "repeats": self.repeats,
            "register": self.register,
        }
