"""Random augmentation of training images with Keras's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_cnns.errors import SettingError, nearest_or_all
from keras_cnns.networks.augmentations import find_augmentation
from keras_cnns.networks.recipe import Recipe

OPTIONS = {"dtype": "float32", "data_format": "channels_last"}
AUGMENTATION_METHOD = "get_random_transformation"
"""The method that distinguishes augmentation layers from other layers of Keras."""
BATCH_SIZE = 256


class BatchSeedGenerator(keras.random.SeedGenerator):
    """The random numbers of one batch, for layers that take a seed generator.

    Keras's own generator counts its draws over the whole training. A resumed training would therefore draw other
    numbers than an uninterrupted one, and batches that are prepared in parallel would draw in an arbitrary order.

    Args:
        batch_seed: Integers that identify the batch within the training, shape (2,), int32.
    """

    def __init__(self, batch_seed: Any) -> None:
        # Without `super().__init__`, which would create the variable that counts.
        self.batch_seed = batch_seed
        self.draws = 0

    def next(self, ordered: bool = True) -> Any:  # noqa: ARG002 - Keras's signature
        """Return the seed of the next draw, shape (2,), int32."""
        self.draws += 1
        return tf.random.experimental.stateless_fold_in(self.batch_seed, self.draws)


def make_layers(recipe: Recipe) -> tuple[list[Any], list[Any]]:
    """Create the layers that augment each image, and those that mix images.

    MixUp (Zhang et al. 2018, arXiv 1710.09412) is a weighted mean of two images and of their labels. CutMix (Yun et al.
    2019, arXiv 1905.04899) pastes a rectangle of another image and mixes the labels by area.
    """
    mixing = [keras.layers.MixUp(recipe.mixup, **OPTIONS)] if recipe.mixup else []
    if recipe.cutmix:
        mixing.append(keras.layers.CutMix((recipe.cutmix, recipe.cutmix), **OPTIONS))
    return make_preset_layers(recipe.augmentation), mixing


def make_preset_layers(preset: str) -> list[Any]:
    """Create the layers of a preset, for pixels of 0 to 255.

    Raises:
        SettingError: There is no such preset, or Keras has no such augmentation layer.
    """
    layers = []
    for name, arguments in find_augmentation(preset).layers.items():
        layer: Any = getattr(keras.layers, name, None)
        if not hasattr(layer, AUGMENTATION_METHOD):
            known = [other for other in dir(keras.layers) if hasattr(getattr(keras.layers, other), AUGMENTATION_METHOD)]
            raise SettingError(
                f"augmentation {preset!r}: {name!r} is not an augmentation layer of Keras.{nearest_or_all(name, known)}"
            )
        layers.append(layer(**arguments, **OPTIONS))
    return layers


def augment(images: Any, layers: Sequence[Any], seed: BatchSeedGenerator, *, unchanged_share: float = 0.0) -> Any:
    """Apply layers to float32 images, except to a random share of them; equal seeds give equal results."""
    changed = images
    for layer in layers:
        layer.generator = seed  # RandAugment passes it on to its inner layers
        changed = layer.transform_images(changed, layer.get_random_transformation(changed, training=True, seed=seed))
    if not unchanged_share:
        return changed
    unchanged = keras.random.uniform((keras.ops.shape(images)[0], 1, 1, 1), seed=seed) < unchanged_share
    return keras.ops.where(unchanged, images, changed)


def mix(images: Any, labels: Any, layers: Sequence[Any], seed: BatchSeedGenerator) -> tuple[Any, Any]:
    """Mix images with others of their batch, and their labels, shape (images, classes), by one random layer."""
    mixed = []
    for layer in layers:
        transformation = layer.get_random_transformation(images, training=True, seed=seed)
        mixed.append((layer.transform_images(images, transformation), layer.transform_labels(labels, transformation)))
    if len(mixed) < 2:
        return mixed[0] if mixed else (images, labels)
    use_first = keras.random.uniform((), seed=seed) < 0.5
    one, other = (keras.ops.where(use_first, first, second) for first, second in zip(*mixed, strict=True))
    return one, other


def augment_views(images: np.ndarray, preset: str, *, views: int, seed: int) -> np.ndarray:
    """Return several augmented versions of images.

    Args:
        images: Shape (images, height, width, channels), uint8.
        preset: One of `keras_cnns.networks.augmentations.AUGMENTATIONS`.
        views: The number of versions of each image.
        seed: Seed of the augmentation.

    Returns:
        Shape (views, images, height, width, channels), float32, 0 to 255.

    Raises:
        SettingError: There is no such preset.
    """
    layers = make_preset_layers(preset)
    unchanged_share = find_augmentation(preset).unchanged_share
    augmented = np.empty((views, *images.shape), np.float32)
    for view in range(views):
        for start in range(0, len(images), BATCH_SIZE):
            batch_seed = tf.random.experimental.stateless_fold_in(tf.constant([seed % 2**31, view], tf.int32), start)
            batch = tf.cast(images[start : start + BATCH_SIZE], tf.float32)
            changed = augment(batch, layers, BatchSeedGenerator(batch_seed), unchanged_share=unchanged_share)
            augmented[view, start : start + BATCH_SIZE] = np.clip(changed, 0, 255)
    return augmented
