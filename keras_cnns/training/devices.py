"""The devices of a training."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import keras
import psutil

from keras_cnns.errors import SettingError


class Cluster(NamedTuple):
    """This process among the workers that share each batch.

    Attributes:
        worker: The index of this worker; worker 0 writes the results.
        workers: The number of workers.
    """

    worker: int
    workers: int


@functools.cache
def strategy() -> Any:
    """Return the distribution strategy over the devices of this process, or of all workers in TF_CONFIG.

    A `MirroredStrategy` for several devices of this process, a `MultiWorkerMirroredStrategy` if TF_CONFIG lists
    several workers, or None for one device or a Keras backend other than TensorFlow. A process can have only one
    strategy, which has to be created before any other operation, so call this function first.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf  # noqa: PLC0415 - not needed by other backends

    enable_memory_growth()
    if cluster().workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices]) if len(devices) > 1 else None


def enable_memory_growth() -> None:
    """Allocate GPU memory as needed instead of all at once, so that processes can share a GPU.

    Has no effect if the user has set TF_FORCE_GPU_ALLOW_GROWTH or memory limits, or if the GPUs are in use already.
    """
    import tensorflow as tf  # noqa: PLC0415 - not needed by other backends

    if "TF_FORCE_GPU_ALLOW_GROWTH" in os.environ:
        return
    for device in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(device, enable=True)


def describe_hardware() -> dict[str, str]:
    """Return tags of a run with the processor, the memory and the devices of this machine."""
    tags = {
        "hardware.processor": processor_name() or platform.machine(),
        "hardware.cores": str(os.cpu_count()),
        "hardware.memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    names = accelerator_names()
    return {**tags, **({"hardware.devices": ", ".join(names)} if names else {})}


def accelerator_names() -> list[str]:
    """Return the name of each GPU that TensorFlow can use."""
    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf  # noqa: PLC0415 - not needed by other backends

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [str(each.get("device_name", "GPU")) for each in details]


def processor_name() -> str:
    """Return the name of the processor, if the system provides it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def replica_count() -> int:
    """Return the number of devices that share each batch."""
    return 1 if strategy() is None else int(strategy().num_replicas_in_sync)


@functools.cache
def cluster() -> Cluster:
    """Return the index of this worker and the number of workers, as set in TF_CONFIG.

    Raises:
        SettingError: TF_CONFIG is not valid.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return Cluster(0, 1)
    try:
        config = json.loads(text)
        chiefs, workers = (config["cluster"].get(role, []) for role in ("chief", "worker"))
        task = config["task"]
        first = 0 if task["type"] == "chief" else len(chiefs)
        return Cluster(first + int(task["index"]), len(chiefs) + len(workers))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingError(
            'TF_CONFIG is not valid; use {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
            '"index": 0}}, or unset it.'
        ) from None
