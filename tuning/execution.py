"""The trials of a sweep, as Tune runs them."""

from __future__ import annotations

import contextlib
import io
import logging
import uuid
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import TuneError

from tuning.running.images import handed_over
from tuning.running.journal import GENERATION, MOST_DEATHS
from tuning.running.plan import Plan
from tuning.running.team import Workers
from tuning.running.trial import run_trial
from tuning.searching.schedulers import early_stopping
from tuning.searching.suggester import Suggester

WORN_AT = 2**30


def run_candidates(suggester: Suggester, plan: Plan, place: Path, *, scheduler: str) -> None:
    """Let Tune run what a suggester has left; Ray has to be connected."""
    keeper, recipe, machines = suggester.keeper, plan.space.recipe, plan.machines
    stopping = early_stopping(scheduler, recipe, keeper, seed=plan.seed)
    with handed_over(plan.dataset) as images:
        trainable = tune.with_parameters(
            run_trial,
            images=images,
            seed=plan.seed,
            folder=place.resolve(),
            cores=machines.cores_per_trial,
            timed=plan.space.latency is not None,
            storage=machines.kept_in(place),
            team=Workers(machines.workers_per_trial, machines.a_worker()) if machines.workers_per_trial > 1 else None,
            worn_at=WORN_AT,
        )
        wanted = machines.a_trial()
        tuner = tune.Tuner(
            tune.with_resources(trainable, lambda config: of_generation(wanted, config[GENERATION])),
            tune_config=tune.TuneConfig(
                search_alg=suggester,
                num_samples=suggester.left,
                max_concurrent_trials=machines.most_at_once,
                scheduler=stopping,
                reuse_actors=True,
                trial_name_creator=name_trial,
                trial_dirname_creator=name_trial,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{uuid.uuid4().hex[:8]}",
                storage_path=str(place.resolve()),
                callbacks=[keeper],
                failure_config=tune.FailureConfig(max_failures=MOST_DEATHS - 1),
                verbose=0,
            ),
        )
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # of trials that fail the journal tells
        with contextlib.redirect_stdout(io.StringIO()):  # Tune writes tables whatever its verbosity
            try:
                tuner.fit()
            except TuneError as error:
                raise error.__cause__ or error from None


def of_generation(wanted: Any, generation: int) -> Any:
    """Return what a trial gets; a byte of memory more for each generation of processes.

    Tune gives a process to another trial if that wants exactly the same, so those of earlier generations end.
    """
    if not isinstance(wanted, dict) or not generation:
        return wanted
    return {**wanted, "memory": wanted.get("memory", 0.0) + generation}


def name_trial(trial: Any) -> str:
    """Name a trial, and its folder at Tune, by its number."""
    return f"trial-{trial.config['number']:04d}"
