"""Batch norm in one operation: Keras 3.15 takes twenty, which on processors are half of a small DenseNet's step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf


def fuse_batch_norm(model: keras.Model) -> None:
    """Let a model's batch norms train in one operation each, with the same results.

    The layers stay Keras's own, and so does what is saved. Where there are GPUs nothing is changed: there XLA puts
    operations together.
    """
    if not tf.config.list_logical_devices("GPU"):
        for layer in filter(is_of_maps, model.layers):
            layer.call = fused(layer)


def is_of_maps(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is a plain batch norm of maps that stand last."""
    if type(layer) is not keras.layers.BatchNormalization or layer.renorm or layer.synchronized:
        return False
    return len(layer.input.shape) == 4 and layer.axis in (-1, 3)


def fused(layer: keras.layers.BatchNormalization) -> Callable[..., Any]:
    """Return what calls a batch norm in training in one operation, and otherwise as Keras does."""
    plain = layer.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and layer.trainable) or mask is not None:
            return plain(inputs, training=training, mask=mask)
        maps = layer.moving_mean.shape
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.cast(inputs, tf.float32),
            layer.gamma.value if layer.scale else tf.ones(maps),
            layer.beta.value if layer.center else tf.zeros(maps),
            epsilon=layer.epsilon,
            is_training=True,
        )
        places = tf.cast(tf.size(inputs) // maps[0], tf.float32)
        variance *= (places - 1) / places  # the operation divides by one place fewer, Keras does not
        for moving, found in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + found * (1 - layer.momentum))
        return tf.cast(outputs, layer.compute_dtype)

    return call


@contextlib.contextmanager
def relu_apart() -> Iterator[None]:
    """Keep TensorFlow 2.21 from putting a ReLU into the batch norm before it, which takes a processor twice as long."""
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})
