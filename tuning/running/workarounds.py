"""What Ray Tune 2.60 needs us to work around, each with its reason. Nothing else in the project does.

Tune writes its own state beside a sweep and can restore from it. We do not use that: the journal is the only record of
a sweep, because Tune's state lags behind by seconds, holds pickles, and cannot be extended or read by other versions.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.tune import TuneError
from ray.tune.search import Searcher

GENERATION, RECYCLE = "generation", "recycle"
ENVIRONMENT = {
    # The journal holds the results and Delivery writes them to MLflow: no CSV, JSON or TensorBoard files per trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C raises KeyboardInterrupt in the driver, as everywhere in Python.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's own snapshots are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # Tune gives a worker two seconds to end a trial before it kills it, too few on a busy machine.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    # Workers of trials without a GPU hide the GPUs themselves (`tuning.running.worker.settle_devices`).
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables that Ray reads in the driver."""


class StatelessSearcher(Searcher):
    """A searcher of which Tune stores nothing.

    Tune pickles its searcher after every few results, with everything the searcher refers to: minutes of a long sweep.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Withhold the state from Tune's experiment checkpoints."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Create the file that Tune expects, empty."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the journal holds all."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:  # noqa: ARG002
        """Accept Tune's metric and mode, which our samplers do not need."""
        return True


class NoLiveTrials:
    """Stands for Tune's controller when schedulers are fed from the journal.

    Schedulers ask the controller only whether other trials could run instead; with none, they never pause a trial.
    """

    def get_live_trials(self) -> list[Any]:
        """Return no trials."""
        return []


def in_generation(resources: dict[str, float], generation: int) -> dict[str, float]:
    """Return a trial's resources with one byte of memory more for each generation of worker processes.

    Tune gives a reused worker process only to trials that request exactly the same resources, and has no other way to
    end one. TensorFlow 2.21 keeps some 20 MiB of every training, whatever is cleared, so processes that have grown too
    much must be replaced.
    """
    if not generation:
        return resources
    return {**resources, "memory": resources.get("memory", 0.0) + generation}


def release_metrics(trial: Any) -> None:
    """Drop the statistics that Tune keeps of each trial (30 KB), which nothing here reads."""
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()


@contextlib.contextmanager
def quiet_tune() -> Iterator[None]:
    """Keep Tune's tables and tracebacks off the terminal, and raise the error behind a `TuneError`.

    Tune prints tables whatever its verbosity. The journal records why trials fail.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            yield
        except TuneError as error:
            raise error.__cause__ or error from None


def shut_down() -> None:
    """Disconnect from Ray, and end a Ray of our own.

    Objects of an ended Ray that are collected later, in another thread, end the process: collect them first.
    """
    gc.collect()
    ray.shutdown()
