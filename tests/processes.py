"""Functions called in new processes, which start with the backend imported but not yet used."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import tensorflow as tf

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["keras", "mlflow", "sklearn"])


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or raise what it raises, in a new process."""
    (found,) = call_together((function, *arguments))
    return found


def call_together(*calls: tuple[Any, ...]) -> list[Any]:
    """Call several functions at the same time, each in a new process."""
    with ProcessPoolExecutor(len(calls), mp_context=FORKED, max_tasks_per_child=1) as pool:
        return [future.result(timeout=200) for future in [pool.submit(*each) for each in calls]]


def use_devices(count: int) -> None:
    """Let the process use its processor as several devices."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
