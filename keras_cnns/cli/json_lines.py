"""The progress of a sweep as JSON, for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from keras_cnns.display.progress import NO_PROGRESS, Progress
from keras_cnns.display.sweep_state import SweepState

PROGRESS_SECONDS = 10.0


class JsonLines(Progress):
    """Prints a sweep as JSON, one object per line: each change of a trial's status, and the progress at intervals.

    If the reader closes the output, the sweep continues without printing.

    Args:
        shown: Where progress is shown too.
    """

    def __init__(self, shown: Progress = NO_PROGRESS) -> None:
        self.shown = shown
        self.state = SweepState("", 0, 0)
        self.statuses: dict[int, str] = {}
        self.store_error = ""
        self.last_progress = -math.inf
        self.closed = False
        self.output = sys.stdout  # Tune runs with another standard output

    def message(self, text: str) -> None:
        """Print and show the message."""
        self.print(event="status", message=text)
        self.shown.message(text)

    def begin_training(self, epochs: int) -> None:
        """Show a training after the sweep, such as the refit."""
        self.shown.begin_training(epochs)

    def step(self, done: int, total: int) -> None:
        """Show the step."""
        self.shown.step(done, total)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Show the epoch."""
        self.shown.epoch(number, metrics)

    def begin_sweep(self, state: SweepState) -> None:
        """Print the progress of an earlier process, but not its trials."""
        self.state = state
        self.statuses = {row.number: row.status for row in state.rows}
        self.print_progress()
        self.shown.begin_sweep(state)

    def update_sweep(self) -> None:
        """Print and show what has changed."""
        state = self.state
        for row in state.rows:
            if self.statuses.get(row.number) != row.status:
                self.statuses[row.number] = row.status
                details = row._asdict()
                del details["ended"], details["score"]
                self.print(event="trial", **details, **{state.monitor: row.score})
        if state.store_error != self.store_error:
            self.store_error = state.store_error
            self.print(event="store_error", message=self.store_error)
        self.print_progress()
        self.shown.update_sweep()

    def print_progress(self) -> None:
        """Print the progress, unless there is none or it was printed recently."""
        state = self.state
        if not state.rows or time.monotonic() - self.last_progress < PROGRESS_SECONDS:
            return
        self.last_progress = time.monotonic()
        self.print(
            event="progress",
            trials=state.total,
            ended=len(state.ended),
            running=len(state.running),
            best_trial=state.best and state.best.number,
            best_score=state.best and state.best.score,
            seconds=state.seconds,
            seconds_left=state.seconds_left,
            trials_per_hour=state.trials_per_hour,
            utilization=state.utilization,
        )

    def print(self, **event: Any) -> None:
        """Print a line immediately."""
        if not self.closed:
            try:
                print(json.dumps(event), file=self.output, flush=True)
            except BrokenPipeError:
                self.closed = True
