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


def start_command(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Run a command of `keras-cnns` as from a shell, in a folder in which its output is kept in `out` and `err`."""
    process = FORKED.Process(target=run_command, args=(folder, arguments, dict(environment or {})))
    process.start()
    return process


def run_command(folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep) if "PYTHONPATH" in environment else []
    for name, file in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from keras_cnns.cli import main

    sys.exit(main(arguments))


def use_devices(count: int) -> None:
    """Let the process use its processor as several devices."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
