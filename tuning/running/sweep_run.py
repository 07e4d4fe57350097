"""The configuration of a sweep, and a running sweep with its folder and its runs in MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_cnns.data import Dataset
from keras_cnns.errors import ResumeError
from keras_cnns.networks.baselines.code import CODE, Code
from keras_cnns.networks.settings import format_value
from keras_cnns.tracking import RunDescription, Store
from tuning.candidates.space import Candidate, Space
from tuning.running.cluster import ClusterConfig
from tuning.running.journal import Journal, TrialState

FINALISTS = 3


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """The configuration of a sweep; sweeps with equal configurations try the same candidates.

    Attributes:
        space: The search space.
        dataset: The images.
        trials: Number of trials of the search.
        register: Name of the refit in the model registry; None for no refit.
        cluster: The machines that the sweep runs on.

    The other attributes are arguments of `tuning.sweep`.
    """

    space: Space
    dataset: Dataset
    trials: int
    seed: int
    scheduler: str
    search: str
    cost: str | None
    repeats: int | None = None
    folds: int | None = None
    register: str | None = None
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    @property
    def monitor(self) -> str:
        """The metric that trials are compared by."""
        return str(self.space.recipe.monitor)

    @property
    def code(self) -> Code | None:
        """The user's file that defines the network, if there is one."""
        return next((branch.family.code for branch in self.space.branches.values()), None)

    @property
    def total_trials(self) -> int:
        """The number of trials of the search and, at most, of repeats."""
        return self.trials + FINALISTS * (self.repeats or 0)

    def to_tags(self) -> dict[str, str]:
        """Return the tags of the sweep and of its trials about the weights and the code of the networks."""
        described = [found for found in (self.space.weights, self.code) if found is not None]
        return {name: value for found in described for name, value in found.to_tags().items()}

    def identity(self) -> dict[str, Any]:
        """Return everything that a resumed sweep must share with the original one, apart from the seed, for JSON."""
        return {
            "name": self.space.name,
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
            "storage": self.cluster.storage,
            "trials": self.trials,
            "scheduler": self.scheduler,
            "repeats": self.repeats,
            "folds": self.folds,
            "register": self.register,
            **({} if self.space.weights is None else {"weights": self.space.weights.describe()}),
            **({} if self.code is None else {CODE: self.code.sha256}),
        }


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """A running sweep.

    Attributes:
        config: What the sweep does.
        folder: Folder of its journal and checkpoints.
        store: The MLflow store.
        experiment: Name of the MLflow experiment.
        run_id: The sweep's own run in MLflow, the parent of the runs of its trials.
    """

    config: SweepConfig
    folder: Path
    store: Store
    experiment: str
    run_id: str

    @property
    def journal(self) -> Journal:
        """The journal of the sweep."""
        return Journal(self.folder / "journal.jsonl")

    @property
    def label(self) -> str:
        """Four letters that distinguish the names of the sweep's runs from those of other sweeps."""
        return self.folder.name[-4:]

    def candidate(self, state: TrialState) -> Candidate:
        """Return the candidate of a trial.

        Raises:
            ResumeError: The values in the journal contradict each other.
        """
        candidate = self.config.space.make_candidate(state.candidate)
        if candidate is None:
            raise ResumeError(f"trial {state.number} in the journal has values that contradict each other.")
        return candidate

    def seed(self, state: TrialState) -> int:
        """Return the seed of a trial."""
        return self.config.seed if state.seed is None else state.seed

    def describe_trial(self, state: TrialState) -> RunDescription:
        """Return what is known about a trial before it trains."""
        config, candidate, seed = self.config, self.candidate(state), self.seed(state)
        name = f"trial-{self.label}-{state.number:04d}"
        tags = {"sweep": self.run_id, "trial": str(state.number), "role": state.role}
        if state.repeat_of is not None:
            name = f"repeat-{self.label}-{state.repeat_of:04d}-{(seed - config.seed) % 2**32}"
            tags["repeat_of"] = str(state.repeat_of)
        return RunDescription(
            name=name,
            model=candidate.model,
            family=config.space.branches[candidate.model].family.name,
            settings=candidate.settings.to_strings(),
            recipe=candidate.recipe.to_strings(),
            seed=seed,
            data_name=config.dataset.name,
            data_fingerprint=config.dataset.fingerprint,
            tags={**tags, **config.to_tags()},
        )


def start_sweep(config: SweepConfig, store: Store, experiment: str, folder: Path) -> str:
    """Start the run of a sweep in MLflow, or continue it if it has been started, and return its id."""
    name = config.space.name
    settings = {"model": name, "trials": config.trials, "seed": config.seed, "scheduler": config.scheduler}
    limits = {f"max_{name}": limit for name, limit in vars(config.space.limits).items() if limit is not None}
    goals = {"search": config.search, **({"cost": config.cost} if config.cost else {}), **limits}
    searched = {f"searched.{name}": str(domain) for name, domain in config.space.searched().items()}
    tags = {"data.name": config.dataset.name, "data.fingerprint": config.dataset.fingerprint}
    return store.start_group(
        f"sweep-{name}",
        experiment=experiment,
        params={**settings, **goals, **searched},
        tags={"folder": folder.name, **tags, **config.to_tags()},
    )
