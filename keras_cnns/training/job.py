"""What is trained and how, and the model that this makes."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.errors import DataError, SettingError
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import build, connect, count, find_variant, make_plan
from keras_cnns.networks.settings import SEED, Settings, checked
from keras_cnns.training.batch_norm import fuse_batch_norm
from keras_cnns.training.callbacks import FirstBrokenStep
from keras_cnns.training.devices import replicas, strategy, workers
from keras_cnns.training.memory import step_in_parts
from keras_cnns.training.optimization import make_loss, make_optimizer
from keras_cnns.training.several_workers import step_together, taken_outside
from keras_cnns.training.speed import Speed, computing_in

# Of an image, as a share of that of all training images: a blank one is not to become noise.
LEAST_VARIANCE = 0.03
HEADS = "auxiliary_classifiers"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained and how.

    Attributes:
        model: The variant's name.
        settings: The free choices of its family, all of them.
        recipe: How it is trained.
        seed: Seed of first weights, order of images, augmentation and dropout.
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

    def describe(self) -> dict[str, Any]:
        """Write the job as JSON can hold it; equal jobs give equal descriptions."""
        return {
            "model": self.model,
            "settings": self.settings.to_strings(),
            "recipe": self.recipe.to_strings(),
            "seed": self.seed,
        }


def assemble(job: Job, dataset: Dataset) -> keras.Model:
    """Build the network for these images, behind a layer that takes pixels of 0 to 255.

    That layer subtracts the training images' mean colour and divides by its standard deviation, and another, where
    the recipe says so, the image's own, so that the model that is kept takes images as they are.
    """
    plan = make_plan(
        job.model, input_shape=dataset.image_shape, classes=dataset.classes, settings=job.settings.as_dict()
    )
    pixels = keras.Input(dataset.image_shape, name="pixels")
    scale = [1.0 / deviation for deviation in dataset.pixel_std]
    offset = [-mean / deviation for mean, deviation in zip(dataset.pixel_mean, dataset.pixel_std, strict=True)]
    standardized = keras.layers.Rescaling(scale, offset, name="standardize")(pixels)
    if job.recipe.standardization == "image":
        standardized = keras.layers.LayerNormalization(
            axis=(1, 2, 3), center=False, scale=False, epsilon=LEAST_VARIANCE, name="standardize_image"
        )(standardized)
    return connect(plan, pixels, standardized, "sigmoid" if dataset.task == "multi-label" else "softmax")


def compiled(job: Job, dataset: Dataset, speed: Speed, parts: int = 1) -> keras.Model:
    """Build the job's network on all devices, ready for `fit` with each device's batch in so many parts."""
    mirrored = strategy()
    steps = steps_per_epoch(job, dataset)
    with mirrored.scope() if mirrored else contextlib.nullcontext(), computing_in(speed.precision):
        model = assemble(job, dataset)
    if workers() > 1:
        model = taken_outside(model)
    fuse_batch_norm(model)
    with mirrored.scope() if mirrored else contextlib.nullcontext():
        model.compile(
            optimizer=make_optimizer(job.recipe, steps),
            loss=make_loss(job.recipe, dataset.task),
            metrics=metrics(dataset.task, one_device=mirrored is None),
            steps_per_execution=1 if mirrored else min(speed.steps_per_execution, steps),
            jit_compile="auto" if parts == 1 else False,  # XLA wants parts of one size
        )
        model.optimizer.build(model.trainable_variables)
    if parts > 1:
        model.train_step = step_in_parts(model, math.ceil(images_a_device(job, dataset) / parts))
    if workers() > 1:
        model.train_function = step_together(model, mirrored)
    return model


def metrics(task: str, *, one_device: bool) -> list[keras.metrics.Metric]:
    """Return what is measured in training; a step is looked at on its own where Keras does not show each."""
    accuracy = keras.metrics.BinaryAccuracy if task == "multi-label" else keras.metrics.CategoricalAccuracy
    return [accuracy(name="accuracy"), *([FirstBrokenStep()] if one_device else [])]


def measure(job: Job, dataset: Dataset) -> Counts:
    """Count what the job's network costs on these images, without auxiliary classifiers as it will be used.

    Nothing is built for that.

    Raises:
        SettingError: The network cannot be built for them.
    """
    return count(job.model, input_shape=dataset.image_shape, classes=dataset.classes, **as_used(job.settings))


def untrained(job: Job, dataset: Dataset) -> keras.Model:
    """Build the job's network as it will be used, with its first weights, for pixels that are standardized."""
    return build(job.model, input_shape=dataset.image_shape, classes=dataset.classes, **as_used(job.settings))


def as_used(settings: Settings) -> dict[str, Any]:
    """Return the settings by name, without auxiliary classifiers, which are there in training alone."""
    chosen = settings.as_dict()
    return {**chosen, HEADS: False} if HEADS in chosen else chosen


def usable_batch_size(job: Job, dataset: Dataset) -> int:
    """Return the recipe's batch size, or what is left of it where there are fewer images."""
    images, devices = len(dataset.training), replicas()
    if job.recipe.batch_size % devices:
        raise SettingError(
            f"batch_size {job.recipe.batch_size} cannot be shared by {devices} devices; use a multiple of {devices}."
        )
    if images < devices:
        raise DataError(f"{images} training images are too few for {devices} devices.")
    return min(job.recipe.batch_size, images // devices * devices)


def images_a_device(job: Job, dataset: Dataset) -> int:
    """Return how many images of a batch each device has."""
    return usable_batch_size(job, dataset) // replicas()


def steps_per_epoch(job: Job, dataset: Dataset) -> int:
    """Return how many batches an epoch has."""
    return math.ceil(len(dataset.training) / usable_batch_size(job, dataset))


def class_weights(recipe: Recipe, dataset: Dataset) -> np.ndarray | None:
    """Return what an image of each class counts, so that all classes count the same and images 1 on average."""
    if recipe.class_weights == "none":
        return None
    if dataset.task == "multi-label":
        raise SettingError("class_weights='balanced' is for one class an image; use loss='focal' for several labels.")
    counts = np.bincount(dataset.training.labels, minlength=dataset.classes)
    return np.asarray(counts.sum() / (dataset.classes * counts))
