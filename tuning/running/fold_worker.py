"""The training of a fold in a worker process. Only workers import this module, because it loads a backend."""

from __future__ import annotations

import gc
from pathlib import Path

import keras

from keras_cnns.data.folds import Folds
from keras_cnns.training.folds import train_fold
from keras_cnns.training.job import Job
from keras_cnns.training.memory import increase_micro_batches
from tuning.running.shared_dataset import SharedDataset
from tuning.running.worker import IGNORED_DEATHS, configure_devices


def train_shared_fold(
    job: Job, dataset: SharedDataset, folds: Folds, index: int, folder: Path, *, cores: int, deaths: int
) -> None:
    """Train a fold in this process, which may have trained others before; the driver records the result.

    Args:
        job: The network and how to train it.
        dataset: The pooled images.
        folds: The folds.
        index: The index of the fold.
        folder: Folder of its training.
        cores: Threads of the backend.
        deaths: How often a process that trained this fold died.
    """
    keras.backend.clear_session()
    gc.collect()
    configure_devices(cores)
    if deaths > IGNORED_DEATHS:
        increase_micro_batches(folder, job.recipe.batch_size)  # repeated deaths suggest that memory runs out
    train_fold(job, dataset.load(), folds, index, folder)
