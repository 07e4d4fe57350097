"""Functions called in new processes, which start with the backend imported but not yet used."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_cnns.cli import main

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


def start_command(folder: Path, *arguments: str) -> ForkServerProcess:
    """Run a command of `keras-cnns` as `start` does."""
    return start(folder, main, arguments)


def start(
    folder: Path, function: Callable[..., Any], *arguments: Any, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Call a function in a new session, as from a shell, in a folder in which its output is kept in `out` and `err`."""
    process = FORKED.Process(target=run, args=(folder, environment or {}, function, arguments))
    process.start()
    return process


def run(folder: Path, environment: Mapping[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    if "PYTHONPATH" in environment:
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    for name, file in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(function(*arguments))


def use_devices(count: int) -> None:
    """Let the process use its processor as several devices."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
