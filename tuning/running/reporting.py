"""Threads that follow the journal while trials run: one logs it to MLflow, one reports progress."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, Literal, Self

from keras_cnns.atomic import write_text
from keras_cnns.display.progress import Progress
from keras_cnns.display.sweep_state import SweepState, TrialRow
from keras_cnns.errors import StoreError
from keras_cnns.training.checkpoints import selected_metrics
from tuning.running.journal import FAILED, STOPPED, WAITING, TrialState, apply_event
from tuning.running.sweep_run import SweepRun

POLL_SECONDS = 0.2
RETRY_SECONDS = 10.0
CANCEL_SECONDS = 10.0


class MlflowLogger(threading.Thread):
    """A thread that logs the events of the journal to MLflow until its context ends.

    Each event is sent at least once and logged exactly once: the position in the journal is stored on disk, runs are
    found by their tags, and epochs that are already logged are skipped. While trials run, a failing store is retried
    without a time limit.

    Args:
        sweep: The sweep.
    """

    def __init__(self, sweep: SweepRun) -> None:
        super().__init__(name="mlflow-logger", daemon=True)
        self.sweep = sweep
        self.states: dict[int, TrialState] = {}
        self.run_ids: dict[int, str] = {}
        self.last_error = ""
        self.failure: Exception | None = None
        self.complete = threading.Event()

    def run(self) -> None:
        """Log new events, wait, and repeat."""
        journal, position = self.sweep.journal, self.sweep.folder / "logged"
        offset = int(position.read_text()) if position.exists() else 0
        for event, end in journal.read():
            if end <= offset:
                apply_event(self.states, event)
        try:
            while True:
                last_round = self.complete.is_set()
                for event, end in journal.read(offset):
                    self.log(event, apply_event(self.states, event))
                    offset = end
                    write_text(position, str(offset))
                if last_round:
                    return
                self.complete.wait(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - raised again by `__exit__`
            self.failure = error

    def __enter__(self) -> Self:
        """Start logging."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until everything is logged, within the store's retry timeout; after an error, only shortly."""
        if kind is not None:
            self.sweep.store.retry_timeout.cancel()
        self.complete.set()
        self.join(None if kind is None else CANCEL_SECONDS)
        if kind is None and self.failure is not None:
            raise self.failure

    @property
    def store_error(self) -> str:
        """The error of the store that is being retried; "" while the store works."""
        return self.sweep.store.retry_timeout.last_error or self.last_error

    def log(self, event: Mapping[str, Any], state: TrialState) -> None:
        """Log an event; while trials run, retry until the store works."""
        while True:
            try:
                self.log_once(event, state)
            except StoreError as error:
                self.last_error = str(error)
                if self.complete.is_set():
                    raise
                self.complete.wait(RETRY_SECONDS)
            else:
                self.last_error = ""
                return

    def log_once(self, event: Mapping[str, Any], state: TrialState) -> None:
        """Log an event in one attempt, and start the trial's run if necessary."""
        store = self.sweep.store
        if state.status == WAITING or state.reused_run:
            return
        if state.number not in self.run_ids:
            self.run_ids[state.number] = store.start(
                self.sweep.describe_trial(state), experiment=self.sweep.experiment, parent=self.sweep.run_id
            )
        run_id = self.run_ids[state.number]
        if event["event"] == "epoch":
            store.record(run_id, len(state.curve), event["metrics"])
        elif event["event"] == "end":
            status: Literal["failed", "finished"] = "failed" if state.status == FAILED else "finished"
            tags = {"stopped_early": "true"} if state.status == STOPPED else {}
            tags |= {"deaths": str(state.deaths)} if state.deaths else {}
            metrics = {**state.costs, **selected_metrics(state.curve, self.sweep.config.space.recipe)}
            store.finish(run_id, metrics=metrics, status=status, reason=state.reason, tags=tags)


def make_row(state: TrialState, monitor: str) -> TrialRow:
    """Return the state of a trial for display."""
    scores = [metrics[monitor] for metrics in state.curve if math.isfinite(metrics[monitor])]
    return TrialRow(
        number=state.number,
        model=str(state.candidate.get("model", "")),
        status="reused" if state.reused_run else state.status,
        reason=state.reason,
        ended=state.ended,
        epoch=len(state.curve),
        score=max(scores, default=None),
        parameters=state.costs.get("parameters"),
        seconds=state.fit_seconds,
    )


class ProgressReporter(threading.Thread):
    """A thread that reports changes of the journal until its context ends.

    Args:
        logger: The logger of the journal, whose store errors are reported too.
        progress: Receives the state of the sweep.

    Attributes:
        slots: How many trials can run at a time.
    """

    def __init__(self, logger: MlflowLogger, progress: Progress) -> None:
        super().__init__(name="progress-reporter", daemon=True)
        self.logger = logger
        self.progress = progress
        self.slots = 1
        self.done = threading.Event()
        recipe, total = logger.sweep.config.space.recipe, logger.sweep.config.total_trials
        self.state = SweepState(
            recipe.monitor, recipe.recorded_epochs, total, self.make_rows(logger.sweep.journal.trials())
        )

    def __enter__(self) -> Self:
        """Start reporting."""
        self.progress.begin_sweep(self.state)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Report the last changes."""
        self.done.set()
        self.join()

    def make_rows(self, trials: Mapping[int, TrialState]) -> list[TrialRow]:
        """Return the states of the trials by number."""
        monitor = self.logger.sweep.config.space.recipe.monitor
        return [make_row(state, monitor) for _, state in sorted(trials.items())]

    def run(self) -> None:
        """Report changes, wait, and repeat."""
        journal, trials, offset = self.logger.sweep.journal, dict[int, TrialState](), 0
        while True:
            last_round = self.done.is_set()
            before = offset, self.state.store_error
            for event, end in journal.read(offset):
                offset = end
                apply_event(trials, event)
            if offset > before[0]:
                self.state.update(self.make_rows(trials), self.slots)
            self.state.store_error = self.logger.store_error
            if (offset, self.state.store_error) != before:
                self.progress.update_sweep()
            if last_round:
                return
            self.done.wait(POLL_SECONDS)
