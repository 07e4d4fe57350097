"""Cross-validation with several folds at a time, in worker processes of Ray."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from keras_cnns.data import Dataset
from keras_cnns.data.folds import Folds
from keras_cnns.errors import TrainingError
from keras_cnns.evaluation.run_network import Progress, no_progress
from keras_cnns.networks.recipe import Recipe
from keras_cnns.tracking import Store
from keras_cnns.tracking.retry import RETRY_SECONDS
from keras_cnns.training.checkpoints import read_progress
from keras_cnns.training.cross_validation import (
    CrossValidation,
    FoldProgress,
    RunningCrossValidation,
    start_cross_validation,
    train_one_by_one,
)
from keras_cnns.training.job import Job
from keras_cnns.training.run import make_job, resolve_dataset
from tuning.running.cluster import ClusterConfig, check_cluster, connect
from tuning.running.journal import MAX_DEATHS
from tuning.running.shared_dataset import SharedDataset, share_dataset

POLL_SECONDS = 1.0


def cross_validate(
    model: str,
    data: str | Dataset = "digits",
    *,
    folds: int = 5,
    fold_by: str | None = None,
    settings: Mapping[str, object] | None = None,
    recipe: Recipe | str = "plain",
    seed: int = 0,
    cores: int | None = None,
    cores_per_trial: int | None = None,
    gpus_per_trial: float | None = None,
    memory_per_trial: int | None = None,
    ray_address: str | None = None,
    resume: bool = False,
    experiment: str = "train",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress: Progress = no_progress,
) -> CrossValidation:
    """Cross-validate a network like `keras_cnns.cross_validate`, with several folds at a time.

    The result is that of `keras_cnns.cross_validate` in a process with as many threads as a fold has cores. If only one
    fold can run at a time, the folds are trained in this process.

    Args:
        model: As for `keras_cnns.cross_validate`, as are the arguments that are not described here.
        data: A source for `load`, or a dataset.
        folds: The number of folds.
        fold_by: A column of the source, each of whose values is left out once.
        settings: Settings of the model's family that differ from the variant's.
        recipe: A `Recipe`, or the name of one.
        seed: Seed of the networks of all folds.
        cores: Number of cores of all folds together; all cores by default.
        cores_per_trial: Number of cores per fold; by default the cores are shared evenly among the folds.
        gpus_per_trial: Number of GPUs per fold; 1 by default if there are any. Below 1, folds share a GPU.
        memory_per_trial: Bytes reserved per fold, which limits how many run at a time.
        ray_address: A running Ray cluster, as for `tuning.sweep`; all its machines must share the folder. By default,
            Ray is started on this machine.
        resume: Resume the newest unfinished cross-validation with the same arguments.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow store.
        folder: Folder for the checkpoints.
        progress: Called with a description of each step.

    Raises:
        KerasCnnsError: An argument is not valid, or the data, the store or the cluster cannot be used.
    """
    available = cores or os.cpu_count() or 1
    cluster = ClusterConfig(
        ray_address=ray_address,
        cores=cores,
        cores_per_trial=cores_per_trial or max(1, available // max(1, min(folds, available))),
        gpus_per_trial=gpus_per_trial,
        memory_per_trial=memory_per_trial,
    )
    job, dataset = make_job(model, settings, recipe, seed), resolve_dataset(data)
    check_cluster(cluster, Path(folder))
    return start_cross_validation(
        job,
        dataset,
        folds=folds,
        fold_by=fold_by,
        resume=resume,
        experiment=experiment,
        store=Store(tracking_uri, retry_timeout=RETRY_SECONDS),
        folder=Path(folder),
        train_folds=functools.partial(train_folds, cluster=cluster),
        progress=progress,
    )


def train_folds(running: RunningCrossValidation, *, cluster: ClusterConfig) -> None:
    """Train the unfinished folds of a cross-validation, several at a time if the cluster has room for them."""
    if cluster.ray_address is None and cluster.local_cores < 2 * cluster.cores_per_trial:
        train_one_by_one(running)
        return
    with connect(cluster):
        slots = cluster.count_trial_slots()
        if slots > 1:
            train_together(running, cluster, slots)
            return
    train_one_by_one(running)


@dataclass
class FoldTraining:
    """A fold that a worker process trains.

    Attributes:
        index: The index of the fold.
        run_id: The ID of its MLflow run.
        deaths: How often a process that trained it died.
        epochs: The number of epochs that are recorded.
    """

    index: int
    run_id: str
    deaths: int = 0
    epochs: int = 0


def train_together(running: RunningCrossValidation, cluster: ClusterConfig, slots: int) -> None:
    """Train the unfinished folds in worker processes, and record their epochs and results; Ray must be connected.

    A fold whose process dies continues from its last checkpoint in another process.

    Raises:
        TrainingError: The process of a fold died too often, or a loss is not finite.
    """
    resources = cluster.trial_resources()
    options = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0.0), "max_retries": 0}
    options |= {"memory": resources["memory"]} if "memory" in resources else {}
    task = ray.remote(**options)(run_fold)
    waiting = list(running.unfinished)
    active: dict[Any, FoldTraining] = {}
    with share_dataset(running.pooled) as dataset:

        def submit(training: FoldTraining) -> None:
            folder = running.fold_folder(training.index).resolve()
            arguments = (running.job, dataset, running.folds, training.index, folder)
            active[task.remote(*arguments, cores=cluster.cores_per_trial, deaths=training.deaths)] = training

        try:
            while waiting or active:
                while waiting and len(active) < slots:
                    index = waiting.pop(0)
                    submit(FoldTraining(index, running.start_fold(index)))
                done, _ = ray.wait(list(active), timeout=POLL_SECONDS)
                for training in active.values():
                    record_epochs(running, training)
                for reference in done:
                    training = active.pop(reference)
                    if succeeded(reference, running, training):
                        running.record_fold(training.index, training.run_id)
                    else:
                        submit(training)
        except BaseException as error:
            for reference, training in active.items():
                ray.cancel(reference, force=True)
                mark_failed(running, training, error)
            raise


def run_fold(
    job: Job, dataset: SharedDataset, folds: Folds, index: int, folder: Path, *, cores: int, deaths: int
) -> None:
    """Train a fold in a worker process, see `train_shared_fold`."""
    from tuning.running.fold_worker import train_shared_fold  # noqa: PLC0415 - configures the backend of a worker

    train_shared_fold(job, dataset, folds, index, folder, cores=cores, deaths=deaths)


def succeeded(reference: Any, running: RunningCrossValidation, training: FoldTraining) -> bool:
    """Return whether the worker of a fold has ended as it should, or died and the fold has to be trained again.

    Raises:
        TrainingError: The process of the fold died too often.
        Exception: What the training raised.
    """
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        mark_failed(running, training, error.cause)
        raise error.cause from None
    except ray.exceptions.RayError as error:
        training.deaths += 1
        if training.deaths < MAX_DEATHS:
            return False
        reason = TrainingError(
            f"{running.folds.describe(training.index)}: its process died {training.deaths} times; use a smaller "
            f"batch_size if memory runs out, then continue with --resume (resume)."
        )
        mark_failed(running, training, reason)
        raise reason from error
    return True


def record_epochs(running: RunningCrossValidation, training: FoldTraining) -> None:
    """Record the epochs of the last checkpoint of a fold that are not recorded yet, and describe the last one."""
    try:
        history = read_progress(running.fold_folder(training.index)).history
    except FileNotFoundError:  # the checkpoint has just been replaced by the next one
        return
    for number in range(training.epochs + 1, len(history) + 1):
        running.store.record(training.run_id, number, history[number - 1])
        FoldProgress(running, training.index).epoch(number, history[number - 1])
    training.epochs = len(history)


def mark_failed(running: RunningCrossValidation, training: FoldTraining, error: BaseException) -> None:
    """Mark the run of a fold as failed or killed, and ignore the error, which the caller raises."""
    with contextlib.suppress(type(error)), running.store.mark_failure(training.run_id):
        raise error
