"""Training of one network with `model.fit`, from a job and a dataset to the best network."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_cnns.data import Dataset, Split
from keras_cnns.data.pipeline import evaluation_batches, step_indices, training_batches
from keras_cnns.errors import SettingError
from keras_cnns.evaluation.metrics import compute_scores
from keras_cnns.lazy import LazyModule
from keras_cnns.networks.recipe import FINE_TUNING, PROBE, Recipe
from keras_cnns.tracking import without_autologging
from keras_cnns.training.batch_norm import without_relu_fusion
from keras_cnns.training.callbacks import CheckpointCallback, EpochSeedCallback, ProgressCallback, UnfreezeCallback
from keras_cnns.training.checkpoints import (
    BEST,
    checkpoint_path,
    list_checkpoints,
    restore,
    selected_metrics,
    should_stop,
)
from keras_cnns.training.devices import cluster, strategy
from keras_cnns.training.fine_tuning import FineTuning
from keras_cnns.training.job import Batching, Job, class_weights, compile_model, make_batching
from keras_cnns.training.memory import train_within_memory
from keras_cnns.training.multi_worker import BatchNormSyncCallback
from keras_cnns.training.speed import Speed, choose_speed, seconds_per_step

if TYPE_CHECKING:
    from keras_cnns.training import probe
else:
    probe = LazyModule("keras_cnns.training.probe")  # imports scikit-learn

VALIDATION_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The result of a training.

    Attributes:
        history: The metrics of each epoch.
        metrics: The metrics of the best epoch as `best_...`, its number `best_epoch`, the `seconds` spent in `fit`,
            and the number of `micro_batches` per batch if a whole batch did not fit into memory.
        best_model: The network of the best epoch, a file for `keras.saving.load_model`.
    """

    history: tuple[Mapping[str, float], ...]
    metrics: Mapping[str, float]
    best_model: Path


def fit(
    job: Job,
    dataset: Dataset,
    folder: Path,
    *,
    progress_callbacks: Sequence[ProgressCallback] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Fitted:
    """Train a network, from the last checkpoint in the folder if there is one.

    Trainings with equal arguments on the same machine give equal weights, interrupted or not. Several devices give
    the weights of one device, except for the last batch of an epoch if its images cannot be divided evenly (Keras
    weights the means of the devices equally), and for augmentation, which each of several workers draws independently.

    Args:
        job: The network and how to train it.
        dataset: Images with a training split and usually a validation split; without one, the recipe has to keep the
            last network. The test split is not used.
        folder: The folder of the checkpoints, which all workers have to share.
        progress_callbacks: Receive each step, and each epoch after its checkpoint is saved.
        callbacks: Further callbacks of Keras, which are called after the checkpoint of an epoch is saved.

    Raises:
        SettingError: The network does not support the images, or the recipe is not possible.
        DataError: There are fewer training images than devices.
        TrainingError: The loss is not finite, or the network does not fit into memory with a single image.
    """
    strategy()
    check_monitor(job.recipe, dataset)
    check_workers(job.recipe)
    batching = make_batching(job, dataset)
    with without_autologging():
        return train_within_memory(
            folder,
            batching.images_per_device,
            lambda micro_batches: fit_micro_batches(
                job, dataset, batching, folder, micro_batches, progress_callbacks, callbacks
            ),
        )


@without_relu_fusion()
def fit_micro_batches(
    job: Job,
    dataset: Dataset,
    batching: Batching,
    folder: Path,
    micro_batches: int,
    progress_callbacks: Sequence[ProgressCallback],
    callbacks: Sequence[keras.callbacks.Callback],
) -> Fitted:
    """Train like `fit`, with this number of micro-batches per batch."""
    recipe = job.recipe
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    batches = make_batches(job, dataset, batching, epoch)
    compile_with = functools.partial(compile_model, job, dataset, batching, micro_batches=micro_batches)

    def time_step(precision: str) -> float:
        return seconds_per_step(compile_with(Speed(precision=precision, steps_per_execution=1)), next(iter(batches)))

    images = [*dataset.image_shape, dataset.classes]
    facts = {**job.describe(), "seed": 0, "images": images, "micro_batches": micro_batches}
    speed = choose_speed(folder, facts, recipe.precision, time_step)
    is_new, began = not list_checkpoints(folder), time.perf_counter()
    classifier = probe.fit_classifier(job, dataset, micro_batches) if recipe.head == PROBE and is_new else None
    probe_seconds = time.perf_counter() - began
    keras.utils.set_random_seed(job.seed)
    model = compile_with(speed)
    if classifier is not None:
        classifier.copy_to(model)
    start = restore(folder, model)
    if classifier is not None:
        start = replace(start, seconds=probe_seconds)
    with worker_folder(folder) as own_folder:
        checkpoints = CheckpointCallback(
            own_folder,
            start,
            recipe,
            steps=batching.steps_per_epoch,
            micro_batches=micro_batches,
            validate=make_validation(dataset.splits.get("validation"), micro_batches),
            describe_step=lambda number, step: describe_images(job, dataset, batching, number, step),
            progress_callbacks=progress_callbacks,
        )
        if recipe.epochs == 0 and is_new:
            checkpoints.validate_once(model)
        elif start.epoch < recipe.epochs and not should_stop(start.history, recipe):
            fine_tuning = FineTuning(model, recipe, job.initial_layers)
            all_callbacks = [UnfreezeCallback(fine_tuning), EpochSeedCallback(epoch, model), checkpoints, *callbacks]
            if cluster().workers > 1:
                batches = strategy().experimental_distribute_dataset(batches)
                all_callbacks.insert(0, BatchNormSyncCallback(model, strategy()))
            with warnings.catch_warnings():
                # With several workers the number of steps is unknown until the first epoch ends; Keras warns then.
                warnings.filterwarnings("ignore", "Your input ran out of data")
                model.fit(
                    batches,
                    initial_epoch=start.epoch,
                    epochs=recipe.epochs,
                    verbose=0,
                    shuffle=False,  # the batches are shuffled already
                    callbacks=all_callbacks,
                )
    history = checkpoints.progress.history
    best_model = checkpoint_path(folder, len(history)) / BEST
    return Fitted(history=history, metrics=selected_metrics(history, recipe), best_model=best_model)


def check_workers(recipe: Recipe) -> None:
    """Raise a `SettingError` if a recipe does not support the several workers that there are."""
    if cluster().workers == 1:
        return
    if recipe.precision == "auto":
        raise SettingError("precision='auto' does not support several workers; choose a precision.")
    if recipe.is_fine_tuning:
        raise SettingError(f"{', '.join(FINE_TUNING)} do not support several workers; unset TF_CONFIG.")


def check_monitor(recipe: Recipe, dataset: Dataset) -> None:
    """Raise a SettingError if the validation images do not give the metric that the recipe monitors."""
    validation = dataset.splits.get("validation")
    if validation is None:
        if recipe.keep != "last" or recipe.patience is not None:
            raise SettingError("without validation images no metric can be monitored; use keep='last' and no patience.")
    elif recipe.monitor == "val_auc":
        uniform = np.full((len(validation), dataset.classes), 1 / dataset.classes)
        if "auc" not in compute_scores(validation.labels, uniform):
            raise SettingError("monitor='val_auc' needs validation images of every class; use monitor='val_accuracy'.")


@contextlib.contextmanager
def worker_folder(folder: Path) -> Iterator[Path]:
    """Yield the folder for a worker's checkpoints: for worker 0 the training's, else a temporary one.

    All workers have to save, because saving is a collective operation.
    """
    if cluster().worker == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        for checkpoint in list_checkpoints(folder)[-1:]:  # its network may remain the best
            shutil.copytree(checkpoint, Path(temporary) / checkpoint.name)
        yield Path(temporary)


def make_batches(job: Job, dataset: Dataset, batching: Batching, epoch: tf.Variable) -> tf.data.Dataset:
    """Return the training batches of a job, in the order of the epoch that the variable holds."""
    return training_batches(
        dataset.training,
        classes=dataset.classes,
        batch_size=batching.batch_size,
        seed=job.seed,
        epoch=epoch,
        recipe=job.recipe,
        class_weights=class_weights(job.recipe, dataset),
        share=cluster(),
    )


def make_validation(split: Split | None, micro_batches: int) -> Callable[[Any], dict[str, float]]:
    """Return a function from a network to its validation metrics, which are empty without a validation split."""
    if split is None:
        return lambda _: {}
    batches = evaluation_batches(split.images, max(1, VALIDATION_BATCH_SIZE // micro_batches))

    def validate(network: keras.Model) -> dict[str, float]:
        metrics = compute_scores(split.labels, network.predict(batches, verbose=0))
        return {f"val_{name}": value for name, value in metrics.items()}

    return validate


def describe_images(job: Job, dataset: Dataset, batching: Batching, epoch: int, step: int) -> str:
    """Describe the images of a step; epochs and steps count from 0."""
    split = dataset.training
    indices = step_indices(len(split), batching.batch_size, job.seed, epoch, step)
    first = [split.files[index] if split.files else str(index) for index in indices[:3]]
    return f"{len(indices)} training images ({', '.join(first)}{', ...' if len(indices) > 3 else ''})"
