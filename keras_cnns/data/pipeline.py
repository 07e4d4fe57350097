"""Batches of images for `fit` and `predict`, as `tf.data`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_cnns.data.augmentation import Augmentation, change, mix
from keras_cnns.data.dataset import Split
from keras_cnns.data.draws import Draws

NONE = Augmentation()
MOST_BYTES_COPIED = 2**28


def training_batches(
    split: Split,
    *,
    classes: int,
    batch_size: int,
    seed: int,
    epoch: tf.Variable,
    augmentation: Augmentation = NONE,
    class_weights: np.ndarray | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return one epoch of shuffled batches, the last one smaller if need be.

    Order and augmentation depend on the seed and on the epoch's number alone, so that a resumed training sees its
    images as if it had never stopped.

    Args:
        split: The training images.
        classes: How many classes there are.
        batch_size: Images a batch.
        seed: Seed of the order and the augmentation.
        epoch: An int64 variable that holds the epoch's number when iteration begins.
        augmentation: How images are changed.
        class_weights: What an image of each class counts, shape (classes,).
        share: The number of this worker, from 0, and how many workers share each batch. Each then makes its part of
            as many batches as there are workers as one, which TensorFlow parts again; the images by which one worker
            would have more than another are left out, other ones in each epoch.

    Returns:
        Float32 images, 0 to 255, with float32 labels of shape (images, classes), the shares of the classes; and with
        `class_weights` what each image counts.
    """
    number, workers = share
    count = len(split) // workers
    fetch = fetcher(split.images)
    with tf.device("CPU:0"):
        labels = tf.constant(split.labels)
    weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
    changing, mixing = augmentation.layers()

    def order(_: tf.Tensor) -> tf.data.Dataset:
        at = tf.stack([tf.constant(seed, tf.int64), epoch.read_value()])
        places = shuffled(len(split), at)[: count * workers][number::workers]
        batches = tf.data.Dataset.from_tensor_slices(places).batch(batch_size).enumerate()
        return batches.map(
            lambda step, batch: (tf.random.experimental.stateless_fold_in(at, step * workers + number), batch)
        )

    def prepare(at: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, ...]:
        draws = Draws(tf.cast(at, tf.int32))
        chosen = tf.gather(labels, places)
        shares = tf.cast(chosen, tf.float32) if labels.shape.rank == 2 else tf.one_hot(chosen, classes)
        images = change(tf.cast(fetch(places), tf.float32), changing, draws, unchanged=augmentation.unchanged)
        images, shares = mix(images, shares, mixing, draws)
        return (images, shares) if weights is None else (images, shares, tf.linalg.matvec(shares, weights))

    batches = tf.data.Dataset.range(1).flat_map(order)
    if workers == 1:
        batches = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(count / batch_size)))
    return unsharded(batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)).prefetch(tf.data.AUTOTUNE)


def shuffled(count: int, at: Any) -> tf.Tensor:
    """Return the order of an epoch's images, `at` being the seed and the epoch's number."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=at)


def places_of(count: int, batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Return which training images a step is on; epochs and steps count from 0."""
    places = shuffled(count, tf.constant([seed, epoch], tf.int64))
    return np.asarray(places[step * batch_size : (step + 1) * batch_size])


def fetcher(images: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return what fetches images by their places: few from TensorFlow's memory, many from where they are."""
    if images.nbytes <= MOST_BYTES_COPIED and not isinstance(images, np.memmap):
        with tf.device("CPU:0"):
            kept = tf.constant(images)
        return lambda places: tf.gather(kept, places)

    def fetch(places: tf.Tensor) -> tf.Tensor:
        fetched = tf.numpy_function(lambda chosen: np.asarray(images[chosen]), [places], tf.uint8, stateful=False)
        return tf.ensure_shape(fetched, (None, *images.shape[1:]))

    return fetch


def evaluation_batches(images: np.ndarray, batch_size: int = 256) -> tf.data.Dataset:
    """Return images in their order, in float32, 0 to 255."""
    fetch = fetcher(images)
    batches = tf.data.Dataset.range(len(images)).batch(batch_size)
    return unsharded(batches.map(lambda places: tf.cast(fetch(places), tf.float32))).prefetch(tf.data.AUTOTUNE)


def unsharded(batches: Any) -> Any:
    """Let several devices of one machine share each batch instead of the files it comes from.

    Nothing is tuned while it runs: the thread that does so sleeps for up to a minute, and TensorFlow 2.21 waits for it
    where an iterator ends, doing nothing.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
