"""What makes a training fast on this machine: measured once, then remembered."""

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

from keras_cnns.data.streaming import cache_folder
from keras_cnns.training.checkpoints import write_text

PRECISIONS = ("float32", "mixed_bfloat16")
# Between two visits to Python; several devices cannot end an epoch within an execution (Keras 3.15).
MOST_STEPS_PER_EXECUTION = 32
SECONDS_AN_EXECUTION = 0.25
SECONDS_TO_MEASURE = 2.0
SPEED = "speed.json"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How a training computes.

    Attributes:
        precision: Keras's dtype policy.
        steps_per_execution: Steps between two visits to Python.
    """

    precision: str
    steps_per_execution: int


def settle_speed(folder: Path, facts: Mapping[str, Any], wanted: str, time_step: Callable[[str], float]) -> Speed:
    """Return how a training computes: as it began, as this machine is known to be fast, or as is measured now.

    Args:
        folder: The training's folder, which keeps what was chosen: another precision would give other weights.
        facts: What the speed depends on beside the machine, as JSON can hold it.
        wanted: The recipe's precision.
        time_step: Returns how many seconds a step takes in a precision.
    """
    begun = folder / SPEED
    if begun.exists():
        return Speed(**json.loads(begun.read_text("utf-8")))
    if wanted == "auto":
        speed = remembered({**facts, **machine()}, time_step)
    else:
        speed = Speed(precision=wanted, steps_per_execution=MOST_STEPS_PER_EXECUTION)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(begun, json.dumps(asdict(speed)))
    return speed


def remembered(facts: Mapping[str, Any], time_step: Callable[[str], float]) -> Speed:
    """Return what was measured for these facts before, or measure it."""
    known = file_of("speed", facts)
    if not known.exists():
        times = {precision: time_step(precision) for precision in PRECISIONS}
        fastest = min(times, key=lambda precision: times[precision])
        steps = round(SECONDS_AN_EXECUTION / times[fastest])
        speed = Speed(precision=fastest, steps_per_execution=max(1, min(steps, MOST_STEPS_PER_EXECUTION)))
        write_text(known, json.dumps(asdict(speed)))
    return Speed(**json.loads(known.read_text("utf-8")))


def file_of(room: str, facts: Mapping[str, Any]) -> Path:
    """Return the file that keeps what was measured for these facts, in a room of the cache."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder(room) / f"{key}.json"


def machine() -> dict[str, Any]:
    """Return what tells machines of other speed apart."""
    devices = tf.config.list_physical_devices()
    threads = tf.config.threading
    return {
        "versions": [tf.__version__, keras.__version__],
        "processor": [platform.machine(), processor_name(), os.cpu_count()],
        "devices": [tf.config.experimental.get_device_details(device).get("device_name", "") for device in devices],
        "threads": [threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()],
    }


def processor_name() -> str:
    """Return the processor's name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Let layers that are made meanwhile compute in a precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def seconds_a_step(model: keras.Model, batch: tuple[Any, ...]) -> float:
    """Return the median time of a training step, after the first two, which build graph and buffers."""
    times: list[float] = []
    while len(times) < 5 or (sum(times) < SECONDS_TO_MEASURE and len(times) < 100):
        begun = time.perf_counter()
        model.train_on_batch(*batch)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[2:])
