"""What a run holds, before it trains and as it is given back.

Names in MLflow:

    params   model, family, seed, settings.NAME, recipe.NAME
    tags     data.name, data.fingerprint, versions.PACKAGE, git.dirty, reason (why it failed), and MLflow's own;
             in a sweep: sweep, trial, role ("search", "repeat" or "refit"), repeat_of (the trial that a repeat trains
             again), chosen_by.SWEEP ("true" for its best), trained_on ("train and validation" for a refit)
    metrics  parameters, trainable_parameters, macs; at each epoch its metrics, and `epochs`, how many are done;
             best_NAME and best_epoch for the network that was kept; threshold and temperature, which its predictions
             of the validation images settle (keras_cnns.evaluation.calibration), each where there is one, and
             threshold_0, threshold_1, ... of several labels;
             SPLIT_NAME, SPLIT_NAME_low and SPLIT_NAME_high of an evaluation, SPLIT_by_COLUMN_VALUE_NAME of
             subgroups, SPLIT_label_LABEL_NAME of labels; external_... on other images than the run's own;
             ensemble_... of several runs, with the first, and ensemble_KEY_threshold and _temperature with each;
             looked_at.FINGERPRINT, a point for every look at a test split, the time its value
    inputs   the images, by name and fingerprint
    files    model, a logged model, with class_names in its metadata; splits.csv, who was in which split;
             evaluation/... and ensemble/..., the reports
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from keras_cnns.errors import StoreError

Value = TypeVar("Value")
SHORT, LABELLED, LISTED = 8, 6, 5
CHOSEN_BY, TRAINED_ON = "chosen_by.", "trained_on"
TRAIN_AND_VALIDATION = "train and validation"
VERSIONED = ("tensorflow", "keras", "ray", "mlflow", "keras-cnns")


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What is known of a run before it trains.

    Attributes:
        name: What the run is called.
        model: The variant's name.
        family: The family's name.
        settings: The family's settings.
        recipe: How it is trained.
        seed: Seed of first weights, order of images and dropout.
        data_name: What the images are called.
        data_fingerprint: What tells these images from all others.
        parameters: Weights of the network, where they are known yet.
        trainable_parameters: Those that training changes.
        macs: Multiply-accumulates for one image.
        tags: Whatever else the run is found again by.
    """

    name: str
    model: str
    family: str
    settings: Mapping[str, object]
    recipe: Mapping[str, object]
    seed: int
    data_name: str
    data_fingerprint: str
    parameters: int | None = None
    trainable_parameters: int | None = None
    macs: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def params(self) -> dict[str, str]:
        """Return what MLflow calls params."""
        return {
            "model": self.model,
            "family": self.family,
            "seed": str(self.seed),
            **{f"settings.{name}": str(value) for name, value in self.settings.items()},
            **{f"recipe.{name}": str(value) for name, value in self.recipe.items()},
        }

    def metrics(self) -> dict[str, float]:
        """Return what is measured before training."""
        costs = {
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "macs": self.macs,
        }
        return {name: float(value) for name, value in costs.items() if value is not None}

    def images(self) -> DatasetInput:
        """Return what MLflow calls a dataset, so that its pages lead from a run to its images and back."""
        dataset = MlflowDataset(
            name=self.data_name, digest=self.data_fingerprint, source_type="local", source=self.data_name
        )
        return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])

    def all_tags(self) -> dict[str, str]:
        """Return the tags, those of the data and a short description among them."""
        return {
            **self.tags,
            "data.name": self.data_name,
            "data.fingerprint": self.data_fingerprint,
            "mlflow.note.content": f"{self.model} on {self.data_name}, seed {self.seed}",
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as the store gives it back.

    Attributes:
        id: MLflow's id.
        name: What it is called.
        experiment: Name of its experiment.
        status: "finished", "running" or "failed".
        reason: Why it failed, or "".
        model: The variant's name.
        family: The family's name.
        settings: The family's settings, as they are written on a command line.
        recipe: How it is trained, as it is written on a command line.
        metrics: The last value of each metric, but of those that the kept network has (best_NAME) its own.
        seed: Its seed, where it has one.
        data_name: What the images are called.
        data_fingerprint: What tells these images from all others.
        parent: Id of the sweep's run that it belongs to.
        tags: All its tags.
        started: When it began.
    """

    id: str
    name: str
    experiment: str
    status: str
    reason: str
    model: str
    family: str
    settings: dict[str, str]
    recipe: dict[str, str]
    metrics: dict[str, float]
    seed: int | None
    data_name: str
    data_fingerprint: str
    parent: str | None
    tags: dict[str, str]
    started: datetime

    @property
    def label(self) -> str:
        """What tells it from others of its name in a picture: the name and the beginning of its id."""
        return f"{self.name} ({self.id[:LABELLED]})"

    @property
    def knows_validation(self) -> bool:
        """It was trained on the validation images of its data too, as the refit of a sweep's winner is."""
        return self.tags.get(TRAINED_ON) == TRAIN_AND_VALIDATION


@dataclass(frozen=True, kw_only=True)
class KeptNetwork:
    """A network as the store gives it back.

    Attributes:
        file: The file, which `keras.saving.load_model` reads.
        class_names: What its outputs stand for; empty where the run does not say.
    """

    file: Path
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """How often a test split was looked at.

    Attributes:
        by_run: By one run, this look included.
        by_all: By all runs of the store, deleted ones too.
        runs: How many runs those are.
    """

    by_run: int
    by_all: int
    runs: int


def chosen(reference: str, runs: Sequence[Run], location: str) -> Run:
    """Return the run with this id, this beginning of its id or, where only one has it, this name.

    Raises:
        StoreError: There is none, or more than one.
    """
    found = [run for run in runs if run.name == reference or (reference and run.id.startswith(reference))]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{run.id[:SHORT]} ({run.name})" for run in (found or runs)[:LISTED])
    more = f" and {len(found or runs) - LISTED} more" if len(found or runs) > LISTED else ""
    if found:
        raise StoreError(f"{reference!r} is {len(found)} runs in {location}: name one by its id, {listed}{more}.")
    if not runs:
        raise StoreError(f"no run {reference!r} in {location}, nor any other: `keras-cnns train` makes some.")
    raise StoreError(f"no run {reference!r} in {location}; the newest are {listed}{more}.")


def monitored(run: Run) -> str:
    """Return the metric that a run's best epoch is the best in."""
    return run.recipe.get("monitor", "val_accuracy")


def sweep_of(reference: str, runs: Sequence[Run]) -> str | None:
    """Return the id of the sweep that is meant, by its id or the beginning of it; None where a run or none is."""
    if not reference or any(run.name == reference or run.id.startswith(reference) for run in runs):
        return None
    sweeps = {sweep for run in runs for sweep in (run.parent, *below(CHOSEN_BY, run.tags)) if sweep}
    found = [sweep for sweep in sweeps if sweep.startswith(reference)]
    return found[0] if len(found) == 1 else None


def best_trial(sweep: str, runs: Sequence[Run]) -> Run | None:
    """Return the run that a sweep has chosen, be it read back from another; else its best trial in what it monitors."""
    chosen_ones = [run for run in runs if run.tags.get(f"{CHOSEN_BY}{sweep}") == "true"]
    trials = [run for run in runs if run.parent == sweep]
    ended = [run for run in trials if run.status == "finished" and monitored(run) in run.metrics]
    return max(chosen_ones or ended, key=lambda run: run.metrics.get(monitored(run), 0.0), default=None)


def below(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values whose names start with `prefix`, by what follows it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def provenance() -> dict[str, str]:
    """Return tags of the software that makes a run: versions, and the commit where one is checked out here."""
    tags = {"versions.python": platform.python_version()}
    for package in VERSIONED:
        installed = installed_version(package)
        if installed:
            tags[f"versions.{package.replace('-', '_')}"] = installed
    commit = git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["git.dirty"] = "true" if git("status", "--porcelain") else "false"
    return tags


def installed_version(package: str) -> str:
    """Return the version of an installed package, or ""."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def git(*arguments: str) -> str:
    """Return what git prints in the working directory, or "" where it fails or is missing."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
