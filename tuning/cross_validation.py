"""Cross-validation with several folds at a time, in worker processes of Ray."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from keras_cnns.data import Dataset
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.networks.recipe import Recipe
from keras_cnns.tracking import Store
from keras_cnns.tracking.retry import RETRY_SECONDS
from keras_cnns.training.cross_validation import CrossValidation, start_cross_validation
from keras_cnns.training.run import make_job, resolve_dataset
from tuning.running.cluster import ClusterConfig, check_cluster
from tuning.running.folds import train_folds


@shows_progress
def cross_validate(
    model: str,
    data: str | Dataset = "digits",
    *,
    folds: int = 5,
    fold_by: str | None = None,
    settings: Mapping[str, object] | None = None,
    recipe: Recipe | str = "plain",
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    cores: int | None = None,
    cores_per_trial: int | None = None,
    gpus_per_trial: float | None = None,
    memory_per_trial: int | None = None,
    ray_address: str | None = None,
    resume: bool = False,
    experiment: str = "train",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress: bool | Progress = True,
) -> CrossValidation:
    """Cross-validate a network like `keras_cnns.cross_validate`, with several folds at a time.

    The result is that of `keras_cnns.cross_validate` in a process with as many threads as a fold has cores. If only one
    fold can run at a time, the folds are trained in this process.

    Args:
        model: As for `keras_cnns.cross_validate`, as are the arguments that are not described here.
        data: A source for `load`, or a dataset.
        folds: The number of folds.
        fold_by: A column of the source, each of whose values is left out once.
        settings: Settings of the model's family that differ from the variant's.
        recipe: A `Recipe`, or the name of one.
        weights: The weights to begin with, as for `keras_cnns.train`.
        seed: Seed of the networks of all folds.
        cores: Number of cores of all folds together; all cores by default.
        cores_per_trial: Number of cores per fold; by default the cores are shared evenly among the folds.
        gpus_per_trial: Number of GPUs per fold; 1 by default if there are any. Below 1, folds share a GPU.
        memory_per_trial: Bytes reserved per fold, which limits how many run at a time.
        ray_address: A running Ray cluster, as for `tuning.sweep`; all its machines must share the folder. By default,
            Ray is started on this machine.
        resume: Resume the newest unfinished cross-validation with the same arguments.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow store.
        folder: Folder for the checkpoints.
        progress: Whether to show progress, or what receives it.

    Raises:
        KerasCnnsError: An argument is not valid, or the data, the store or the cluster cannot be used.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    available = cores or os.cpu_count() or 1
    cluster = ClusterConfig(
        ray_address=ray_address,
        cores=cores,
        cores_per_trial=cores_per_trial or max(1, available // max(1, min(folds, available))),
        gpus_per_trial=gpus_per_trial,
        memory_per_trial=memory_per_trial,
    )
    dataset = resolve_dataset(data)
    job = make_job(model, settings, recipe, seed, dataset, weights, tracking_uri)
    check_cluster(cluster, Path(folder))
    return start_cross_validation(
        job,
        dataset,
        folds=folds,
        fold_by=fold_by,
        resume=resume,
        experiment=experiment,
        store=Store(tracking_uri, retry_timeout=RETRY_SECONDS),
        folder=Path(folder),
        train_folds=functools.partial(train_folds, cluster=cluster),
        progress=progress,
    )
