"""Training inside a worker process of a sweep. Only workers import this module, because it loads a backend."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import psutil
import ray
import tensorflow as tf

from keras_cnns.data import Dataset
from keras_cnns.training.checkpoints import read_progress
from keras_cnns.training.devices import strategy
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job, measure
from keras_cnns.training.memory import settle_more_parts
from tuning.running.workarounds import RECYCLE

IGNORED_DEATHS = 1  # the first death of a process says nothing about its candidate

Report = Callable[[Mapping[str, float]], None]


def train_candidate(
    config: Mapping[str, Any],
    dataset: Dataset,
    place: Path,
    *,
    cores: int,
    keep: Callable[[], None] | None,
    recycle_above: int,
    report: Report,
) -> None:
    """Train one candidate in this process, which may have trained others before.

    Args:
        config: As `tuning.running.trial.run_trial` takes it, with a seed.
        dataset: The images.
        place: The folder that it trains in.
        cores: Threads of the backend.
        keep: Copies the folder to the storage, if there is one.
        recycle_above: Bytes by which this process may grow before it is replaced.
        report: Receives the metrics of each epoch.
    """
    candidate = config["candidate"]
    job = Job(model=candidate.model, settings=candidate.settings, recipe=candidate.recipe, seed=config["seed"])
    costs = measure(job, dataset).as_metrics()
    history = read_progress(place).history
    for epoch in range(max(1, config["known"]), len(history) + 1):
        report({**history[epoch - 1], **costs, "epoch": epoch})
    if len(history) >= job.recipe.epochs:
        return
    keras.backend.clear_session()
    gc.collect()
    recycle = process_growth() > recycle_above
    settle_devices(cores)
    if config.get("deaths", 0) > IGNORED_DEATHS:
        settle_more_parts(place, job.recipe.batch_size)  # a process that dies again may lack memory
    fit(job, dataset, place, progress_callback=Reporter({**costs, RECYCLE: recycle}, keep, report))


def process_growth() -> int:
    """Return the bytes by which this process has grown since it began its first candidate."""
    return resident_bytes() - bytes_at_first()


@functools.cache
def bytes_at_first() -> int:
    """Return the memory that this process took when first asked."""
    return resident_bytes()


def resident_bytes() -> int:
    """Return the memory that this process takes."""
    return int(psutil.Process().memory_info().rss)


def settle_devices(cores: int) -> None:
    """Choose, once for this process, its devices and number of threads."""
    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
        if not ray.get_gpu_ids():
            tf.config.set_visible_devices([], "GPU")
    strategy()  # has to be made before anything is computed


class Reporter:
    """A progress callback that stores each epoch's checkpoint and reports its metrics with the network's costs."""

    def __init__(self, costs: Mapping[str, float], keep: Callable[[], None] | None, report: Report) -> None:
        self.costs = costs
        self.keep = keep
        self.report = report

    def step(self, done: int, total: int) -> None:
        """Single steps are not reported."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Store and report an epoch; Tune may end the trial here."""
        if self.keep is not None:
            self.keep()
        self.report({**metrics, **self.costs, "epoch": number})
