"""Trials on a machine's cores: how Ray Tune gets one candidate after another, and who stops the poor ones."""

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
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from keras_cnns.data import Dataset
from tuning.journal import FAILED, JournalKeeper
from tuning.samplers import Sampler
from tuning.space import Space
from tuning.trial import run_trial


class Suggester(Searcher):
    """Gives Tune first the trials that an earlier process began, then new ones, each in the journal before it trains.

    Trials that have ended are given too, for what they reported brings the scheduler to where it was; but failed ones
    stay failed.

    Args:
        space: What may be tried.
        sampler: Proposes what comes next.
        keeper: Knows the trials so far, and writes the journal.
        trials: How many there are to be.
    """

    def __init__(self, space: Space, sampler: Sampler, keeper: JournalKeeper, trials: int) -> None:
        super().__init__()
        self.space = space
        self.sampler = sampler
        self.keeper = keeper
        self.begun = [number for number, state in sorted(keeper.known.items()) if state.status != FAILED]
        self.left = len(self.begun) + trials - len(keeper.known)

    def __getstate__(self) -> dict[str, Any]:
        """Keep out of what Tune writes of itself, which is never read: all is in the journal."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:  # noqa: ARG002
        """Accept what Tune says: the space has its own domains, and the sampler its own goals."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:  # noqa: ARG002
        """Return the next trial's number and candidate."""
        known = self.keeper.known
        if self.begun:
            number = self.begun.pop(0)
        else:
            number = len(known)
            self.keeper.note(number, event="candidate", values=dict(self.sampler.propose(known)))
        return {"number": number, "candidate": self.space.candidate(known[number].candidate)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the keeper knows."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing, for the same reason."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""


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


def make_scheduler(name: str, epochs: int) -> Any:
    """Return what stops trials early."""
    if name == "asha" and epochs > 1:
        return ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=max(1, epochs // 4), reduction_factor=3)
    return FIFOScheduler()


def name_trial(trial: Any) -> str:
    """Name a trial, and its folder at Tune, by its number."""
    return f"trial-{trial.config['number']:04d}"
