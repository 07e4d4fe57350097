"""Trials on a machine's cores: Ray, and Tune that runs them."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune

from keras_cnns.data import Dataset
from tuning.schedulers import make_scheduler
from tuning.suggester import Suggester
from tuning.trial import run_trial


@contextlib.contextmanager
def local_ray(cores: int) -> Iterator[None]:
    """A Ray of our own with this many cores, or the one that this process has already."""
    if ray.is_initialized():
        yield
        return
    # No result files beside the journal, no snapshots (the journal is the truth), Ctrl-C comes here, and a worker
    # is not given up while the trial it had is still being put away: two seconds are too few on a busy machine.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "600")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
    )
    try:
        yield
    finally:
        gc.collect()  # what is left of Tune and dies later, in whatever thread, would end this process
        ray.shutdown()


def run_candidates(suggester: Suggester, *, dataset: Dataset, seed: int, scheduler: str, place: Path) -> None:
    """Let Tune run the trials, one core each (and a GPU where there are any)."""
    keeper, recipe = suggester.keeper, suggester.space.recipe
    trainable = tune.with_parameters(
        run_trial,
        dataset=dataset,
        seed=seed,
        folder=place.resolve(),
        ended={number for number, state in keeper.known.items() if state.ended},
    )
    resources = {"cpu": 1, "gpu": 1} if ray.cluster_resources().get("GPU") else {"cpu": 1}
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            metric=recipe.monitor,
            mode="max",
            search_alg=suggester,
            num_samples=suggester.left,
            scheduler=make_scheduler(scheduler, recipe.epochs),
            reuse_actors=True,
            trial_name_creator=name_trial,
            trial_dirname_creator=name_trial,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{uuid.uuid4().hex[:8]}",
            storage_path=str(place.resolve()),
            callbacks=[keeper],
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # Tune writes tables whatever its verbosity
        tuner.fit()


def name_trial(trial: Any) -> str:
    """Name a trial, and its folder at Tune, by its number."""
    return f"trial-{trial.config['number']:04d}"
