"""The progress of a long call, and its display as lines of text."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import TextIO

from keras_cnns.display.sweep_state import SweepState, describe_trial
from keras_cnns.units import format_seconds

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
    """Prints a line for each message, epoch and ended trial, for logs and pipes.

    Args:
        output: Where to print, by default standard error. If its reader goes away, the call continues.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        self.output = output or sys.stderr
        self.epochs = 0
        self.state = SweepState("", 0, 0)
        self.printed: set[int] = set()
        self.store_error = ""

    def print(self, text: str) -> None:
        """Print a line immediately."""
        with contextlib.suppress(OSError):
            print(" ".join(text.split()), file=self.output, flush=True)

    def message(self, text: str) -> None:
        """Print the message."""
        self.print(text)

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
