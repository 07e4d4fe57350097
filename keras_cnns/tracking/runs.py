"""Runs before training and as read from the store.

Names in MLflow:

    params   model, family, seed, settings.NAME, recipe.NAME
    tags     data.name, data.fingerprint, versions.PACKAGE, git.dirty, reason (of a failure), and MLflow's own;
             hardware.processor, hardware.cores, hardware.memory and hardware.devices, where the run was trained;
             in a sweep: sweep, trial, role ("search", "repeat" or "refit"), repeat_of (the trial that a repeat trains
             again), chosen_by.SWEEP ("true" for its best), trained_on ("train and validation" for a refit);
             in a cross-validation: cross_validation (its run), cross_validation.name, fold (its number), folds (their
             number), fold.value (the value that was left out), trained_on, and cross_validation.complete ("true")
    metrics  parameters, trainable_parameters, macs; the metrics of each epoch, and `epochs`, the number of finished
             epochs; best_NAME and best_epoch of the saved network; its threshold and temperature, if they can be
             determined from the validation images (keras_cnns.evaluation.calibration), and threshold_0,
             threshold_1, ... for multi-label data; false_alarm_rate, with _low and _high, of the detector of images
             that are out of distribution;
             SPLIT_NAME, SPLIT_NAME_low and SPLIT_NAME_high of an evaluation, SPLIT_by_COLUMN_VALUE_NAME of
             subgroups, SPLIT_label_LABEL_NAME of labels; external_... for other images than the run's own;
             ensemble_... of several runs, in the first;
             test_set_evaluations.FINGERPRINT, one point per evaluation on a test set, with the time as its value
    inputs   the images, by name and fingerprint
    files    model, a logged model, with class_names and counts of images in its metadata; splits.csv, the split of
             each image; validation_predictions.csv, the cases of the validation images; reference/..., the features and
             hashes of the training images;
             evaluation/... and ensemble/..., the reports
"""

from __future__ import annotations

import functools
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any, TypeVar

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from keras_cnns.errors import StoreError

Value = TypeVar("Value")
ID_LENGTH, LABEL_ID_LENGTH, MAX_LISTED_RUNS = 8, 6, 5
PARENT, REASON, FINGERPRINT = "mlflow.parentRunId", "reason", "data.fingerprint"
CHOSEN_BY, TRAINED_ON, TEST_SET_EVALUATIONS = "chosen_by.", "trained_on", "test_set_evaluations."
TRAIN_AND_VALIDATION = "train and validation"
WEIGHTS = "weights"
"""The tag with the weights that training began with; `weights.NAME` says more about them."""
CROSS_VALIDATION, CROSS_VALIDATION_NAME, COMPLETE = (
    "cross_validation", "cross_validation.name", "cross_validation.complete",
)  # fmt: skip
FOLD, FOLDS = "fold", "folds"
VERSIONED_PACKAGES = ("tensorflow", "keras", "ray", "mlflow", "keras-cnns")


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What is known about a run before it trains.

    Attributes:
        name: The name of the run.
        model: The name of the variant.
        family: The name of the family.
        settings: The settings of the network.
        recipe: The training recipe.
        seed: Seed of the weight initialization, the order of the images and dropout.
        data_name: The name of the dataset.
        data_fingerprint: The fingerprint of the dataset.
        parameters: The number of weights, if known.
        trainable_parameters: The number of trainable weights, if known.
        macs: Multiply-accumulate operations per image, if known.
        tags: Further tags, which identify the run if it is started again.
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
        """Return the MLflow parameters."""
        return {
            "model": self.model,
            "family": self.family,
            "seed": str(self.seed),
            **{f"settings.{name}": str(value) for name, value in self.settings.items()},
            **{f"recipe.{name}": str(value) for name, value in self.recipe.items()},
        }

    def metrics(self) -> dict[str, float]:
        """Return the metrics that are known before training."""
        costs = {name: getattr(self, name) for name in ("parameters", "trainable_parameters", "macs")}
        return {name: float(value) for name, value in costs.items() if value is not None}

    def dataset_input(self) -> DatasetInput:
        """Return the dataset as an MLflow input, which links runs and datasets in MLflow's pages."""
        dataset = MlflowDataset(
            name=self.data_name, digest=self.data_fingerprint, source_type="local", source=self.data_name
        )
        return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])

    def all_tags(self) -> dict[str, str]:
        """Return the tags, including those of the dataset and a short description."""
        return {
            **self.tags,
            "data.name": self.data_name,
            FINGERPRINT: self.data_fingerprint,
            "mlflow.note.content": f"{self.model} on {self.data_name}, seed {self.seed}",
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as read from the store.

    Attributes:
        id: MLflow's ID.
        name: The name of the run.
        experiment: The name of its experiment.
        status: "finished", "running" or "failed".
        reason: The reason of a failure, or "".
        model: The name of the variant.
        family: The name of the family.
        settings: The settings of the network, as on a command line.
        recipe: The training recipe, as on a command line.
        metrics: The last value of each metric; validation metrics are those of the saved network (best_NAME).
        seed: The seed, if recorded.
        data_name: The name of the dataset.
        data_fingerprint: The fingerprint of the dataset.
        parent: The ID of the sweep's run, in a sweep.
        tags: All tags.
        started: The start time.
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
        """The name and the beginning of the ID, to distinguish runs of equal names in plots."""
        return f"{self.name} ({self.id[:LABEL_ID_LENGTH]})"

    @property
    def trained_on_validation(self) -> bool:
        """Whether the run was trained on validation images too, as the refit of a sweep's winner and folds are."""
        return self.tags.get(TRAINED_ON) == TRAIN_AND_VALIDATION

    @property
    def cross_validation(self) -> str:
        """The ID of the cross-validation whose fold this run trained; "" for other runs."""
        return self.tags.get(CROSS_VALIDATION, "")


@dataclass(frozen=True, kw_only=True)
class StoredNetwork:
    """A network that was saved in a run.

    Attributes:
        file: A file for `keras.saving.load_model`.
        metadata: What was saved with it, such as the `class_names` of its outputs.
    """

    file: Path
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvaluationCounts:
    """The number of evaluations on a test set.

    Attributes:
        by_run: Evaluations of one run, including this one.
        total: Evaluations of all runs in the store, including deleted ones.
        runs: The number of these runs.
    """

    by_run: int
    total: int
    runs: int


def select_run(reference: str, runs: Sequence[Run], location: str) -> Run:
    """Return the run with this ID, this beginning of its ID or, if it is unique, this name.

    Raises:
        StoreError: No run or more than one run matches.
    """
    matches = [run for run in runs if run.name == reference or (reference and run.id.startswith(reference))]
    if len(matches) == 1:
        return matches[0]
    shown = matches or runs
    listed = ", ".join(f"{run.id[:ID_LENGTH]} ({run.name})" for run in shown[:MAX_LISTED_RUNS])
    more = f" and {len(shown) - MAX_LISTED_RUNS} more" if len(shown) > MAX_LISTED_RUNS else ""
    if matches:
        raise StoreError(f"{reference!r} matches {len(matches)} runs in {location}; use an ID: {listed}{more}.")
    if not runs:
        raise StoreError(f"no run {reference!r} in {location}, which has no runs; create one with `keras-cnns train`.")
    raise StoreError(f"no run {reference!r} in {location}; the newest are {listed}{more}.")


def monitored_metric(run: Run) -> str:
    """Return the metric that selects a run's best epoch."""
    return run.recipe.get("monitor", "val_accuracy")


def find_sweep(reference: str, runs: Sequence[Run]) -> str | None:
    """Return the ID of the sweep with this ID or this beginning of it; None if a run or nothing matches."""
    if not reference or any(run.name == reference or run.id.startswith(reference) for run in runs):
        return None
    trials = [run for run in runs if not run.cross_validation]
    sweeps = {sweep for run in trials for sweep in (run.parent, *strip_prefix(run.tags, CHOSEN_BY)) if sweep}
    matches = [sweep for sweep in sweeps if sweep.startswith(reference)]
    return matches[0] if len(matches) == 1 else None


def find_folds(reference: str, runs: Sequence[Run]) -> list[Run]:
    """Return the runs of the folds of the cross-validation with this ID, this beginning of it or this name, in order.

    The result is empty if a run or nothing matches.

    Raises:
        StoreError: Several cross-validations match.
    """
    if not reference or any(run.name == reference or run.id.startswith(reference) for run in runs):
        return []
    of_folds = [run for run in runs if run.cross_validation]
    matches = {
        run.cross_validation
        for run in of_folds
        if run.cross_validation.startswith(reference) or run.tags.get(CROSS_VALIDATION_NAME) == reference
    }
    if len(matches) > 1:
        listed = ", ".join(sorted(found[:ID_LENGTH] for found in matches))
        raise StoreError(f"{reference!r} matches {len(matches)} cross-validations; use an ID: {listed}.")
    folds = [run for run in of_folds if run.cross_validation in matches]
    return sorted(folds, key=lambda run: int(run.tags[FOLD]))


def best_trial(sweep: str, runs: Sequence[Run]) -> Run | None:
    """Return the run that a sweep has chosen, which may be reused from another; else its best finished trial."""
    chosen = [run for run in runs if run.tags.get(f"{CHOSEN_BY}{sweep}") == "true"]
    trials = [run for run in runs if run.parent == sweep]
    finished = [run for run in trials if run.status == "finished" and monitored_metric(run) in run.metrics]
    return max(chosen or finished, key=lambda run: run.metrics.get(monitored_metric(run), 0.0), default=None)


def strip_prefix(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the values whose names start with a prefix, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def provenance() -> dict[str, str]:
    """Return tags with the versions of the software and the commit of the working directory, if there is one."""
    versions = {package.replace("-", "_"): installed_version(package) for package in VERSIONED_PACKAGES}
    tags = {f"versions.{name}": installed for name, installed in versions.items() if installed}
    tags["versions.python"] = platform.python_version()
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


@functools.cache
def installed_packages() -> Mapping[str, str]:
    """Return the version of every installed package by its normalised name, as `pip freeze` lists them."""
    named = [package for package in distributions() if package.name]
    found = {re.sub(r"[-_.]+", "-", package.name).lower(): package.version for package in named}
    return dict(sorted(found.items()))


def git(*arguments: str) -> str:
    """Return the output of git in the working directory, or "" if it fails or is not installed."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
