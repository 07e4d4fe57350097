"""What a sweep shows while it runs: a table at a terminal, lines of JSON for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table

    from tuning.running.delivery import SweepProgressCallback
    from tuning.running.journal import TrialState

SHOWN_TRIALS = 12
LINES_AROUND = 8
SECONDS_BETWEEN = 10.0
COLUMNS = ("trial", "from", "status", "epoch", "score", "params", "seconds")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A trial as it stands.

    Attributes:
        number: Its number.
        model: The network that its candidate starts from.
        status: How it stands: as `TrialState` has it, or "reused" from an earlier training.
        reason: Why it failed.
        ended: It will not go on.
        epoch: Whole epochs done.
        score: The best score so far, if there is one.
        parameters: Weights of its network, once known.
        seconds: Spent inside `fit` up to the last whole epoch; none where it was read back from an earlier training.
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


class Progress:
    """How a sweep goes on in this process.

    Args:
        monitor: The score.

    Attributes:
        at_once: How many trials run at a time.
        lines: The trials.
        count: How many there are to be.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.at_once = 1
        self.begun = time.monotonic()
        self.working_since: float | None = None
        self.spent_before = 0.0
        self.ended_before: frozenset[int] = frozenset()
        self.lines: tuple[Line, ...] = ()
        self.count = 0

    def begin(self, states: Mapping[int, TrialState], count: int, at_once: int) -> None:
        """Take in what an earlier process has done."""
        self.take(states, count)
        self.at_once = at_once
        self.spent_before = self.spent_in_all
        self.ended_before = frozenset(line.number for line in self.lines if line.ended)

    def take(self, states: Mapping[int, TrialState], count: int) -> None:
        """Take in the trials as they are now."""
        self.lines = tuple(as_line(state, self.monitor) for _, state in sorted(states.items()))
        self.count = count
        if self.working_since is None and any(line.status == "running" for line in self.lines):
            self.working_since = time.monotonic()

    @property
    def ended(self) -> list[Line]:
        """The trials that have ended."""
        return [line for line in self.lines if line.ended]

    @property
    def running(self) -> list[Line]:
        """The trials that train now."""
        return [line for line in self.lines if line.status == "running"]

    @property
    def best(self) -> Line | None:
        """The trial with the best score so far, of those that have not failed."""
        scored = [line for line in self.lines if line.score is not None and line.status != "failed"]
        return max(scored, key=by_score, default=None)

    @property
    def seconds(self) -> float:
        """How long this process has been at it."""
        return time.monotonic() - self.begun

    @property
    def spent_in_all(self) -> float:
        """Seconds inside `fit` of all trials."""
        return sum(line.seconds for line in self.lines)

    @property
    def utilization(self) -> float:
        """Seconds inside `fit` in this process over trials at a time times seconds, up to the last whole epochs."""
        return (self.spent_in_all - self.spent_before) / (self.at_once * max(self.seconds, 1e-9))

    @property
    def trials_per_hour(self) -> float | None:
        """Trials that ended in this process, per hour; None before any has."""
        ended = len({line.number for line in self.ended} - self.ended_before)
        return 3600 * ended / max(self.seconds, 1e-9) if ended else None

    @property
    def seconds_left(self) -> float | None:
        """About how long the trials that are left take; None before as many have ended as run at a time.

        A trial that has not begun is expected to take the mean of those that ended; one that runs what those took
        longer that had come as far. That work is done as fast as work was done so far, and takes no less than the
        longest of the running ones.
        """
        ended = self.ended
        lengths = [line.seconds for line in ended if line.seconds]
        worked = self.spent_in_all - self.spent_before
        if self.working_since is None or worked <= 0 or len(lengths) < max(2, len(self.running)):
            return None
        running = [remaining(line.seconds, lengths) for line in self.running]
        unbegun = self.count - len(ended) - len(running)
        work = sum(running) + unbegun * sum(lengths) / len(lengths)
        speed = worked / max(time.monotonic() - self.working_since, 1e-9)
        return max([work / speed, *running])


def as_line(state: TrialState, monitor: str) -> Line:
    """Return a trial as it stands."""
    return Line(
        number=state.number,
        model=str(state.candidate.get("model", "")),
        status="reused" if state.reused_run else state.status,
        reason=state.reason,
        ended=state.ended,
        epoch=len(state.curve),
        score=best_score(state, monitor),
        parameters=state.costs.get("parameters"),
        seconds=state.curve[-1]["seconds"] if state.curve and not state.reused_run else 0.0,
    )


def best_score(state: TrialState, monitor: str) -> float | None:
    """Return the best validation score of a trial so far, if there is one that is a number."""
    return max((metrics[monitor] for metrics in state.curve if math.isfinite(metrics[monitor])), default=None)


def by_score(line: Line) -> float:
    """Return what trials are ranked by; those without a score come last."""
    return -math.inf if line.score is None else line.score


def remaining(spent: float, lengths: Sequence[float]) -> float:
    """Return how much longer a trial is expected to take, from how long others took that came as far."""
    longer = [length - spent for length in lengths if length > spent]
    return sum(longer) / len(longer) if longer else 0.0


class View:
    """Shows a sweep at a terminal: how far it is, the trials that run, and the best.

    Args:
        live: Where it is shown, again and again, also while nothing arrives.
        progress: How the sweep goes on.
        epochs: How many epochs a trial has.
    """

    def __init__(self, live: Live, progress: Progress, epochs: int) -> None:
        self.progress = progress
        self.epochs = epochs
        self.waited_for = ""
        self.done_now = "starting Ray and TensorFlow"
        live.update(self)

    def begin(self, states: Mapping[int, TrialState], count: int, at_once: int) -> None:
        """Show what an earlier process has done."""
        self.progress.begin(states, count, at_once)

    def trials(self, states: Mapping[int, TrialState], count: int) -> None:
        """Show the trials as they are now."""
        self.progress.take(states, count)
        self.done_now = ""

    def waiting(self, words: str) -> None:
        """Show that the store is waited for, until it answers."""
        self.waited_for = words

    def doing(self, words: str) -> None:
        """Show what is done beside trials."""
        self.done_now = words

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay it out, no higher than the terminal."""
        from rich.text import Text  # noqa: PLC0415

        begun = self.progress.running or self.progress.ended
        doing = f"{self.done_now} ... {duration(self.progress.seconds)}" if self.done_now else ""
        for line in (*(summary(self.progress) if begun else []), doing, self.waited_for):
            if line:
                yield Text(line, no_wrap=True, overflow="ellipsis")
        if not begun:
            return
        rows = min(SHOWN_TRIALS, options.size.height - LINES_AROUND)
        if rows > 0:
            yield trial_table(self.progress, rows, self.epochs)


def summary(progress: Progress) -> list[str]:
    """Say in two lines how far a sweep is and how fast it goes."""
    statuses = [line.status for line in progress.lines]
    counts = [f"{statuses.count(status)} {status}" for status in ("running", "stopped early", "failed")]
    told = [text for text in counts if not text.startswith("0 ")]
    best = progress.best
    found = [f"best {best.score:.4f} (trial {best.number})"] if best is not None else []
    pace = [duration(progress.seconds)]
    if progress.seconds_left is not None:
        pace.append(f"about {duration(progress.seconds_left)} left")
    if progress.trials_per_hour is not None:
        pace.append(f"{progress.trials_per_hour:.0f} trials an hour")
    pace.append(f"cores inside fit {progress.utilization:.0%}")
    return [", ".join([f"{len(progress.ended)} of {progress.count} trials", *told, *found]), ", ".join(pace)]


def trial_table(progress: Progress, rows: int, epochs: int) -> Table:
    """Lay out the running trials, in no more than half of the rows, and the best of those that ended."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from keras_cnns.units import human  # noqa: PLC0415

    running = sorted(progress.running, key=by_score, reverse=True)
    ended = sorted(progress.ended, key=lambda line: (line.status == "failed", -by_score(line)))
    shown = running[: max(rows - len(ended), -(-rows // 2))]
    shown += ended[: rows - len(shown)]
    several = len({line.model for line in progress.lines}) > 1
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in COLUMNS:
        words = name in ("from", "status")  # which are cut where there is no room; numbers are whole
        if name != "from" or several:
            heading = progress.monitor if name == "score" else name
            table.add_column(heading, justify="left" if words else "right", no_wrap=not words)
    for line in shown:
        cells = [
            str(line.number),
            *([line.model] if several else []),
            line.reason or line.status,
            f"{line.epoch}/{epochs}",
            "" if line.score is None else f"{line.score:.4f}",
            "" if line.parameters is None else human(line.parameters),
            f"{line.seconds:.1f}" if line.epoch else "",
        ]
        style = "bold" if line is progress.best else "" if line.ended else "cyan"
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells), style=style)
    hidden = len(running) + len(ended) - len(shown)
    if hidden:
        table.caption = f"and {hidden} more"
        table.caption_justify = "left"
    return table


def duration(seconds: float) -> str:
    """Write how long something takes: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class JsonLines:
    """Prints a sweep for programs, a JSON object a line: each change of a trial, and now and then how far it is.

    Where nobody reads them any more, the sweep goes on without them.

    Args:
        progress: How the sweep goes on.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.known: dict[int, str] = {}
        self.told = -math.inf
        self.read = True
        self.output = sys.stdout  # which is another while Tune runs

    def begin(self, states: Mapping[int, TrialState], count: int, at_once: int) -> None:
        """Tell of what an earlier process has done only by how far it is."""
        self.progress.begin(states, count, at_once)
        self.known = {line.number: line.status for line in self.progress.lines}
        if self.progress.lines:
            self.tell_progress()

    def trials(self, states: Mapping[int, TrialState], count: int) -> None:
        """Print what has changed."""
        self.progress.take(states, count)
        for line in self.progress.lines:
            if self.known.get(line.number) != line.status:
                self.known[line.number] = line.status
                self.tell_trial(line)
        if time.monotonic() - self.told >= SECONDS_BETWEEN:
            self.tell_progress()

    def waiting(self, words: str) -> None:
        """Print that the store is waited for, or that it answers again."""
        self.tell(event="store", waiting=words)

    def doing(self, words: str) -> None:
        """Print what is done beside trials."""
        self.tell(event="doing", what=words)

    def tell_trial(self, line: Line) -> None:
        """Print how a trial stands."""
        self.tell(
            event="trial",
            number=line.number,
            model=line.model,
            status=line.status,
            reason=line.reason,
            epoch=line.epoch,
            parameters=line.parameters,
            seconds=line.seconds,
            **{self.progress.monitor: line.score},
        )

    def tell_progress(self) -> None:
        """Print how far the sweep is."""
        progress, best = self.progress, self.progress.best
        self.told = time.monotonic()
        self.tell(
            event="progress",
            trials=progress.count,
            ended=len(progress.ended),
            running=len(progress.running),
            best_trial=None if best is None else best.number,
            best_score=None if best is None else best.score,
            seconds=progress.seconds,
            seconds_left=progress.seconds_left,
            trials_per_hour=progress.trials_per_hour,
            utilization=progress.utilization,
        )

    def tell(self, **event: Any) -> None:
        """Print one line, at once."""
        if self.read:
            try:
                print(json.dumps(event), file=self.output, flush=True)
            except BrokenPipeError:
                self.read = False


class Together:
    """Several observers of one sweep.

    Args:
        observers: They are told in this order.
    """

    def __init__(self, observers: Sequence[SweepProgressCallback]) -> None:
        self.observers = observers

    def begin(self, states: Mapping[int, TrialState], count: int, at_once: int) -> None:
        """Tell all of what an earlier process has done."""
        for progress_callback in self.observers:
            progress_callback.begin(states, count, at_once)

    def trials(self, states: Mapping[int, TrialState], count: int) -> None:
        """Tell all."""
        for progress_callback in self.observers:
            progress_callback.trials(states, count)

    def waiting(self, words: str) -> None:
        """Tell all that the store is waited for, or answers."""
        for progress_callback in self.observers:
            progress_callback.waiting(words)

    def doing(self, words: str) -> None:
        """Tell all what is done beside trials."""
        for progress_callback in self.observers:
            progress_callback.doing(words)
