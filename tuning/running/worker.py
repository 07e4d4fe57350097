"""Training in a worker process of a sweep. Only workers import this module, because it loads a backend."""

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
from keras_cnns.training.job import Job, count_costs
from keras_cnns.training.memory import increase_micro_batches
from tuning.running.workarounds import RECYCLE

IGNORED_DEATHS = 1  # the first death of a process need not be due to its candidate

Report = Callable[[Mapping[str, float]], None]


def train_candidate(
    config: Mapping[str, Any],
    dataset: Dataset,
    folder: Path,
    *,
    cores: int,
    upload: Callable[[], None] | None,
    max_growth: int,
    report: Report,
) -> None:
    """Train a candidate in this process, which may have trained others before.

    Args:
        config: As for `tuning.running.trial.run_trial`.
        dataset: The images.
        folder: Folder of the training.
        cores: Threads of the backend.
        upload: Uploads the folder to the storage, if there is one.
        max_growth: Bytes by which this process may grow before it is recycled.
        report: Reports the metrics of an epoch.
    """
    candidate = config["candidate"]
    job = Job(**vars(candidate), seed=config["seed"])
    costs = count_costs(job, dataset).as_metrics()
    history = read_progress(folder).history
    for epoch in range(max(1, config["known"]), len(history) + 1):
        report({**history[epoch - 1], **costs, "epoch": epoch})
    if len(history) >= job.recipe.recorded_epochs:
        return
    keras.backend.clear_session()
    gc.collect()
    recycle = resident_bytes() - initial_bytes() > max_growth
    configure_devices(cores)
    if config.get("deaths", 0) > IGNORED_DEATHS:
        increase_micro_batches(folder, job.recipe.batch_size)  # repeated deaths suggest that memory runs out
    fit(job, dataset, folder, progress_callbacks=[Reporter({**costs, RECYCLE: recycle}, upload, report)])


@functools.cache
def initial_bytes() -> int:
    """Return the memory that this process used when it began its first candidate."""
    return resident_bytes()


def resident_bytes() -> int:
    """Return the memory that this process uses."""
    return int(psutil.Process().memory_info().rss)


def configure_devices(cores: int) -> None:
    """Set the devices and the number of threads of this process, once."""
    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
        if not ray.get_gpu_ids():
            tf.config.set_visible_devices([], "GPU")
    strategy()  # must exist before anything is computed


class Reporter:
    """A progress callback that uploads each epoch's checkpoint and reports its metrics with the network's costs."""

    def __init__(self, costs: Mapping[str, float], upload: Callable[[], None] | None, report: Report) -> None:
        self.costs = costs
        self.upload = upload
        self.report = report

    def step(self, done: int, total: int) -> None:
        """Ignore single steps."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Upload and report an epoch; Tune may end the trial here."""
        if self.upload is not None:
            self.upload()
        self.report({**metrics, **self.costs, "epoch": number})
