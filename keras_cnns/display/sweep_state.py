"""The state of a sweep while it runs: its trials, its speed, and estimates of the remaining time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

from keras_cnns.units import format_number

MAX_ROWS = 12


class TrialRow(NamedTuple):
    """The state of a trial.

    Attributes:
        number: Number of the trial.
        model: The variant that its candidate starts from.
        status: "waiting", "running", "finished", "stopped early" or "failed", or "reused" for a reused result.
        reason: Why the trial failed.
        ended: Whether the trial has ended.
        epoch: Number of finished epochs.
        score: The best score so far, if there is one.
        parameters: Number of parameters, once known.
        seconds: Time inside `fit` up to the last finished epoch; 0 for a reused result.
    """

    number: int
    model: str
    status: str
    reason: str
    ended: bool
    epoch: int
    score: float | None
    parameters: float | None
    seconds: float


class SweepState:
    """The state of a sweep in this process.

    Args:
        monitor: The score.
        epochs: Number of epochs of a trial.
        total: The number of trials, including repeats, when the sweep is done.
        rows: The trials of an earlier process if the sweep is resumed or extended.

    Attributes:
        monitor: As given.
        epochs: As given.
        total: As given.
        slots: How many trials can run at a time.
        rows: The trials.
        store_error: An error of the MLflow store that is being retried; "" while the store works.
    """

    def __init__(self, monitor: str, epochs: int, total: int, rows: Sequence[TrialRow] = ()) -> None:
        self.monitor = monitor
        self.epochs = epochs
        self.total = total
        self.slots = 1
        self.rows = tuple(rows)
        self.store_error = ""
        self.started = time.monotonic()
        self.first_trial_started: float | None = None
        self.update(rows, 1)
        self.fit_seconds_before = self.fit_seconds
        self.ended_before = frozenset(row.number for row in self.ended)

    def update(self, rows: Sequence[TrialRow], slots: int) -> None:
        """Update the trials."""
        self.rows = tuple(rows)
        self.slots = slots
        if self.first_trial_started is None and self.running:
            self.first_trial_started = time.monotonic()

    @property
    def ended(self) -> list[TrialRow]:
        """The trials that have ended."""
        return [row for row in self.rows if row.ended]

    @property
    def running(self) -> list[TrialRow]:
        """The trials that are running."""
        return [row for row in self.rows if row.status == "running"]

    @property
    def best(self) -> TrialRow | None:
        """The trial with the best score so far, except for failed ones."""
        scored = [row for row in self.rows if row.score is not None and row.status != "failed"]
        return max(scored, key=sort_score, default=None)

    @property
    def seconds(self) -> float:
        """Time since this process started the sweep."""
        return time.monotonic() - self.started

    @property
    def fit_seconds(self) -> float:
        """Total time of all trials inside `fit`."""
        return sum(row.seconds for row in self.rows)

    @property
    def utilization(self) -> float:
        """Time inside `fit` in this process, divided by the time and by the number of trials that run at a time."""
        return (self.fit_seconds - self.fit_seconds_before) / (self.slots * max(self.seconds, 1e-9))

    @property
    def trials_per_hour(self) -> float | None:
        """Trials that ended in this process, per hour; None before the first."""
        ended = len({row.number for row in self.ended} - self.ended_before)
        return 3600 * ended / max(self.seconds, 1e-9) if ended else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated time until all trials have ended; None before as many have ended as run at a time.

        A new trial is expected to take the mean time of the ended ones, and a running trial the mean remaining time of
        the ended ones that took longer. The work is done at the same rate as before, and not faster than the longest
        running trial.
        """
        ended = self.ended
        lengths = [row.seconds for row in ended if row.seconds]
        work_done = self.fit_seconds - self.fit_seconds_before
        if self.first_trial_started is None or work_done <= 0 or len(lengths) < max(2, len(self.running)):
            return None
        running = [remaining_seconds(row.seconds, lengths) for row in self.running]
        new = self.total - len(ended) - len(running)
        work = sum(running) + new * sum(lengths) / len(lengths)
        rate = work_done / max(time.monotonic() - self.first_trial_started, 1e-9)
        return max([work / rate, *running])


def sort_score(row: TrialRow) -> float:
    """Return the score to sort by; trials without a score are worst."""
    return -math.inf if row.score is None else row.score


def remaining_seconds(spent: float, lengths: Sequence[float]) -> float:
    """Return the expected remaining time of a trial, from the lengths of ended trials that took longer."""
    longer = [length - spent for length in lengths if length > spent]
    return sum(longer) / len(longer) if longer else 0.0


def summarize(state: SweepState) -> list[str]:
    """Return two lines with the numbers of trials and the speed."""
    statuses = [row.status for row in state.rows]
    counts = {status: statuses.count(status) for status in ("running", "stopped early", "failed")}
    trials = [f"{len(state.ended)} of {state.total} trials"]
    trials += [f"{count} {status}" for status, count in counts.items() if count]
    if (best := state.best) is not None:
        trials.append(f"best {best.score:.4f} (trial {best.number})")
    speed = [format_duration(state.seconds)]
    if state.seconds_left is not None:
        speed.append(f"about {format_duration(state.seconds_left)} left")
    if state.trials_per_hour is not None:
        speed.append(f"{state.trials_per_hour:.0f} trials per hour")
    speed.append(f"core utilisation {state.utilization:.0%}")
    return [", ".join(trials), ", ".join(speed)]


def select_rows(state: SweepState, rows: int) -> list[TrialRow]:
    """Return the running trials, in at most half of the rows, and the best ended ones."""
    running = sorted(state.running, key=sort_score, reverse=True)
    ended = sorted(state.ended, key=lambda row: (row.status == "failed", -sort_score(row)))
    shown = running[: max(rows - len(ended), -(-rows // 2))]
    return shown + ended[: rows - len(shown)]


def trial_columns(state: SweepState) -> tuple[str, ...]:
    """Return the columns of a table of trials."""
    several = len({row.model for row in state.rows}) > 1
    return ("trial", *(["network"] if several else []), "status", "epoch", state.monitor, "params", "seconds")


def trial_cells(row: TrialRow, state: SweepState) -> list[str]:
    """Return the cells of a trial in the columns of `trial_columns`."""
    cells = {
        "trial": str(row.number),
        "network": row.model,
        "status": row.reason or row.status,
        "epoch": f"{row.epoch}/{state.epochs}",
        state.monitor: "" if row.score is None else f"{row.score:.4f}",
        "params": "" if row.parameters is None else format_number(row.parameters),
        "seconds": f"{row.seconds:.1f}" if row.epoch else "",
    }
    return [cells[name] for name in trial_columns(state)]


def describe_trial(row: TrialRow, state: SweepState, ended: int) -> str:
    """Describe an ended trial, the `ended`-th one, in a line."""
    reason = f" ({row.reason})" if row.reason else ""
    parts = [f"trial {row.number}: {row.status}{reason} after {row.epoch} of {state.epochs} epochs"]
    if row.score is not None:
        parts.append(f"{state.monitor} {row.score:.4f}")
    if row.parameters is not None:
        parts.append(f"{format_number(row.parameters)} parameters")
    best = "" if state.best is None else f", best {state.best.score:.4f}"
    return f"{', '.join(parts)}, {row.seconds:.1f} s ({ended} of {state.total} trials{best})"


def format_duration(seconds: float) -> str:
    """Format a duration: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
