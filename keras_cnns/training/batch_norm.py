"""Batch norm as one operation; the twenty operations of Keras 3.15 take half of a small DenseNet's step on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf


def fuse_batch_norm(model: keras.Model) -> None:
    """Train each batch norm layer of a model with one fused operation, which gives the same results.

    The layers remain Keras layers, so saved models are unaffected. With a GPU nothing changes, because XLA fuses the
    operations there.
    """
    if not tf.config.list_logical_devices("GPU"):
        for layer in filter(can_fuse, model.layers):
            layer.call = make_fused_call(layer)


def can_fuse(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is a plain batch norm of feature maps with the channels last."""
    if type(layer) is not keras.layers.BatchNormalization or layer.renorm or layer.synchronized:
        return False
    return layer.input_spec.ndim == 4 and layer.axis in (-1, 3)


def make_fused_call(layer: keras.layers.BatchNormalization) -> Callable[..., Any]:
    """Return a `call` for a batch norm layer that is fused in training and the layer's own otherwise."""
    plain = layer.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and layer.trainable) or mask is not None:
            return plain(inputs, training=training, mask=mask)
        channels = layer.moving_mean.shape
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.cast(inputs, tf.float32),
            layer.gamma.value if layer.scale else tf.ones(channels),
            layer.beta.value if layer.center else tf.zeros(channels),
            epsilon=layer.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // channels[0], tf.float32)
        variance *= (count - 1) / count  # the operation's variance is unbiased, Keras's is not
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
        return tf.cast(outputs, layer.compute_dtype)

    return call


def freeze_statistics(model: keras.Model) -> None:
    """Let the batch norm layers of a model use their moving statistics during training, and not change them."""
    for layer in model.layers:
        if hasattr(layer, "moving_mean"):
            layer.call = make_inference_call(layer)


def make_inference_call(layer: keras.layers.Layer) -> Callable[..., Any]:
    """Return a `call` for a layer that is the layer's own in inference mode."""
    plain = layer.call

    def call(inputs: Any, training: bool | None = None, **options: Any) -> Any:  # noqa: ARG001 - Keras passes it
        return plain(inputs, training=False, **options)

    return call


@contextlib.contextmanager
def without_relu_fusion() -> Iterator[None]:
    """Prevent TensorFlow 2.21 from fusing batch norm with the ReLU after it, which is twice as slow on a CPU."""
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})
