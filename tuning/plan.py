"""What a sweep does, and what makes two sweeps the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.data import Dataset
from keras_cnns.settings import format_value
from tuning.space import Space


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep does; two sweeps with equal plans try the same candidates."""

    space: Space
    dataset: Dataset
    trials: int
    seed: int
    scheduler: str
    search: str
    against: str | None

    @property
    def name(self) -> str:
        """What the sweep is over."""
        return self.space.name

    def identity(self) -> dict[str, Any]:
        """Write what a resumed sweep must have in common with the one that was begun, the seed apart."""
        return {
            "name": self.name,
            "settings": {
                model: branch.settings.written() | {name: format_value(value) for name, value in branch.fixed.items()}
                for model, branch in self.space.branches.items()
            },
            "recipe": self.space.recipe.written(),
            "searched": {name: repr(domain) for name, domain in sorted(self.space.searched().items())},
            "limits": vars(self.space.limits),
            "search": self.search,
            "against": self.against,
            "data": self.dataset.fingerprint,
            "trials": self.trials,
            "scheduler": self.scheduler,
        }
