"""The devices that a training runs on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from typing import Any

import keras

from keras_cnns.errors import SettingError


@functools.cache
def strategy() -> Any:
    """Return the strategy over all devices: of this process, or of all workers that TF_CONFIG names.

    A `MirroredStrategy` where this process has several devices, a `MultiWorkerMirroredStrategy` where TF_CONFIG
    names several workers. A process may have one such object only, so it is made here and nowhere else, before
    anything is computed. With one device, or on another Keras backend than TensorFlow, it is None.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf  # noqa: PLC0415 - other backends do not need it

    let_memory_grow()
    if workers() > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices]) if len(devices) > 1 else None


def let_memory_grow() -> None:
    """Let TensorFlow take a GPU's memory as it needs it, not all at once, so that processes can share one.

    What the user has settled stays: by TF_FORCE_GPU_ALLOW_GROWTH, by limits, or by having computed before.
    """
    import tensorflow as tf  # noqa: PLC0415 - other backends do not need it

    if "TF_FORCE_GPU_ALLOW_GROWTH" in os.environ:
        return
    for device in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(device, enable=True)


def replicas() -> int:
    """Return how many devices share each batch."""
    mirrored = strategy()
    return 1 if mirrored is None else int(mirrored.num_replicas_in_sync)


@functools.cache
def cluster() -> tuple[int, int]:
    """Return the number of this worker, from 0, and how many there are, as TF_CONFIG says.

    Raises:
        SettingError: TF_CONFIG is not what TensorFlow reads.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return 0, 1
    try:
        config = json.loads(text)
        names = [*config["cluster"].get("chief", []), *config["cluster"].get("worker", [])]
        task = config["task"]
        before = 0 if task["type"] == "chief" else len(config["cluster"].get("chief", []))
        return before + int(task["index"]), len(names)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingError(
            'TF_CONFIG is not legal; write {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
            '"index": 0}}, or unset it.'
        ) from None


def worker() -> int:
    """Return the number of this worker; worker 0 keeps what comes out."""
    return cluster()[0]


def workers() -> int:
    """Return how many workers share each batch."""
    return cluster()[1]
