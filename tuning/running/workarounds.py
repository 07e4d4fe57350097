"""Workarounds for Ray Tune 2.60, each with its reason. There are none in other modules.

Tune can save and restore the state of an experiment. Sweeps do not use that: the journal is their only record, because
Tune's state lags behind by seconds, consists of pickles, and cannot be extended or read by other versions.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.tune import TuneError
from ray.tune.search import Searcher

GENERATION, RECYCLE = "generation", "recycle"
ENVIRONMENT = {
    # Results are in the journal and in MLflow: no CSV, JSON or TensorBoard files per trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C raises KeyboardInterrupt in the driver, as everywhere in Python.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's own snapshots are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # Tune kills a worker that does not end a trial within two seconds, which is too short on a busy machine.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    # Workers of trials without a GPU hide the GPUs themselves (`tuning.running.worker.configure_devices`).
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables that Ray reads in the driver."""


class StatelessSearcher(Searcher):
    """A searcher without state for Tune to store.

    Tune pickles its searcher after every few results, with everything that it refers to, which takes minutes in a long
    sweep.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return no state for Tune's experiment checkpoints."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Create the file that Tune expects, empty."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the state is in the journal."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:  # noqa: ARG002
        """Accept Tune's metric and mode, which our samplers do not need."""
        return True


class NoLiveTrials:
    """A stand-in for Tune's controller when schedulers are replayed from the journal.

    Schedulers only ask the controller for other trials that could run instead. Without any, they never pause a trial.
    """

    def get_live_trials(self) -> list[Any]:
        """Return no trials."""
        return []


def in_generation(resources: dict[str, float], generation: int) -> dict[str, float]:
    """Return a trial's resources with one extra byte of memory for each generation of worker processes.

    Tune reuses a worker process only for trials with exactly the same resources, and has no other way to end one.
    TensorFlow 2.21 leaks about 20 MiB per training, whatever is cleared, so workers that have grown too much are
    recycled.
    """
    if not generation:
        return resources
    return {**resources, "memory": resources.get("memory", 0.0) + generation}


def release_metrics(trial: Any) -> None:
    """Delete the statistics that Tune keeps of each trial (30 KB), which are not used."""
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()


def rerun_after_deaths(run: Callable[[], None], unfinished: Callable[[], int], deaths: Callable[[], int]) -> None:
    """Run Tune, and run it again as long as trials are unfinished and worker processes died in the last run.

    Tune does not retry a trial whose process dies before the trial starts: it calls `on_trial_error` and counts the
    trial as one of those that it was to run. The journal records such a death, and the trial is run again here. A trial
    fails after a few deaths, so this ends.

    Args:
        run: Runs Tune for all unfinished trials.
        unfinished: Counts the unfinished trials.
        deaths: Counts the deaths of worker processes.
    """
    before = -1
    while unfinished() and deaths() > before:
        before = deaths()
        run()


@contextlib.contextmanager
def quiet_tune() -> Iterator[None]:
    """Suppress Tune's tables and tracebacks, and raise the cause of a `TuneError`.

    Tune prints tables at any verbosity. The journal records why trials fail.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            yield
        except TuneError as error:
            raise error.__cause__ or error from None


def shut_down() -> None:
    """Disconnect from Ray, or stop Ray on this machine.

    Objects of a stopped Ray that are garbage-collected later, in another thread, crash the process: collect them first.
    """
    gc.collect()
    ray.shutdown()
