"""Training of the folds of a cross-validation, several at a time, in worker processes of Ray."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from keras_cnns.data.folds import Folds
from keras_cnns.errors import TrainingError
from keras_cnns.training.folds import FoldProgress, RunningCrossValidation, train_one_by_one
from keras_cnns.training.job import Job
from tuning.running.cluster import ClusterConfig, connect
from tuning.running.journal import MAX_DEATHS
from tuning.running.shared_dataset import SharedDataset, share_dataset

POLL_SECONDS = 1.0


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
        epochs: The number of epochs that are described.
    """

    index: int
    run_id: str
    deaths: int = 0
    epochs: int = 0


def train_together(running: RunningCrossValidation, cluster: ClusterConfig, slots: int) -> None:
    """Train the unfinished folds in worker processes, and record their epochs and results; Ray must be connected.

    A fold whose process dies continues from its last checkpoint in another process. Recording a network takes seconds,
    so further folds wait in Ray's queue, and no worker waits for this process.

    Raises:
        TrainingError: The process of a fold died too often, or a loss is not finite.
    """
    resources = cluster.trial_resources()
    options = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0.0), "max_retries": 0}
    options |= {"memory": resources["memory"]} if "memory" in resources else {}
    task = ray.remote(**options)(run_fold)
    waiting, submitted = list(running.unfinished), slots if cluster.max_concurrent_trials else 2 * slots
    active: dict[Any, FoldTraining] = {}
    ended: dict[Any, FoldTraining] = {}
    with share_dataset(running.pooled) as dataset:

        def submit(training: FoldTraining) -> None:
            folder = running.fold_folder(training.index).resolve()
            arguments = (running.job, dataset, running.folds, training.index, folder)
            active[task.remote(*arguments, cores=cluster.cores_per_trial, deaths=training.deaths)] = training

        def fill() -> None:
            while waiting and len(active) < submitted:
                index = waiting.pop(0)
                submit(FoldTraining(index, running.start_fold(index)))

        try:
            fill()
            while active:
                done, _ = ray.wait(list(active), timeout=POLL_SECONDS)
                for training in active.values():
                    record_epochs(running, training)
                ended.update({reference: active.pop(reference) for reference in done})
                fill()
                for reference in done:
                    training = ended.pop(reference)
                    if succeeded(reference, running, training):
                        with running.store.mark_failure(training.run_id):
                            running.record_fold(training.index, training.run_id)
                    else:
                        submit(training)
        except BaseException as error:
            for reference, training in (active | ended).items():
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
    with contextlib.suppress(FileNotFoundError):  # the checkpoint may be replaced by the next one
        history = running.record_epochs(training.index, training.run_id)
        if len(history) > training.epochs:
            training.epochs = len(history)
            FoldProgress(running, training.index).epoch(training.epochs, history[-1])


def mark_failed(running: RunningCrossValidation, training: FoldTraining, error: BaseException) -> None:
    """Mark the run of a fold as failed or killed, and ignore the error, which the caller raises."""
    with contextlib.suppress(type(error)), running.store.mark_failure(training.run_id):
        raise error
