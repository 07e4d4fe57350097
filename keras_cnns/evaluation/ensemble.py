"""Ensembles: the networks of one or several runs, whose predicted probabilities are averaged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.classes import class_key
from keras_cnns.display.progress import NO_PROGRESS, Progress
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.operating_point import OperatingPoint, Threshold
from keras_cnns.evaluation.run_network import (
    NetworkOutputs,
    RunNetwork,
    format_shape,
    load_run_network,
)
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import COMPLETE, FOLDS, best_trial, find_folds, find_sweep, monitored_metric, select_run

SWAPPED = [1, 0]
"""The order of two classes that are the other way round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """One network, or several whose probabilities are averaged.

    Attributes:
        members: The networks. The classes are those of the first one, in its order.
        notes: How runs were chosen that were not named directly.
    """

    members: tuple[RunNetwork, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> RunNetwork:
        """The network whose run stores the result."""
        return self.members[0]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the networks."""
        return tuple(member.run for member in self.members)

    @property
    def is_single(self) -> bool:
        """Whether there is only one network."""
        return len(self.members) == 1

    @property
    def trained_on_validation(self) -> bool:
        """Whether a network was trained on validation images too."""
        return any(run.trained_on_validation for run in self.runs)

    @cached_property
    def key(self) -> str:
        """A hash of the members that does not depend on their order; "" for a single network."""
        ids = " ".join(sorted(run.id for run in self.runs))
        return "" if self.is_single else hashlib.sha256(ids.encode()).hexdigest()[:8]

    @property
    def cross_validation(self) -> str:
        """The ID of the cross-validation whose networks these are, all of them; "" for other ensembles."""
        parents = {run.cross_validation for run in self.runs}
        is_whole = len(parents) == 1 and self.first.run.tags.get(FOLDS) == str(len(self.members))
        return self.first.run.cross_validation if is_whole else ""

    def runs_trained_on(self, dataset: Dataset) -> list[Run]:
        """Return the runs whose dataset this is."""
        return [run for run in self.runs if run.data_fingerprint == dataset.fingerprint]

    @property
    def tta_augmentation(self) -> str:
        """The augmentations of test-time augmentation."""
        return ", ".join(sorted({member.tta_augmentation for member in self.members}))

    def predict(self, images: np.ndarray, *, tta: int = 1, progress: Progress = NO_PROGRESS) -> NetworkOutputs:
        """Predict the classes of images by the mean of the probabilities of the networks.

        An image is out of distribution if it is for more than half of the networks that have a detector. There are
        then at most twice as many false alarms as for one network.

        The arguments are those of `RunNetwork.predict`.
        """
        names = self.first.class_names
        outputs = [member.predict(images, tta=tta, progress=progress) for member in self.members]
        probabilities = [
            output.probabilities[:, find_indices(names, member.class_names)]
            for member, output in zip(self.members, outputs, strict=True)
        ]
        votes = [output.unusual for output in outputs if output.unusual is not None]
        return NetworkOutputs(
            probabilities=np.asarray(np.mean(probabilities, axis=0)),
            unusual=np.mean(votes, axis=0) > 0.5 if votes else None,
        )

    def stored_operating_point(self) -> OperatingPoint:
        """Return the operating point that the run stores; for several runs, their mean threshold without temperature.

        That of an ensemble is better fitted on the mean probabilities, see `choose_operating_point`.
        """
        if self.is_single:
            return self.first.operating_point
        source = "the validation images of each run (mean of the thresholds)"
        return OperatingPoint(threshold=self.mean_threshold(), temperature=None, source=source)

    def mean_threshold(self) -> Threshold:
        """Return the mean of the thresholds of the networks, for the classes of the first one; None if one has none."""
        thresholds = [member.operating_point.threshold for member in self.members]
        names = self.first.class_names
        if self.first.multi_label:
            orders = [find_indices(names, member.class_names) for member in self.members]
            rows = [np.array(row)[order] for row, order in zip(thresholds, orders, strict=True)]
            return tuple(np.mean(rows, axis=0).tolist())
        known = [
            1 - threshold if find_indices(names, member.class_names) == SWAPPED else threshold
            for member, threshold in zip(self.members, thresholds, strict=True)
            if isinstance(threshold, float)
        ]
        return float(np.mean(known)) if len(known) == len(thresholds) else None


def find_runs(store: Store, references: str | Sequence[str]) -> tuple[list[Run], list[str]]:
    """Find the runs that the references name.

    Args:
        store: The store.
        references: One or several of: a run as `Store.run` finds it; the id of a sweep, for its best trial; or the id
            or the name of a cross-validation, for the networks of all its folds.

    Returns:
        The runs, and a note for each sweep on the trial that was chosen, and for each cross-validation.

    Raises:
        StoreError: There is no such run.
        EvaluationError: No run is named, a run is named twice, a sweep has no finished trial, or a cross-validation is
            not finished.
    """
    names = [references] if isinstance(references, str) else list(references)
    if not names:
        raise EvaluationError("no run is named: name one run, or several to evaluate as an ensemble.")
    stored = store.runs()
    runs: list[Run] = []
    notes: list[str] = []
    for name in names:
        folds = find_folds(name, stored)
        sweep = None if folds else find_sweep(name, stored)
        run = select_run(name, stored, store.location) if sweep is None and not folds else None
        if sweep is not None:
            run = best_trial(sweep, stored)
            if run is None:
                raise EvaluationError(
                    f"sweep {name} has no finished trial; resume it with `keras-cnns sweep --resume`."
                )
            trials = sum(trial.parent == sweep and trial.tags.get("role", "search") == "search" for trial in stored)
            score = f"{monitored_metric(run)} {run.metrics[monitored_metric(run)]:.4f}"
            notes.append(f"{sweep} is a sweep; {run.name} is the best of its {trials} trials ({score}).")
        if folds:
            notes.append(describe_folds(folds))
        for found in folds or filter(None, [run]):
            if found in runs:
                raise EvaluationError(f"run {found.id} is named twice; the runs of an ensemble must differ.")
            runs.append(found)
    return runs, notes


def describe_folds(folds: Sequence[Run]) -> str:
    """Return a note on the networks of a cross-validation.

    Raises:
        EvaluationError: It is not finished.
    """
    parent = folds[0].cross_validation
    wanted = int(folds[0].tags[FOLDS])
    finished = sum(run.tags.get(COMPLETE) == "true" for run in folds)
    if finished < wanted:
        trained = sum(run.status == "finished" for run in folds)
        raise EvaluationError(
            f"cross-validation {parent} is not finished ({trained} of {wanted} folds are trained); run the same "
            f"`keras-cnns train` command with --resume."
        )
    return (
        f"{parent} is a cross-validation; the probabilities of its {wanted} networks are averaged. Its own result is "
        f"that of the out-of-fold predictions, in its run."
    )


def load_ensemble(
    store: Store, runs: Sequence[Run], notes: Sequence[str] = (), *, progress: Progress = NO_PROGRESS
) -> Ensemble:
    """Load the networks of runs.

    Args:
        store: The store.
        runs: The runs.
        notes: How they were chosen.
        progress: Receives a message for each step.

    Raises:
        StoreError: A run has no saved network.
        EvaluationError: A network cannot be loaded, or the networks differ in image size or classes.
    """
    members: list[RunNetwork] = []
    for run in runs:
        progress.message(f"loading the network of run {run.id[:8]}")
        members.append(load_run_network(store, run))
        check_same_task(members[0], members[-1])
    return Ensemble(members=tuple(members), notes=tuple(notes))


def check_same_task(first: RunNetwork, other: RunNetwork) -> None:
    """Raise an `EvaluationError` if two networks differ in image size or classes."""
    runs = f"runs {first.run.id} and {other.run.id} cannot form an ensemble"
    if first.image_shape != other.image_shape:
        raise EvaluationError(
            f"{runs}: their images are {format_shape(first.image_shape)} and {format_shape(other.image_shape)}; name "
            f"runs trained on images of one size."
        )
    same = set(map(class_key, first.class_names)) == set(map(class_key, other.class_names))
    if not same or first.multi_label != other.multi_label:
        raise EvaluationError(
            f"{runs}: their classes are {', '.join(first.class_names[:5])} and {', '.join(other.class_names[:5])}; "
            f"name runs trained on the same classes."
        )


def find_indices(names: Sequence[str], others: Sequence[str]) -> list[int]:
    """Return the index of each class in `others`, which are the same classes in any order and spelling."""
    keys = list(map(class_key, others))
    return [keys.index(class_key(name)) for name in names]
