"""One training: from settings, recipe and images to the network that is kept, with `model.fit`."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_cnns.data import Dataset, Split
from keras_cnns.data.augmentation import Augmentation
from keras_cnns.data.pipeline import evaluation_batches, places_of, training_batches
from keras_cnns.errors import SettingError
from keras_cnns.evaluation import scores
from keras_cnns.networks.recipe import Recipe
from keras_cnns.training.batch_norm import relu_apart
from keras_cnns.training.callbacks import CheckpointCallback, EpochClock, ProgressCallback
from keras_cnns.training.checkpoints import BEST, checkpoint, checkpoints, kept_metrics, patience_over, restore
from keras_cnns.training.devices import cluster, strategy, worker, workers
from keras_cnns.training.job import (
    Job,
    class_weights,
    compiled,
    images_a_device,
    steps_per_epoch,
    usable_batch_size,
)
from keras_cnns.training.memory import parts_that_fit
from keras_cnns.training.several_workers import Agreement
from keras_cnns.training.speed import Speed, seconds_a_step, settle_speed

MEASURED_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a training brought.

    Attributes:
        history: The metrics of each epoch.
        kept: Those of the kept epoch by `best_...`, its number `best_epoch`, and the `seconds` spent in `fit`;
            `batch_parts`, the number of parts that each device's batch came in, where memory did not hold it whole.
        best_model: The kept epoch's network, as a file that `keras.saving.load_model` reads.
    """

    history: tuple[Mapping[str, float], ...]
    kept: Mapping[str, float]
    best_model: Path


def fit(
    job: Job,
    dataset: Dataset,
    folder: Path,
    *,
    progress_callback: ProgressCallback | None = None,
) -> Fitted:
    """Train a network, going on from the folder's last checkpoint if it has one.

    Two runs with equal arguments on one machine give equal weights, whether or not one was interrupted. Several
    devices give what one gives, but for an epoch's last batch where they cannot share it evenly (Keras weighs the
    devices' means equally), and for augmentation, which several workers draw each for themselves.

    Args:
        job: What to train and how.
        dataset: Images with a training and mostly a validation split, without which the recipe has to keep the last
            network; a test split is not looked at.
        folder: Where checkpoints and the kept network are; with several workers one that all of them see.
        progress_callback: Told of every step, and of every epoch once its checkpoint is kept.

    Raises:
        SettingError: Network and images do not fit, or the recipe is not possible.
        TrainingError: The loss is no longer finite, or memory does not hold the network with one image.
    """
    strategy()  # has to be made before anything is computed
    recipe, validation = job.recipe, dataset.splits.get("validation")
    check_monitor(recipe, validation, dataset.classes)
    if recipe.precision == "auto" and workers() > 1:
        raise SettingError("precision='auto' is for one machine, because several must agree; say which precision.")
    return parts_that_fit(
        folder,
        images_a_device(job, dataset),
        lambda parts: fit_in_parts(job, dataset, folder, parts=parts, progress_callback=progress_callback),
    )


@relu_apart()
def fit_in_parts(
    job: Job, dataset: Dataset, folder: Path, *, parts: int, progress_callback: ProgressCallback | None
) -> Fitted:
    """Train as `fit` does, with each device's batch in so many parts."""
    recipe = job.recipe
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    batches = job_batches(job, dataset, epoch)

    def time_step(precision: str) -> float:
        model = compiled(job, dataset, Speed(precision=precision, steps_per_execution=1), parts)
        return seconds_a_step(model, next(iter(batches)))

    facts = {**job.describe(), "seed": 0, "images": [*dataset.image_shape, dataset.classes], "parts": parts}
    speed = settle_speed(folder, facts, recipe.precision, time_step)
    keras.utils.set_random_seed(job.seed)
    model = compiled(job, dataset, speed, parts)
    start = restore(folder, model)
    with keeping(folder) as place:
        keeper = CheckpointCallback(
            place,
            start,
            recipe,
            steps=steps_per_epoch(job, dataset),
            parts=parts,
            validate=validator(dataset.splits.get("validation"), parts),
            describe_step=lambda number, step: name_images(job, dataset, number, step),
            progress_callback=progress_callback,
        )
        if start.epoch < recipe.epochs and not patience_over(start.history, recipe):
            callbacks = [EpochClock(epoch, model), keeper]
            if workers() > 1:
                batches = strategy().experimental_distribute_dataset(batches)
                callbacks.insert(0, Agreement(model, strategy()))
            with warnings.catch_warnings():
                # Several workers learn how many steps an epoch has when the first ends, which Keras warns of.
                warnings.filterwarnings("ignore", "Your input ran out of data")
                model.fit(
                    batches,
                    initial_epoch=start.epoch,
                    epochs=recipe.epochs,
                    verbose=0,
                    shuffle=False,  # the batches are shuffled already
                    callbacks=callbacks,
                )
    history = keeper.progress.history
    return Fitted(
        history=history, kept=kept_metrics(history, recipe), best_model=checkpoint(folder, len(history)) / BEST
    )


def check_monitor(recipe: Recipe, validation: Split | None, classes: int) -> None:
    """Raise a `SettingError` where the validation images cannot say what the recipe asks them."""
    if validation is None:
        if recipe.keep != "last" or recipe.patience is not None:
            raise SettingError("without validation images nothing can be monitored; use keep='last' and no patience.")
    elif recipe.monitor == "val_auc" and "auc" not in scores(validation.labels, even(validation, classes)):
        raise SettingError("monitor='val_auc' needs validation images of every class; use monitor='val_accuracy'.")


@contextlib.contextmanager
def keeping(folder: Path) -> Iterator[Path]:
    """Give a training's folder; to a worker beside the first, which has to save with it, one that is thrown away."""
    if worker() == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as nowhere:
        for begun in checkpoints(folder)[-1:]:  # the network that is kept so far may stay the best
            shutil.copytree(begun, Path(nowhere) / begun.name)
        yield Path(nowhere)


def job_batches(job: Job, dataset: Dataset, epoch: tf.Variable) -> tf.data.Dataset:
    """Return the training batches of a job."""
    return training_batches(
        dataset.training,
        classes=dataset.classes,
        batch_size=usable_batch_size(job, dataset),
        seed=job.seed,
        epoch=epoch,
        augmentation=Augmentation(preset=job.recipe.augmentation, mixup=job.recipe.mixup, cutmix=job.recipe.cutmix),
        class_weights=class_weights(job.recipe, dataset),
        share=cluster(),
    )


def even(split: Split, classes: int) -> np.ndarray:
    """Return predictions that say nothing: every class equally probable, shape (images, classes)."""
    return np.full((len(split), classes), 1 / classes)


def validator(split: Split | None, parts: int) -> Callable[[Any], dict[str, float]]:
    """Return what measures a network on a split's images, fewer at a time in more parts; nothing without a split."""
    if split is None:
        return lambda network: {}  # noqa: ARG005
    batches = evaluation_batches(split.images, max(1, MEASURED_AT_A_TIME // parts))

    def validate(network: keras.Model) -> dict[str, float]:
        measured = scores(split.labels, network.predict(batches, verbose=0))
        return {f"val_{name}": value for name, value in measured.items()}

    return validate


def name_images(job: Job, dataset: Dataset, epoch: int, step: int) -> str:
    """Write which images a step was on; epochs and steps count from 0."""
    split = dataset.training
    places = places_of(len(split), usable_batch_size(job, dataset), job.seed, epoch, step)
    first = [split.files[place] if split.files else str(place) for place in places[:3]]
    return f"{len(places)} training images ({', '.join(first)}{', ...' if len(places) > 3 else ''})"
