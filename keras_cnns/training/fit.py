"""One training: from settings, recipe and images to the best network, with `model.fit`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_cnns.auxiliary import strip_auxiliary
from keras_cnns.data import Dataset
from keras_cnns.data.pipeline import evaluation_batches, training_batches
from keras_cnns.errors import DataError, SettingError
from keras_cnns.profiling import Profile, profile
from keras_cnns.registry import build, connect, find_variant, make_plan
from keras_cnns.settings import SEED, Settings, checked
from keras_cnns.training.callbacks import EpochClock, Keeper, Observer, ValidationScores
from keras_cnns.training.checkpoints import best_model, kept_metrics, restore
from keras_cnns.training.devices import replicas, strategy
from keras_cnns.training.recipe import Recipe, make_optimizer

# Between two visits to Python; several devices cannot end an epoch within an execution (Keras 3.15).
MOST_STEPS_PER_EXECUTION = 32


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained and how.

    Attributes:
        model: The variant's name.
        settings: The free choices of its family, all of them.
        recipe: How it is trained.
        seed: Seed of first weights, order of images and dropout.
    """

    model: str
    settings: Settings
    recipe: Recipe
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the seed; settings and recipe have checked themselves."""
        checked("seed", SEED, self.seed)

    @property
    def family(self) -> str:
        """The name of the model's family."""
        return find_variant(self.model)[0].name


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a training brought.

    Attributes:
        history: The metrics of each epoch.
        kept: Those of the best epoch by `best_...`, its number `best_epoch`, and the `seconds` spent in `fit`.
        best_model: The best epoch's network, as a file that `keras.saving.load_model` reads.
    """

    history: tuple[Mapping[str, float], ...]
    kept: Mapping[str, float]
    best_model: Path


def assemble(job: Job, dataset: Dataset) -> keras.Model:
    """Build the network for these images, behind a layer that takes pixels of 0 to 255.

    That layer subtracts the training images' mean colour and divides by its standard deviation, so that the
    model that is kept takes images as they are.
    """
    plan = make_plan(
        job.model, input_shape=dataset.image_shape, classes=dataset.classes, settings=job.settings.as_dict()
    )
    pixels = keras.Input(dataset.image_shape, name="pixels")
    scale = [1.0 / deviation for deviation in dataset.pixel_std]
    offset = [-mean / deviation for mean, deviation in zip(dataset.pixel_mean, dataset.pixel_std, strict=True)]
    standardized = keras.layers.Rescaling(scale, offset, name="standardize")(pixels)
    return connect(plan, pixels, standardized, "softmax")


def measure(job: Job, dataset: Dataset) -> Profile:
    """Count what the job's network costs on these images, without auxiliary classifiers as it will be used.

    Raises:
        SettingError: The network cannot be built for them.
    """
    chosen = job.settings.as_dict()
    network = build(job.model, input_shape=dataset.image_shape, classes=dataset.classes, **chosen)
    return profile(strip_auxiliary(network))


def usable_batch_size(job: Job, images: int) -> int:
    """Return the recipe's batch size, or what is left of it where there are fewer images."""
    devices = replicas()
    if job.recipe.batch_size % devices:
        raise SettingError(
            f"batch_size {job.recipe.batch_size} cannot be shared by {devices} devices; use a multiple of {devices}."
        )
    if images < devices:
        raise DataError(f"{images} training images are too few for {devices} devices.")
    return min(job.recipe.batch_size, images // devices * devices)


def fit(
    job: Job,
    dataset: Dataset,
    folder: Path,
    *,
    observer: Observer | None = None,
) -> Fitted:
    """Train a network, going on from the folder's last checkpoint if it has one.

    Two runs with equal arguments on one machine give equal weights, whether or not one was interrupted. Several
    devices give what one gives, but for an epoch's last batch where they cannot share it evenly: Keras weighs the
    devices' means equally.

    Args:
        job: What to train and how.
        dataset: Images with a training and a validation split; a test split is not looked at.
        folder: Where checkpoints and the best network are kept.
        observer: Told of every step, and of every epoch once its checkpoint is kept.

    Raises:
        SettingError: Network and images do not fit, or the recipe is not possible.
        TrainingError: The loss is no longer finite.
    """
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    if job.recipe.monitor == "val_auc" and len(np.unique(validation.labels)) < dataset.classes:
        raise SettingError("monitor='val_auc' needs validation images of every class; use monitor='val_accuracy'.")
    batch_size = usable_batch_size(job, len(train.labels))
    steps = math.ceil(len(train.labels) / batch_size)
    keras.utils.set_random_seed(job.seed)
    mirrored = strategy()
    with mirrored.scope() if mirrored else contextlib.nullcontext():
        model = assemble(job, dataset)
        model.compile(
            optimizer=make_optimizer(job.recipe, steps),
            loss=keras.losses.SparseCategoricalCrossentropy(),
            metrics=["accuracy"],
            steps_per_execution=1 if mirrored else min(MOST_STEPS_PER_EXECUTION, steps),
        )
        model.optimizer.build(model.trainable_variables)
        start = restore(folder, model)
    epoch = tf.Variable(start.epoch, dtype=tf.int64, trainable=False)
    keeper = Keeper(folder, start, job.recipe.monitor, observer)
    if start.epoch < job.recipe.epochs:
        folder.mkdir(parents=True, exist_ok=True)
        model.fit(
            training_batches(train, batch_size=batch_size, seed=job.seed, epoch=epoch),
            initial_epoch=start.epoch,
            epochs=job.recipe.epochs,
            verbose=0,
            shuffle=False,  # the batches are shuffled already
            callbacks=[
                EpochClock(epoch, model),
                ValidationScores(evaluation_batches(validation.images), validation.labels),
                keeper,
            ],
        )
    history = keeper.progress.history
    kept = kept_metrics(history, job.recipe.monitor)
    return Fitted(history=history, kept=kept, best_model=best_model(folder))
