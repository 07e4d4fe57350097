"""The folds of a running cross-validation: their runs, their training and their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns.atomic import atomic_write, write_text
from keras_cnns.data import Dataset
from keras_cnns.data.folds import Folds
from keras_cnns.display.progress import Progress
from keras_cnns.errors import StoreError, TrainingError
from keras_cnns.evaluation.run_network import predict_probabilities, predict_with_features
from keras_cnns.networks.features import with_feature_summary
from keras_cnns.tracking import Store
from keras_cnns.tracking.runs import (
    CROSS_VALIDATION,
    CROSS_VALIDATION_NAME,
    FOLD,
    FOLDS,
    TRAIN_AND_VALIDATION,
    TRAINED_ON,
)
from keras_cnns.training.callbacks import ProgressCallback
from keras_cnns.training.checkpoints import best_model_path, read_progress, selected_metrics
from keras_cnns.training.devices import describe_hardware, strategy
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job, count_costs
from keras_cnns.training.logged_data import log_network, log_splits
from keras_cnns.training.reference import log_detector, log_training_images
from keras_cnns.training.run import TrackingCallback, describe_run
from keras_cnns.training.run_directory import FINISHED

PREDICTIONS = "out_of_fold.npy"


@dataclass(frozen=True, kw_only=True, eq=False)
class RunningCrossValidation:
    """A cross-validation while it runs.

    Attributes:
        job: The network and how to train it.
        dataset: The dataset.
        pooled: Its training and validation images in one split, see `pool_images`.
        folds: The folds.
        folder: The folder of the cross-validation.
        store: The store.
        experiment: The MLflow experiment.
        run_id: The ID of its MLflow run.
        progress: Receives a message for each epoch and step.
    """

    job: Job
    dataset: Dataset
    pooled: Dataset
    folds: Folds
    folder: Path
    store: Store
    experiment: str
    run_id: str
    progress: Progress

    @property
    def name(self) -> str:
        """The name of its MLflow run."""
        return f"cross-validation-{self.job.model}"

    @property
    def unfinished(self) -> list[int]:
        """The indices of the folds that are not finished."""
        return [index for index in range(len(self.folds)) if not (self.fold_folder(index) / FINISHED).exists()]

    def fold_folder(self, index: int) -> Path:
        """Return the folder of the training of a fold."""
        return self.folder / "folds" / f"{index + 1:02d}"

    def start_fold(self, index: int) -> str:
        """Start the MLflow run of a fold, or continue it, and return its ID."""
        costs = count_costs(self.job, self.pooled)
        description = describe_run(self.job, self.dataset, costs, self.folder.name)
        tags = {
            **description.tags,
            FOLD: str(index + 1),
            FOLDS: str(len(self.folds)),
            CROSS_VALIDATION: self.run_id,
            CROSS_VALIDATION_NAME: self.name,
            TRAINED_ON: TRAIN_AND_VALIDATION,  # the images that validate a fold train others
        }
        named = replace(description, name=f"{self.job.model}-fold-{index + 1}", tags=tags)
        run_id = self.store.start(named, experiment=self.experiment, parent=self.run_id)
        folder = self.fold_folder(index)
        folder.mkdir(parents=True, exist_ok=True)
        log_splits(self.list_splits(index), folder, self.store, run_id)
        if self.folds.column:
            self.store.log(run_id, tags={f"{FOLD}.value": self.folds.names[index]})
        return run_id

    def list_splits(self, index: int) -> Dataset:
        """Return the splits of a fold's training without their pixels; the held-out images are its test split."""
        pool = replace(self.pooled.training, images=np.arange(len(self.pooled.training)))
        train, validation = self.folds.divide(pool.labels, index)
        held_out = self.folds.held_out(index)
        splits = {"train": pool.take(train), "validation": pool.take(validation), "test": pool.take(held_out)}
        return replace(self.pooled, splits=splits)

    def record_epochs(self, index: int, run_id: str) -> Sequence[Mapping[str, float]]:
        """Record the epochs of the last checkpoint of a fold that are not recorded yet, and return all of them."""
        history = read_progress(self.fold_folder(index)).history
        for number, metrics in enumerate(history, start=1):
            self.store.record(run_id, number, metrics)
        return history

    def record_fold(self, index: int, run_id: str) -> None:
        """Record the epochs and the network of a fold that has been trained, and end its run."""
        folder, store, history = self.fold_folder(index), self.store, self.record_epochs(index, run_id)
        if not has_network(store, run_id):
            network = keras.saving.load_model(best_model_path(folder), compile=False)
            self.log_references(index, network, run_id)
            log_network(network, self.dataset, store, run_id, {}, held_out=False)
        store.finish(run_id, metrics=selected_metrics(history, self.job.recipe), tags=describe_hardware())
        write_text(folder / FINISHED, run_id)

    def log_references(self, index: int, network: keras.Model, run_id: str) -> None:
        """Log the detector of unusual images of a fold's network, and the hashes of the images of all folds."""
        pool, with_features = self.pooled.training, with_feature_summary(network)
        train, _ = self.folds.divide(pool.labels, index)
        held_out = pool.take(self.folds.held_out(index))
        features, _ = predict_with_features(with_features, held_out.images)
        log_detector(with_features, pool.images, train, features, held_out.patients, self.store, run_id)
        log_training_images(pool.images, self.store, run_id)


FoldTrainer = Callable[[RunningCrossValidation], None]
"""Trains the unfinished folds of a cross-validation."""


def train_one_by_one(running: RunningCrossValidation) -> None:
    """Train the unfinished folds of a cross-validation in this process, one after the other."""
    strategy()
    for index in running.unfinished:
        run_id = running.start_fold(index)
        with running.store.mark_failure(run_id):
            running.record_epochs(index, run_id)
            callbacks = (TrackingCallback(running.store, run_id), FoldProgress(running, index))
            train_fold(running.job, running.pooled, running.folds, index, running.fold_folder(index), callbacks)
            running.record_fold(index, run_id)
            running.store.log(run_id, tags=describe_hardware())
        keras.backend.clear_session()


def train_fold(
    job: Job,
    pooled: Dataset,
    folds: Folds,
    index: int,
    folder: Path,
    callbacks: Sequence[ProgressCallback] = (),
) -> None:
    """Train the network of a fold, from the last checkpoint if there is one, and predict the images of the fold.

    Raises:
        TrainingError: The loss or the predictions are not finite.
    """
    if (folder / PREDICTIONS).exists():
        return
    fitted = fit(job, folds.make_dataset(pooled, index), folder, progress_callbacks=callbacks)
    network = keras.saving.load_model(fitted.best_model, compile=False)
    probabilities = predict_probabilities(network, pooled.training.take(folds.held_out(index)).images)
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            f"{folds.describe(index)}: the network predicts probabilities that are not finite; try a learning_rate "
            f"below {job.recipe.learning_rate:g}, or clip_norm=1."
        )
    with atomic_write(folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.save(file, probabilities, allow_pickle=False)


class FoldProgress:
    """A progress callback that describes the epochs of a fold."""

    def __init__(self, running: RunningCrossValidation, index: int) -> None:
        self.running = running
        self.index = index

    def step(self, done: int, total: int) -> None:
        """Ignore single steps."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Describe the epoch."""
        running = self.running
        monitor = running.job.recipe.monitor
        score = f", {monitor} {metrics[monitor]:.4f}" if monitor in metrics else ""
        fold = running.folds.describe(self.index)
        running.progress.message(f"{fold}: epoch {number} of {running.job.recipe.recorded_epochs}{score}")


def has_network(store: Store, run_id: str) -> bool:
    """Return whether a run has a saved network."""
    try:
        store.logged_model(run_id)
    except StoreError:
        return False
    return True


def read_predictions(running: RunningCrossValidation) -> np.ndarray:
    """Return the out-of-fold predictions of all images, shape (images, classes)."""
    pool = running.pooled.training
    probabilities = np.full((len(pool), running.pooled.classes), np.nan)
    for index in range(len(running.folds)):
        of_fold = np.load(running.fold_folder(index) / PREDICTIONS, allow_pickle=False)
        probabilities[running.folds.held_out(index)] = of_fold
    return probabilities
