"""The fastest way to train on this machine, measured once and cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_cnns.atomic import write_text
from keras_cnns.cache import cache_folder
from keras_cnns.training.devices import processor_name

PRECISIONS = ("float32", "mixed_bfloat16")
MAX_STEPS_PER_EXECUTION = 32
SECONDS_PER_EXECUTION = 0.25
SECONDS_TO_MEASURE = 2.0
SPEED = "speed.json"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The settings of a training that determine its speed.

    Attributes:
        precision: Keras's dtype policy.
        steps_per_execution: Steps that TensorFlow executes without returning to Python.
    """

    precision: str
    steps_per_execution: int


def choose_speed(folder: Path, facts: Mapping[str, Any], precision: str, time_step: Callable[[str], float]) -> Speed:
    """Return the settings with which a training has started or, for a new one, those of its recipe or the fastest.

    Args:
        folder: The folder of the training. It stores the settings for a resumed training, because another precision
            would give other weights.
        facts: What the speed depends on besides the machine; has to be serializable as JSON.
        precision: The precision of the recipe.
        time_step: Returns the seconds per step in a precision.
    """

    def choose() -> Speed:
        if precision == "auto":
            return fastest_speed({**facts, **machine_facts()}, time_step)
        return Speed(precision=precision, steps_per_execution=MAX_STEPS_PER_EXECUTION)

    return read_or_create(folder / SPEED, choose)


def fastest_speed(facts: Mapping[str, Any], time_step: Callable[[str], float]) -> Speed:
    """Return the fastest settings for these facts, from the cache or measured now."""

    def measure() -> Speed:
        times = {precision: time_step(precision) for precision in PRECISIONS}
        fastest = min(times, key=lambda precision: times[precision])
        steps = round(SECONDS_PER_EXECUTION / times[fastest])
        return Speed(precision=fastest, steps_per_execution=max(1, min(steps, MAX_STEPS_PER_EXECUTION)))

    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return read_or_create(cache_folder("speed") / f"{key}.json", measure)


def read_or_create(path: Path, create: Callable[[], Speed]) -> Speed:
    """Return the settings in a file, which is created if it does not exist."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(create())))
    return Speed(**json.loads(path.read_text("utf-8")))


def machine_facts() -> dict[str, Any]:
    """Return the properties of this machine that affect its speed."""
    devices = tf.config.list_physical_devices()
    threads = tf.config.threading
    return {
        "versions": [tf.__version__, keras.__version__],
        "processor": [platform.machine(), processor_name(), os.cpu_count()],
        "devices": [tf.config.experimental.get_device_details(device).get("device_name", "") for device in devices],
        "threads": [threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()],
    }


@contextlib.contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Temporarily set Keras's global dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def seconds_per_step(model: keras.Model, batch: tuple[Any, ...]) -> float:
    """Return the median time of a training step, without the first two, which build the graph and buffers."""
    times: list[float] = []
    while len(times) < 5 or (sum(times) < SECONDS_TO_MEASURE and len(times) < 100):
        start = time.perf_counter()
        model.train_on_batch(*batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
