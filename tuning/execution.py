"""The trials of a sweep, as Tune runs them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from ray import tune

from tuning.running.images import handed_over
from tuning.running.journal import MOST_DEATHS
from tuning.running.plan import Plan
from tuning.running.trial import run_trial
from tuning.running.workarounds import GENERATION, in_generation, quiet_tune
from tuning.searching.schedulers import early_stopping
from tuning.searching.suggester import Suggester

RECYCLE_ABOVE = 2**30


def run_candidates(suggester: Suggester, plan: Plan, place: Path, *, scheduler: str) -> None:
    """Let Tune run the trials that a suggester has left; Ray must be connected."""
    journal_callback, machines = suggester.journal_callback, plan.machines
    resources = machines.trial_resources()
    with handed_over(plan.dataset) as images:
        trainable = tune.with_parameters(
            run_trial,
            images=images,
            seed=plan.seed,
            folder=place.resolve(),
            cores=machines.cores_per_trial,
            storage=machines.kept_in(place),
            recycle_above=RECYCLE_ABOVE,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, lambda config: in_generation(resources, config[GENERATION])),
            tune_config=tune.TuneConfig(
                search_alg=suggester,
                num_samples=suggester.left,
                max_concurrent_trials=machines.max_concurrent_trials,
                scheduler=early_stopping(scheduler, plan.space.recipe, journal_callback, seed=plan.seed),
                reuse_actors=True,
                trial_name_creator=name_trial,
                trial_dirname_creator=name_trial,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{uuid.uuid4().hex[:8]}",
                storage_path=str(place.resolve()),
                callbacks=[journal_callback],
                failure_config=tune.FailureConfig(max_failures=MOST_DEATHS - 1),
                verbose=0,
            ),
        )
        with quiet_tune():
            tuner.fit()


def name_trial(trial: Any) -> str:
    """Return the name of a trial, and of its folder at Tune, by its number."""
    return f"trial-{trial.config['number']:04d}"
