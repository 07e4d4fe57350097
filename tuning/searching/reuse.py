"""Trainings that need not be done again, for a run in MLflow has done the very same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import monitored
from tuning.candidates.space import Candidate
from tuning.running.journal import COSTS

Key = tuple[str, frozenset[tuple[str, str]], frozenset[tuple[str, str]], int]


@dataclass(frozen=True, kw_only=True)
class KnownTraining:
    """What is known of a training.

    Attributes:
        run: Its run.
        curve: The metrics of each epoch.
        costs: What the network costs.
    """

    run: str
    curve: list[dict[str, float]]
    costs: dict[str, float]


class ReusableResults:
    """The finished runs of a store on the same images, made by this version, by what was trained.

    Runs that a scheduler stopped early are not among them: another sweep may want them whole.

    Args:
        store: The store.
        fingerprint: What tells the images, and who is in which split, from all others.
    """

    def __init__(self, store: Store, fingerprint: str) -> None:
        self.store = store
        self.runs = {
            key_of(run): run
            for run in store.done_before(fingerprint)
            if run.seed is not None and f"best_{monitored(run)}" in run.metrics
        }

    def find(self, candidate: Candidate, family: str, seed: int) -> KnownTraining | None:
        """Return what is known of a candidate's training with a seed, or None where it has to be done."""
        run = self.runs.get(key(family, candidate.settings.to_strings(), candidate.recipe.to_strings(), seed))
        if run is None:
            return None
        curves = self.store.curves(run.id)
        epochs = range(1, int(run.metrics["epochs"]) + 1)
        by_epoch = {name: dict(curve) for name, curve in curves.items()}
        curve = [{name: values[epoch] for name, values in by_epoch.items() if epoch in values} for epoch in epochs]
        costs = {name: run.metrics[name] for name in COSTS if name in run.metrics}
        return KnownTraining(run=run.id, curve=curve, costs=costs)


def key_of(run: Run) -> Key:
    """Return what tells a run's training from all others on the same images."""
    return key(run.family, run.settings, run.recipe, run.seed or 0)


def key(family: str, settings: Mapping[str, Any], recipe: Mapping[str, Any], seed: int) -> Key:
    """Return what tells a training from all others on the same images."""
    return family, as_written(settings), as_written(recipe), seed


def as_written(values: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return values as MLflow has them."""
    return frozenset((name, str(value)) for name, value in values.items())
