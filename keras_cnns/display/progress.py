"""The progress of a long call, and its display as lines of text."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping
from typing import Self, TextIO

from keras_cnns.display.sweep_state import SweepState, describe_trial
from keras_cnns.units import format_seconds

QUIET_SECONDS = 2.0
SHOWN_METRICS = ("loss", "val_accuracy", "val_auc")


class Progress:
    """Receives the progress of a long call, such as `train`, `evaluate` or `sweep`; this base class shows nothing.

    To show progress in your own way, derive a class from it and pass an instance as `progress`. The methods can be
    called from another thread, but never from two at once.
    """

    def message(self, text: str) -> None:
        """Receive what the call does now, such as "loading the network"."""

    def begin_training(self, epochs: int) -> None:
        """Receive that a training with this number of epochs begins."""

    def step(self, done: int, total: int) -> None:
        """Receive that `done` of `total` steps of the current epoch are done."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Receive the metrics of epoch `number`, counted from 1."""

    def begin_sweep(self, state: SweepState) -> None:
        """Receive the state of a sweep, which has trials already if the sweep is resumed or extended."""

    def update_sweep(self) -> None:
        """Receive that the state of the sweep has changed."""


NO_PROGRESS = Progress()


class LineProgress(Progress):
    """Prints a line for each epoch and ended trial, and for messages, for logs and pipes.

    A message is printed once nothing has been printed for two seconds, unless another one has taken its place by then.
    So nothing precedes the answer, or the error, of what takes less.

    Args:
        output: Where to print, by default standard error. If its reader goes away, the call continues.
        quiet_seconds: The seconds without a line after which a message is printed.
    """

    def __init__(self, output: TextIO | None = None, *, quiet_seconds: float = QUIET_SECONDS) -> None:
        self.output = output or sys.stderr
        self.quiet_seconds = quiet_seconds
        self.quiet_since: float | None = None
        self.timer: threading.Timer | None = None
        self.epochs = 0
        self.state = SweepState("", 0, 0)
        self.printed: set[int] = set()
        self.store_error = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def print(self, text: str) -> None:
        """Print a line immediately."""
        self.forget()
        self.quiet_since = time.monotonic()
        with contextlib.suppress(OSError):
            print(" ".join(text.split()), file=self.output, flush=True)

    def message(self, text: str) -> None:
        """Print the message, when nothing has been printed for long enough."""
        self.forget()
        now = time.monotonic()
        self.quiet_since = now if self.quiet_since is None else self.quiet_since
        wait = self.quiet_seconds - (now - self.quiet_since)
        if wait <= 0:
            self.print(text)
        else:
            self.timer = threading.Timer(wait, self.print, [text])
            self.timer.daemon = True
            self.timer.start()

    def forget(self) -> None:
        """Do not print the message that waits."""
        if self.timer is not None:
            self.timer.cancel()

    def begin_training(self, epochs: int) -> None:
        """Remember the number of epochs."""
        self.epochs = epochs

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Print the metrics of the epoch."""
        self.print(
            f"epoch {number}/{self.epochs}: {format_metrics(metrics)}, after {format_seconds(metrics['seconds'])}"
        )

    def begin_sweep(self, state: SweepState) -> None:
        """Print how many trials have ended before, but not the trials."""
        self.state = state
        self.printed = {row.number for row in state.ended}
        if self.printed:
            self.print(f"{len(self.printed)} of {state.total} trials have ended before")

    def update_sweep(self) -> None:
        """Print the trials that have ended, and an error of the store."""
        for row in self.state.ended:
            if row.number not in self.printed:
                self.printed.add(row.number)
                self.print(describe_trial(row, self.state, len(self.printed)))
        if self.state.store_error != self.store_error:
            self.store_error = self.state.store_error
            self.print(self.store_error or "the store works again")


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Format the metrics of an epoch that are shown while a network is trained."""
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in SHOWN_METRICS if name in metrics)
