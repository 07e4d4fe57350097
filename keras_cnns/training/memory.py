"""Gradient accumulation over micro-batches, for batches that do not fit into memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import keras
import tensorflow as tf

from keras_cnns.atomic import write_text
from keras_cnns.errors import TrainingError
from keras_cnns.training.checkpoints import MICRO_BATCHES
from keras_cnns.training.devices import cluster

MICRO_BATCHES_FILE = "micro_batches.json"
# In out-of-memory errors without a class of their own: of XLA, JAX and CUDA's libraries.
OUT_OF_MEMORY_MESSAGES = ("resource_exhausted", "out of memory", "out_of_memory", "failed to allocate")
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, TensorFlow or JAX is an out-of-memory error."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return True
    message = str(error).lower()
    is_candidate = isinstance(error, RuntimeError | tf.errors.OpError)
    return is_candidate and any(part in message for part in OUT_OF_MEMORY_MESSAGES)


def train_within_memory(folder: Path, images: int, train: Callable[[int], Result]) -> Result:
    """Train with whole batches and, if they do not fit into memory, with 2, 4, 8, ... micro-batches per batch.

    Args:
        folder: The folder of the training. It stores the number of micro-batches for a resumed training, because
            batch norm and dropout give other weights with another number.
        images: Images per batch on each device.
        train: Trains with this number of micro-batches per batch, from the last checkpoint in the folder.

    Raises:
        TrainingError: A single image does not fit, or micro-batches are not possible with several workers.
    """
    micro_batches = read_micro_batches(folder)
    while True:
        try:
            return train(micro_batches)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler, where the error keeps the network alive.
        gc.collect()
        micro_batches = increase_micro_batches(folder, images)


def read_micro_batches(folder: Path) -> int:
    """Return the number of micro-batches per batch of a training."""
    path = folder / MICRO_BATCHES_FILE
    return int(json.loads(path.read_text("utf-8"))[MICRO_BATCHES]) if path.exists() else 1


def increase_micro_batches(folder: Path, images: int) -> int:
    """Double the number of micro-batches per batch of a training, and return the new number.

    Args:
        folder: The folder of the training.
        images: Images per batch on each device, the maximum number of micro-batches.

    Raises:
        TrainingError: The number cannot be increased.
    """
    micro_batches = read_micro_batches(folder)
    if micro_batches >= images:
        raise TrainingError(
            "a single image does not fit into memory; use smaller images (image_size), a smaller network, or "
            "precision='mixed_bfloat16'."
        )
    if cluster().workers > 1:
        raise TrainingError(
            f"{images} images per device do not fit into memory, and micro-batches are not supported with several "
            f"workers; halve batch_size."
        )
    micro_batches = min(2 * micro_batches, images)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MICRO_BATCHES_FILE, json.dumps({MICRO_BATCHES: micro_batches}))
    return micro_batches


def micro_batch_step(model: keras.Model, max_images: int) -> Callable[[Any], Any]:
    """Return a `train_step` that processes each batch in micro-batches of at most `max_images` images.

    The gradient of a batch is the mean of the micro-batches' gradients, weighted by their images, and the optimizer
    is called once. So schedules, clipping, weight decay and the moving average of the weights are those of whole
    batches, and so are the gradients, except that batch norm uses the statistics of each micro-batch and dropout
    draws a mask for each. Keras's `gradient_accumulation_steps` weights micro-batches equally and counts each as a
    step of the moving average.

    Args:
        model: A compiled network with one input and one output.
        max_images: Maximum number of images in a micro-batch.
    """
    (output,) = model.outputs
    (loss_metric,) = (metric for metric in model.metrics if metric.name == "loss")

    def step(data: Any) -> Any:
        weights = model.trainable_weights  # other ones after blocks are unfrozen
        x, y, sample_weight = batch = keras.utils.unpack_x_y_sample_weight(data)
        images = tf.shape(x, tf.int64)[0]
        micro_batches = (images + max_images - 1) // max_images

        def add_micro_batch(index: Any, loss: Any, gradients: list[Any], outputs: Any) -> tuple[Any, ...]:
            begin, end = index * images // micro_batches, (index + 1) * images // micro_batches
            micro_batch = tuple(None if values is None else values[begin:end] for values in batch)
            new_loss, new_gradients, predicted = compute_gradients(model, micro_batch, weight=(end - begin) / images)
            gradients = [total + new for total, new in zip(gradients, new_gradients, strict=True)]
            return index + 1, loss + new_loss, gradients, outputs.write(tf.cast(index, tf.int32), predicted)

        outputs = tf.TensorArray(
            output.dtype, size=tf.cast(micro_batches, tf.int32), infer_shape=False, element_shape=output.shape
        )
        _, loss, gradients, outputs = tf.while_loop(
            lambda index, *_: index < micro_batches,
            add_micro_batch,
            (tf.constant(0, tf.int64), 0.0, [tf.zeros(weight.shape, weight.dtype) for weight in weights], outputs),
            parallel_iterations=1,  # otherwise several micro-batches would be in memory
        )
        model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        devices = tf.distribute.get_strategy().num_replicas_in_sync  # each device has its share of the loss
        loss_metric.update_state(loss * devices, sample_weight=images)
        return model.compute_metrics(x, y, outputs.concat(), sample_weight=sample_weight)

    return step


def compute_gradients(model: keras.Model, micro_batch: tuple[Any, ...], *, weight: Any) -> tuple[Any, list[Any], Any]:
    """Return the weighted loss and gradients of a micro-batch, and the network's outputs.

    Args:
        model: A compiled network.
        micro_batch: Images, labels, and the weight of each image or None.
        weight: The fraction of the batch's images that are in the micro-batch.
    """
    x, y, sample_weight = micro_batch
    with tf.GradientTape() as tape:
        predicted = model(x, training=True)
        loss = model.compute_loss(x, y, predicted, sample_weight, training=True)
        loss *= tf.cast(weight, loss.dtype)
        scaled = model.optimizer.scale_loss(loss)
    unconnected = tf.UnconnectedGradients.ZERO
    return loss, tape.gradient(scaled, model.trainable_weights, unconnected_gradients=unconnected), predicted
