"""Run the trials of a sweep with Ray Tune: first the search, then the repeats of its finalists."""

from __future__ import annotations

import time
import uuid
from typing import Any

from ray import tune

from keras_cnns.display.progress import Progress
from keras_cnns.errors import ResumeError
from tuning.finishing.finals import States, count_unfinished, count_unfinished_search, record_repeats
from tuning.running.cluster import connect
from tuning.running.journal import MAX_DEATHS, REPEAT, JournalCallback
from tuning.running.reporting import MlflowLogger, ProgressReporter
from tuning.running.shared_dataset import share_dataset
from tuning.running.sweep_run import SweepRun
from tuning.running.trial import run_trial
from tuning.running.workarounds import GENERATION, in_generation, quiet_tune, rerun_after_deaths
from tuning.searching.reuse import ReusableResults
from tuning.searching.samplers import make_sampler
from tuning.searching.schedulers import make_scheduler
from tuning.searching.suggester import Suggester

MAX_WORKER_GROWTH = 2**30  # bytes


def run_trials(sweep: SweepRun, progress: Progress) -> tuple[float, float, States]:
    """Run the unfinished trials of a sweep.

    Returns:
        Seconds and utilization, as in `SweepResult`, and all trials.

    Raises:
        ResumeError: Some trials have not ended.
    """
    config, journal = sweep.config, sweep.journal
    journal.repair()
    before = journal.trials()
    start, slots = time.perf_counter(), 1
    logger = MlflowLogger(sweep)
    with ProgressReporter(logger, progress) as reporter, logger:
        if count_unfinished(config, before):
            with connect(config.cluster):
                reporter.slots = slots = config.cluster.count_trial_slots()
                search_and_repeat(sweep)
        seconds = time.perf_counter() - start
    states = journal.trials()
    unfinished = count_unfinished(config, states)
    if unfinished:
        raise ResumeError(f"{unfinished} of {len(states)} trials did not end; run the same command with --resume.")
    spent = sum(state.fit_seconds for state in states.values()) - sum(state.fit_seconds for state in before.values())
    return seconds, spent / (slots * seconds), states


def search_and_repeat(sweep: SweepRun) -> None:
    """Run the search, then the repeats of its finalists, which are not stopped early; Ray must be connected."""
    config = sweep.config
    journal_callback = JournalCallback(sweep.folder.resolve(), sweep.journal, config.space.recipe.recorded_epochs)
    states = journal_callback.states
    sampler = make_sampler(config.search, config.space, seed=config.seed, cost=config.cost)
    reusable = ReusableResults(sweep.store, config.dataset.fingerprint)

    def count_deaths() -> int:
        return sum(state.deaths for state in states.values())

    def search() -> None:
        suggester = Suggester(sweep, sampler, journal_callback, reusable, trials=config.trials)
        run_tune(sweep, suggester, config.scheduler)

    def repeat() -> None:
        record_repeats(config, journal_callback)
        repeats = len(journal_callback.with_role(REPEAT))
        suggester = Suggester(sweep, sampler, journal_callback, reusable, trials=repeats, role=REPEAT)
        run_tune(sweep, suggester, "none")

    rerun_after_deaths(search, lambda: count_unfinished_search(config, states), count_deaths)
    if not count_unfinished_search(config, states):
        rerun_after_deaths(repeat, lambda: count_unfinished(config, states), count_deaths)


def run_tune(sweep: SweepRun, suggester: Suggester, scheduler: str) -> None:
    """Let Tune run the trials of a suggester."""
    config, journal_callback, folder = sweep.config, suggester.journal_callback, sweep.folder.resolve()
    cluster = config.cluster
    resources = cluster.trial_resources()
    with share_dataset(config.dataset) as dataset:
        trainable = tune.with_parameters(
            run_trial,
            dataset=dataset,
            folder=folder,
            cores=cluster.cores_per_trial,
            storage=cluster.checkpoint_storage(folder),
            max_growth=MAX_WORKER_GROWTH,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, lambda trial: in_generation(resources, trial[GENERATION])),
            tune_config=tune.TuneConfig(
                search_alg=suggester,
                num_samples=suggester.left,
                max_concurrent_trials=cluster.max_concurrent_trials,
                scheduler=make_scheduler(scheduler, config.space.recipe, journal_callback, seed=config.seed),
                reuse_actors=True,
                trial_name_creator=name_trial,
                trial_dirname_creator=name_trial,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{uuid.uuid4().hex[:8]}",
                storage_path=str(folder),
                callbacks=[journal_callback],
                failure_config=tune.FailureConfig(max_failures=MAX_DEATHS - 1),
                verbose=0,
            ),
        )
        with quiet_tune():
            tuner.fit()


def name_trial(trial: Any) -> str:
    """Return the name of a trial and of its folder in Tune."""
    return f"trial-{trial.config['number']:04d}"
