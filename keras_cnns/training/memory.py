"""A batch in parts, where memory does not hold all of it at once."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import keras
import tensorflow as tf

from keras_cnns.errors import TrainingError
from keras_cnns.training.checkpoints import BATCH_PARTS, write_text
from keras_cnns.training.devices import workers

PARTS = "parts.json"
# What a lack of memory is called where it has no class of its own: by XLA, by JAX, by CUDA's libraries.
SIGNS = ("resource_exhausted", "out of memory", "out_of_memory", "failed to allocate")
Result = TypeVar("Result")


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was too small: Python's, TensorFlow's, or JAX's."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return True
    return isinstance(error, RuntimeError | tf.errors.OpError) and any(sign in str(error).lower() for sign in SIGNS)


def parts_that_fit(folder: Path, images: int, train: Callable[[int], Result]) -> Result:
    """Train with each batch whole, and where memory does not hold it, in 2 parts, 4, 8, ... until it does.

    Args:
        folder: The training's folder, which keeps in how many parts it went on: batch norm and dropout would give
            other weights with another number.
        images: Images of a batch on each device.
        train: Trains with each device's batch in so many parts, going on from the folder's last checkpoint.

    Raises:
        TrainingError: One image at a time is too much, or batches cannot be parted here.
    """
    parts = read_parts(folder)
    while True:
        try:
            return train(parts)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Outside of the handler, because the error holds the frames that hold the network.
        gc.collect()
        parts = settle_more_parts(folder, images)


def read_parts(folder: Path) -> int:
    """Return in how many parts a training has each batch."""
    path = folder / PARTS
    return int(json.loads(path.read_text("utf-8"))[BATCH_PARTS]) if path.exists() else 1


def settle_more_parts(folder: Path, images: int) -> int:
    """Let a training go on with each batch in twice as many parts, and return how many that are.

    Raises:
        TrainingError: There is no such number.
    """
    parts = more_parts(read_parts(folder), images)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PARTS, json.dumps({BATCH_PARTS: parts}))
    return parts


def more_parts(parts: int, images: int) -> int:
    """Return the number of parts to try after one that was too few.

    Raises:
        TrainingError: There is none.
    """
    if parts >= images:
        raise TrainingError(
            "one image at a time does not fit into memory; smaller images (image_size), a smaller network, or "
            "precision='mixed_bfloat16' would help."
        )
    if workers() > 1:
        raise TrainingError(
            f"{images} images a device do not fit into memory, and only one machine by itself takes a batch in parts, "
            "because several must agree; halve batch_size."
        )
    return min(2 * parts, images)


def step_in_parts(model: keras.Model, most: int) -> Callable[[Any], Any]:
    """Return a step for `model.train_step` that has at most `most` images of a batch in memory at a time.

    The gradient of the whole batch is the sum of its parts' gradients, each weighed by its images, and the optimizer
    is called once. So schedules, clipping, decay and the average of the weights are those of the whole batch, and so
    are the gradients but for what layers see: batch norm the statistics of each part, dropout one draw for each.
    Keras's own `gradient_accumulation_steps` weighs parts equally and counts them as steps of the average.

    Args:
        model: A compiled network with one input and one output.
        most: Images of a part.
    """
    (output,) = model.outputs
    (tracker,) = (metric for metric in model.metrics if metric.name == "loss")
    weights = model.trainable_weights

    def step(data: Any) -> Any:
        x, y, sample_weight = batch = keras.utils.unpack_x_y_sample_weight(data)
        images = tf.shape(x, tf.int64)[0]
        parts = (images + most - 1) // most

        def add_part(number: Any, loss: Any, gradients: list[Any], outputs: Any) -> tuple[Any, ...]:
            begin, end = number * images // parts, (number + 1) * images // parts
            part = tuple(None if values is None else values[begin:end] for values in batch)
            part_loss, part_gradients, predicted = graded(model, part, share=(end - begin) / images)
            gradients = [one + other for one, other in zip(gradients, part_gradients, strict=True)]
            return number + 1, loss + part_loss, gradients, outputs.write(tf.cast(number, tf.int32), predicted)

        nothing = tf.TensorArray(
            output.dtype, size=tf.cast(parts, tf.int32), infer_shape=False, element_shape=output.shape
        )
        _, loss, gradients, outputs = tf.while_loop(
            lambda number, *_: number < parts,
            add_part,
            (tf.constant(0, tf.int64), 0.0, [tf.zeros(weight.shape, weight.dtype) for weight in weights], nothing),
            parallel_iterations=1,  # one after the other, or all would be in memory
        )
        model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        devices = tf.distribute.get_strategy().num_replicas_in_sync  # each has its share of the loss
        tracker.update_state(loss * devices, sample_weight=images)
        return model.compute_metrics(x, y, outputs.concat(), sample_weight=sample_weight)

    return step


def graded(model: keras.Model, part: tuple[Any, ...], *, share: Any) -> tuple[Any, list[Any], Any]:
    """Return what a part of a batch adds to its loss and gradients, and the network's outputs for it.

    Args:
        model: A compiled network.
        part: Images, labels, and what each image counts or None.
        share: Of the batch's images.
    """
    x, y, sample_weight = part
    with tf.GradientTape() as tape:
        predicted = model(x, training=True)
        loss = model.compute_loss(x, y, predicted, sample_weight, training=True)
        loss *= tf.cast(share, loss.dtype)
        scaled = model.optimizer.scale_loss(loss)
    unconnected = tf.UnconnectedGradients.ZERO
    return loss, tape.gradient(scaled, model.trainable_weights, unconnected_gradients=unconnected), predicted
