"""Training jobs, and the compiled models that they train."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.errors import DataError, SettingError
from keras_cnns.networks.baselines.code import CODE, Code
from keras_cnns.networks.blocks import check_fine_tuning
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.heads import Head
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import build_for_pixels, count, find_variant
from keras_cnns.networks.settings import SEED, Settings, check_argument
from keras_cnns.pretrained.starting_weights import StartingWeights, load_into
from keras_cnns.training.batch_norm import freeze_statistics, fuse_batch_norm
from keras_cnns.training.callbacks import FirstNonFiniteStep
from keras_cnns.training.devices import cluster, replica_count, strategy
from keras_cnns.training.fine_tuning import FineTuning
from keras_cnns.training.memory import micro_batch_step
from keras_cnns.training.multi_worker import make_train_function, rebuild_outside_scope
from keras_cnns.training.optimization import make_loss, make_optimizer
from keras_cnns.training.speed import Speed, dtype_policy

AUXILIARY = "auxiliary_classifiers"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A network and how to train it.

    Attributes:
        model: The name of the variant.
        settings: All settings of its family.
        recipe: The training recipe.
        seed: Seed of the weight initialization, the order of the images, augmentation and dropout.
        weights: The weights that training begins with; None: random ones.
    """

    model: str
    settings: Settings
    recipe: Recipe
    seed: int = 0
    weights: StartingWeights | None = None

    def __post_init__(self) -> None:
        """Check the seed, frozen blocks and standardization, and that a baseline's code is that of its settings."""
        check_argument("seed", SEED, self.seed)
        if type(self.settings) is not type(find_variant(self.model)[1].settings):
            raise SettingError(f"{self.model}: the file of the network has changed; restore it, or begin again.")
        if (self.recipe.standardization == "weights") != (self.weights is not None):
            raise SettingError(
                "standardization='weights' is for trainings that begin with weights; name them (weights)."
            )
        check_fine_tuning(self.model, self.settings, self.recipe, self.initial_layers)

    @property
    def family(self) -> str:
        """The name of the model's family."""
        return find_variant(self.model)[0].name

    @property
    def initial_layers(self) -> tuple[str, ...]:
        """Names of the layers that keep their initial values although training begins with weights."""
        return () if self.weights is None else self.weights.initial

    @property
    def code(self) -> Code | None:
        """The user's file that defines the network; None for networks of families and of Keras."""
        return find_variant(self.model)[0].code

    def to_tags(self) -> dict[str, str]:
        """Return the tags of a run of this job: its weights and its code."""
        return {
            **({} if self.weights is None else self.weights.to_tags()),
            **({} if self.code is None else self.code.to_tags()),
        }

    def describe(self) -> dict[str, Any]:
        """Return a description that is serializable as JSON and equal for equal jobs."""
        return {
            "model": self.model,
            "settings": self.settings.to_strings(),
            "recipe": self.recipe.to_strings(),
            "seed": self.seed,
            **({} if self.weights is None else {"weights": self.weights.describe()}),
            **({} if self.code is None else {CODE: self.code.sha256}),
        }

    def preprocessing(self, dataset: Dataset) -> Preprocessing:
        """Return the first layers of the network: those of its weights or, with random ones, of the training images.

        Pixels are standardized by the mean color and the standard deviation of the training images and, depending on
        the recipe, by those of each image.
        """
        if self.weights is not None:
            return self.weights.preprocessing
        by_image = self.recipe.standardization == "image"
        return Preprocessing.from_mean(dataset.pixel_mean, dataset.pixel_std, by_image=by_image)


@dataclass(frozen=True)
class Batching:
    """The batches of a training.

    Attributes:
        batch_size: Images per batch, over all devices.
        images_per_device: Images per batch on each device.
        steps_per_epoch: Batches per epoch; the last one can be smaller.
    """

    batch_size: int
    images_per_device: int
    steps_per_epoch: int


def make_batching(job: Job, dataset: Dataset) -> Batching:
    """Return the batches of a job, of the recipe's batch size or of all training images if there are fewer.

    Raises:
        SettingError: The batch size is not a multiple of the number of devices.
        DataError: There are fewer training images than devices.
    """
    images, devices, batch_size = len(dataset.training), replica_count(), job.recipe.batch_size
    if batch_size % devices:
        raise SettingError(
            f"batch_size {batch_size} cannot be divided among {devices} devices; use a multiple of {devices}."
        )
    if images < devices:
        raise DataError(f"{images} training images are too few for {devices} devices.")
    batch_size = min(batch_size, images // devices * devices)
    return Batching(batch_size, batch_size // devices, math.ceil(images / batch_size))


def assemble(job: Job, dataset: Dataset) -> keras.Model:
    """Build the network of a job with random weights, for pixel values from 0 to 255."""
    return build_for_pixels(
        job.model,
        job.preprocessing(dataset),
        dataset.image_shape,
        classes=dataset.classes,
        head=Head(activation="sigmoid" if dataset.task == "multi-label" else "softmax"),
        settings=job.settings.as_dict(),
    )


def load_weights(job: Job, dataset: Dataset, model: keras.Model) -> None:
    """Copy the weights that a job begins with, if there are any, to its network."""
    if job.weights is not None:
        load_into(model, job.weights, job.model, dataset.classes, job.settings.as_dict())


def compile_model(
    job: Job, dataset: Dataset, batching: Batching, speed: Speed, *, micro_batches: int = 1
) -> keras.Model:
    """Build and compile the network of a job on all devices, ready for `fit`."""
    mirrored = strategy()
    with mirrored.scope() if mirrored else contextlib.nullcontext(), dtype_policy(speed.precision):
        model = assemble(job, dataset)
    if cluster().workers > 1:
        model = rebuild_outside_scope(model)
    load_weights(job, dataset, model)
    if job.recipe.batch_norm_statistics == "frozen":
        freeze_statistics(model)
    else:
        fuse_batch_norm(model)
    fine_tuning = FineTuning(model, job.recipe, job.initial_layers)
    accuracy = keras.metrics.BinaryAccuracy if dataset.task == "multi-label" else keras.metrics.CategoricalAccuracy
    with mirrored.scope() if mirrored else contextlib.nullcontext():
        model.compile(
            optimizer=make_optimizer(job.recipe, batching.steps_per_epoch, fine_tuning.rates(batching.steps_per_epoch)),
            loss=make_loss(job.recipe, dataset.task),
            # Several devices execute single steps: they cannot end an epoch within an execution (Keras 3.15).
            metrics=[accuracy(name="accuracy"), *([] if mirrored else [FirstNonFiniteStep()])],
            steps_per_execution=1 if mirrored else min(speed.steps_per_execution, batching.steps_per_epoch),
            jit_compile="auto" if micro_batches == 1 else False,  # XLA needs micro-batches of equal size
        )
        model.optimizer.build(fine_tuning.trained_variables())
    fine_tuning.freeze(0)
    if micro_batches > 1:
        model.train_step = micro_batch_step(model, math.ceil(batching.images_per_device / micro_batches))
    if cluster().workers > 1:
        model.train_function = make_train_function(model, mirrored)
    return model


def count_costs(job: Job, dataset: Dataset) -> Counts:
    """Count the cost of a job's network without auxiliary classifiers, which are only used in training.

    Raises:
        SettingError: The network does not support these images.
    """
    settings = job.settings.as_dict()
    if AUXILIARY in settings:
        settings[AUXILIARY] = False
    shape = (*dataset.image_shape[:2], job.preprocessing(dataset).input_channels)
    return count(job.model, input_shape=shape, classes=dataset.classes, **settings)


def class_weights(recipe: Recipe, dataset: Dataset) -> np.ndarray | None:
    """Return the weight of an image of each class, shape (classes,), so that all classes have equal total weight.

    The mean weight of the training images is 1. Without class weights in the recipe, returns None.

    Raises:
        SettingError: Class weights are not supported for multi-label data.
    """
    if recipe.class_weights == "none":
        return None
    if dataset.task == "multi-label":
        raise SettingError("class_weights='balanced' does not support multi-label data; use loss='focal'.")
    counts = np.bincount(dataset.training.labels, minlength=dataset.classes)
    return np.asarray(counts.sum() / (dataset.classes * counts))
