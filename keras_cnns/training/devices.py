"""The devices that a training runs on."""

from __future__ import annotations

import functools
from typing import Any

import keras


@functools.cache
def strategy() -> Any:
    """Return the strategy over all devices of this process: a `MirroredStrategy` where there are several.

    A process may have one such object only, so it is made here and nowhere else. With one device, or on
    another Keras backend than TensorFlow, it is None.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf  # noqa: PLC0415 - other backends do not need it

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices]) if len(devices) > 1 else None


def replicas() -> int:
    """Return how many devices share each batch."""
    mirrored = strategy()
    return 1 if mirrored is None else int(mirrored.num_replicas_in_sync)
