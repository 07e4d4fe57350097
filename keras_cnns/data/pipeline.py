"""Batches of images for `fit` and `predict`, as `tf.data`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_cnns.data.augmentation import BatchSeedGenerator, augment, make_layers, mix
from keras_cnns.data.dataset import Split
from keras_cnns.networks.augmentations import find_augmentation
from keras_cnns.networks.recipe import Recipe

NO_AUGMENTATION = Recipe()
MAX_BYTES_COPIED = 2**28


def training_batches(
    split: Split,
    *,
    classes: int,
    batch_size: int,
    seed: int,
    epoch: tf.Variable,
    recipe: Recipe = NO_AUGMENTATION,
    class_weights: np.ndarray | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return one epoch of shuffled batches, of which the last may be smaller.

    Order and augmentation depend only on the seed and the epoch, so a resumed training sees the same batches as an
    uninterrupted one.

    Args:
        split: The training images.
        classes: The number of classes.
        batch_size: Images per batch.
        seed: Seed of the order and the augmentation.
        epoch: An int64 variable with the number of the epoch when the iteration starts.
        recipe: The recipe with the augmentation, MixUp and CutMix.
        class_weights: The weight of the images of each class, shape (classes,).
        share: The index of this worker and the number of workers. Each worker gets every `workers`-th image, in
            batches of the full size that TensorFlow divides among the workers. The images that remain, different ones
            in each epoch, are skipped.

    Returns:
        Float32 images, 0 to 255, and float32 labels, shape (images, classes): the share of each class. With
        `class_weights` also the weight of each image.
    """
    worker, workers = share
    count = len(split) // workers
    fetch = make_fetch(split.images)
    with tf.device("CPU:0"):
        labels = tf.constant(split.labels)
    weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
    changing, mixing = make_layers(recipe)
    unchanged_share = find_augmentation(recipe.augmentation).unchanged_share

    def order_batches(_: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch.read_value()])
        indices = shuffle(len(split), epoch_seed)[: count * workers][worker::workers]
        batches = tf.data.Dataset.from_tensor_slices(indices).batch(batch_size).enumerate()
        fold_in = tf.random.experimental.stateless_fold_in
        return batches.map(lambda step, batch: (fold_in(epoch_seed, step * workers + worker), batch))

    def prepare(batch_seed: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, ...]:
        generator = BatchSeedGenerator(tf.cast(batch_seed, tf.int32))
        batch = tf.gather(labels, indices)
        shares = tf.cast(batch, tf.float32) if labels.shape.rank == 2 else tf.one_hot(batch, classes)
        images = augment(tf.cast(fetch(indices), tf.float32), changing, generator, unchanged_share=unchanged_share)
        images, shares = mix(images, shares, mixing, generator)
        return (images, shares) if weights is None else (images, shares, tf.linalg.matvec(shares, weights))

    batches = tf.data.Dataset.range(1).flat_map(order_batches)
    if workers == 1:
        batches = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(count / batch_size)))
    return set_options(batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)).prefetch(tf.data.AUTOTUNE)


def shuffle(count: int, epoch_seed: Any) -> tf.Tensor:
    """Return the order of the images in an epoch, given the seed and the number of the epoch."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=epoch_seed)


def step_indices(count: int, batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Return the indices of the training images in a step; epochs and steps count from 0."""
    indices = shuffle(count, tf.constant([seed, epoch], tf.int64))
    return np.asarray(indices[step * batch_size : (step + 1) * batch_size])


def make_fetch(images: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from indices to images: small arrays are copied to TensorFlow, large ones are not."""
    if images.nbytes <= MAX_BYTES_COPIED and not isinstance(images, np.memmap):
        with tf.device("CPU:0"):
            copied = tf.constant(images)
        return lambda indices: tf.gather(copied, indices)

    def fetch(indices: tf.Tensor) -> tf.Tensor:
        fetched = tf.numpy_function(lambda batch: np.asarray(images[batch]), [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(fetched, (None, *images.shape[1:]))

    return fetch


def evaluation_batches(images: np.ndarray, batch_size: int = 256) -> tf.data.Dataset:
    """Return batches of the images in their order, float32, 0 to 255."""
    fetch = make_fetch(images)
    batches = tf.data.Dataset.range(len(images)).batch(batch_size)
    return set_options(batches.map(lambda indices: tf.cast(fetch(indices), tf.float32))).prefetch(tf.data.AUTOTUNE)


def set_options(batches: Any) -> Any:
    """Make several devices share each batch instead of the underlying files, and disable autotuning at run time.

    The autotuning thread sleeps for up to a minute, and TensorFlow 2.21 waits for it whenever an iterator ends.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
