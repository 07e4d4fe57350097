"""The progress of a sweep while it runs: a live view on a terminal, and JSON lines for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from keras_cnns.units import format_number

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

    from keras_cnns.networks.recipe import Recipe
    from tuning.running.journal import TrialState
    from tuning.running.reporting import SweepProgressCallback

MAX_ROWS = 12
OTHER_LINES = 8
PROGRESS_SECONDS = 10.0


class TrialRow(NamedTuple):
    """The state of a trial.

    Attributes:
        number: Number of the trial.
        model: The variant that its candidate starts from.
        status: The status of `TrialState`, or "reused" for a reused result.
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


class SweepProgress:
    """The progress of a sweep in this process; the base class of its displays.

    Attributes:
        monitor: The score.
        epochs: Number of epochs of a trial.
        total: The number of trials when the sweep is done.
        slots: How many trials run at a time.
        rows: The trials.
    """

    def __init__(self) -> None:
        self.monitor = ""
        self.epochs = 0
        self.total = 0
        self.slots = 1
        self.rows: tuple[TrialRow, ...] = ()
        self.started = time.monotonic()
        self.first_trial_started: float | None = None
        self.fit_seconds_before = 0.0
        self.ended_before: frozenset[int] = frozenset()

    def begin(self, recipe: Recipe, trials: Mapping[int, TrialState], total: int) -> None:
        """Start with the trials of an earlier process."""
        self.monitor, self.epochs, self.total = recipe.monitor, recipe.recorded_epochs, total
        self.update(trials, self.slots)
        self.fit_seconds_before = self.fit_seconds
        self.ended_before = frozenset(row.number for row in self.ended)

    def update(self, trials: Mapping[int, TrialState], slots: int) -> None:
        """Update the trials."""
        self.rows = tuple(make_row(state, self.monitor) for _, state in sorted(trials.items()))
        self.slots = slots
        if self.first_trial_started is None and self.running:
            self.first_trial_started = time.monotonic()

    def store_error(self, message: str) -> None:
        """Ignore errors of the store."""

    def status(self, message: str) -> None:
        """Ignore status messages."""

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


def sort_score(row: TrialRow) -> float:
    """Return the score to sort by; trials without a score are worst."""
    return -math.inf if row.score is None else row.score


def remaining_seconds(spent: float, lengths: Sequence[float]) -> float:
    """Return the expected remaining time of a trial, from the lengths of ended trials that took longer."""
    longer = [length - spent for length in lengths if length > spent]
    return sum(longer) / len(longer) if longer else 0.0


class LiveView(SweepProgress):
    """Shows a sweep on a terminal: its progress, the running trials, and the best ended ones.

    Args:
        live: The live display, which renders the view repeatedly.
    """

    def __init__(self, live: Live) -> None:
        super().__init__()
        self.store_message = ""
        self.status_message = "starting Ray and TensorFlow"
        live.update(self)

    def update(self, trials: Mapping[int, TrialState], slots: int) -> None:
        """Show the trials instead of the status."""
        super().update(trials, slots)
        if self.running or self.ended:
            self.status_message = ""

    def store_error(self, message: str) -> None:
        """Show an error of the store."""
        self.store_message = message

    def status(self, message: str) -> None:
        """Show a status message."""
        self.status_message = message

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the view within the height of the terminal."""
        started = self.running or self.ended
        status = f"{self.status_message} ... {format_duration(self.seconds)}" if self.status_message else ""
        for line in (*(summarize(self) if started else []), status, self.store_message):
            if line:
                yield Text(line, no_wrap=True, overflow="ellipsis")
        rows = min(MAX_ROWS, options.size.height - OTHER_LINES)
        if started and rows > 0:
            yield make_trial_table(self, rows)


def summarize(progress: SweepProgress) -> list[str]:
    """Return two lines with the numbers of trials and the speed."""
    statuses = [row.status for row in progress.rows]
    counts = {status: statuses.count(status) for status in ("running", "stopped early", "failed")}
    trials = [f"{len(progress.ended)} of {progress.total} trials"]
    trials += [f"{count} {status}" for status, count in counts.items() if count]
    if (best := progress.best) is not None:
        trials.append(f"best {best.score:.4f} (trial {best.number})")
    speed = [format_duration(progress.seconds)]
    if progress.seconds_left is not None:
        speed.append(f"about {format_duration(progress.seconds_left)} left")
    if progress.trials_per_hour is not None:
        speed.append(f"{progress.trials_per_hour:.0f} trials per hour")
    speed.append(f"core utilisation {progress.utilization:.0%}")
    return [", ".join(trials), ", ".join(speed)]


def make_trial_table(progress: SweepProgress, rows: int) -> Table:
    """Return a table of the running trials, in at most half of the rows, and of the best ended ones."""
    running = sorted(progress.running, key=sort_score, reverse=True)
    ended = sorted(progress.ended, key=lambda row: (row.status == "failed", -sort_score(row)))
    shown = running[: max(rows - len(ended), -(-rows // 2))]
    shown += ended[: rows - len(shown)]
    several = len({row.model for row in progress.rows}) > 1
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in ("trial", *(["network"] if several else []), "status", "epoch", progress.monitor, "params", "seconds"):
        is_text = name in ("network", "status")  # text is cut off on narrow terminals, numbers are not
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    for row in shown:
        cells = [
            str(row.number),
            *([row.model] if several else []),
            row.reason or row.status,
            f"{row.epoch}/{progress.epochs}",
            "" if row.score is None else f"{row.score:.4f}",
            "" if row.parameters is None else format_number(row.parameters),
            f"{row.seconds:.1f}" if row.epoch else "",
        ]
        style = "bold" if row is progress.best else "" if row.ended else "cyan"
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells), style=style)
    hidden = len(running) + len(ended) - len(shown)
    if hidden:
        table.caption = f"and {hidden} more"
        table.caption_justify = "left"
    return table


def format_duration(seconds: float) -> str:
    """Format a duration: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class JsonLines(SweepProgress):
    """Prints a sweep as JSON, one object per line: each change of a trial's status, and the progress at intervals.

    If the reader closes the output, the sweep continues without printing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.statuses: dict[int, str] = {}
        self.last_progress = -math.inf
        self.closed = False
        self.output = sys.stdout  # Tune runs with another standard output

    def begin(self, recipe: Recipe, trials: Mapping[int, TrialState], total: int) -> None:
        """Print the progress of an earlier process, but not its trials."""
        self.statuses = {number: "reused" if state.reused_run else state.status for number, state in trials.items()}
        super().begin(recipe, trials, total)

    def update(self, trials: Mapping[int, TrialState], slots: int) -> None:
        """Print what has changed."""
        super().update(trials, slots)
        for row in self.rows:
            if self.statuses.get(row.number) != row.status:
                self.statuses[row.number] = row.status
                details = row._asdict()
                del details["ended"], details["score"]
                self.print(event="trial", **details, **{self.monitor: row.score})
        if self.rows and time.monotonic() - self.last_progress >= PROGRESS_SECONDS:
            self.last_progress = time.monotonic()
            self.print(
                event="progress",
                trials=self.total,
                ended=len(self.ended),
                running=len(self.running),
                best_trial=self.best and self.best.number,
                best_score=self.best and self.best.score,
                seconds=self.seconds,
                seconds_left=self.seconds_left,
                trials_per_hour=self.trials_per_hour,
                utilization=self.utilization,
            )

    def store_error(self, message: str) -> None:
        """Print an error of the store, or "" when it works again."""
        self.print(event="store_error", message=message)

    def status(self, message: str) -> None:
        """Print a status message."""
        self.print(event="status", message=message)

    def print(self, **event: Any) -> None:
        """Print a line immediately."""
        if not self.closed:
            try:
                print(json.dumps(event), file=self.output, flush=True)
            except BrokenPipeError:
                self.closed = True


class CallbackList:
    """Passes the progress of a sweep to several callbacks."""

    def __init__(self, callbacks: Sequence[SweepProgressCallback]) -> None:
        self.callbacks = callbacks

    def begin(self, recipe: Recipe, trials: Mapping[int, TrialState], total: int) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.begin(recipe, trials, total)

    def update(self, trials: Mapping[int, TrialState], slots: int) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.update(trials, slots)

    def store_error(self, message: str) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.store_error(message)

    def status(self, message: str) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.status(message)
