"""Batches of images for `fit` and `predict`, as `tf.data`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_cnns.data.dataset import Split


def training_batches(split: Split, *, batch_size: int, seed: int, epoch: tf.Variable) -> tf.data.Dataset:
    """Return one epoch of shuffled batches, the last one smaller if need be.

    The order depends on the seed and on the epoch's number alone, so that a resumed training sees its images as
    if it had never stopped.

    Args:
        split: The training images.
        batch_size: Images a batch.
        seed: Seed of the order.
        epoch: An int64 variable that holds the epoch's number when iteration begins.

    Returns:
        Pairs of float32 images, 0 to 255, and int64 labels.
    """
    count = len(split)
    with tf.device("CPU:0"):
        images, labels = tf.constant(split.images), tf.constant(split.labels)

    def order(_: tf.Tensor) -> tf.data.Dataset:
        at = tf.stack([tf.constant(seed, tf.int64), epoch.read_value()])
        return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(tf.range(count), seed=at))

    def gather(places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.gather(images, places), tf.float32), tf.gather(labels, places)

    batches = tf.data.Dataset.range(1).flat_map(order).batch(batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(count / batch_size)))
    return unsharded(batches.map(gather, num_parallel_calls=tf.data.AUTOTUNE)).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(images: np.ndarray, batch_size: int = 256) -> tf.data.Dataset:
    """Return images in their order, in float32, 0 to 255."""
    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)
    return unsharded(batches.map(lambda batch: tf.cast(batch, tf.float32))).prefetch(tf.data.AUTOTUNE)


def unsharded(batches: Any) -> Any:
    """Let several devices of one machine share each batch instead of the files it comes from."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
