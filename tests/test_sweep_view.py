"""What a sweep shows while it runs: how far it is, honestly, within the terminal; and lines for programs."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.live import Live

from keras_cnns.cli import sweep_view
from keras_cnns.cli.sweep_view import JsonLines, Progress, Together, View, duration, remaining
from tuning.running.journal import FAILED, FINISHED, RUNNING, STOPPED, WAITING, TrialState


class Clock:
    """The time of the view, moved on by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweep_view, "time", clock)
    return clock


def state(
    number: int, status: str, scores: list[float] | None = None, *, pace: float = 10.0, **more: Any
) -> TrialState:
    curve = [{"val_accuracy": score, "seconds": pace * epoch} for epoch, score in enumerate(scores or [], start=1)]
    costs = {"parameters": 12_345.0} if curve else {}
    model = {"model": f"densenet-bc-{40 + 60 * (number % 2)}"}
    return TrialState(number, status=status, candidate=model, costs=costs, curve=curve, **more)


def by_number(*states: TrialState) -> dict[int, TrialState]:
    return {of_trial.number: of_trial for of_trial in states}


def screen(states: dict[int, TrialState], *, width: int = 80, height: int = 24, waiting: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    view = View(Live(console=console, auto_refresh=False), Progress("val_accuracy"), epochs=10)
    view.begin({}, 200, 2)
    view.trials(states, 200)
    view.waiting(waiting)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


@settings(max_examples=25, deadline=None)
@given(
    statuses=st.lists(st.sampled_from([RUNNING, FINISHED, STOPPED, FAILED, WAITING]), min_size=1, max_size=120),
    width=st.integers(40, 140),
    height=st.integers(8, 50),
)
def test_the_view_fits_in_its_terminal_however_many_trials_there_are(
    statuses: list[str], width: int, height: int
) -> None:
    reason = "TrainingError: the loss is no longer finite after a step of epoch 1; " * 3
    states = by_number(
        *(
            state(number, status, [0.5] * (number % 4), reason=reason if status == FAILED else "")
            for number, status in enumerate(statuses)
        )
    )
    lines = screen(states, width=width, height=height, waiting="MLflow does not answer. " * 20)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert any("MLflow does not answer" in line for line in lines)


def test_running_trials_stand_above_the_best_of_those_that_ended() -> None:
    states = by_number(
        state(0, FINISHED, [0.8, 0.9]),
        state(1, STOPPED, [0.5]),
        state(2, FAILED, [0.99], reason="TrainingError: out of memory"),
        state(3, FINISHED, [0.95]),
        state(4, RUNNING, [0.6]),
        state(5, WAITING),
    )
    lines = screen(states)
    assert "4 of 200 trials, 1 running, 1 stopped early, 1 failed, best 0.9500 (trial 3)" in lines[0]
    rows = [int(line.split()[0]) for line in lines if line.split()[:1] and line.split()[0].isdigit() and "/10" in line]
    assert rows == [4, 3, 0, 1, 2]
    assert any("TrainingError: ou" in line for line in lines)


def test_with_many_running_half_of_the_rows_are_left_to_the_best() -> None:
    states = by_number(*(state(number, RUNNING if number < 60 else FINISHED, [0.5]) for number in range(90)))
    lines = screen(states)
    assert sum("running" in line for line in lines[2:]) == 6
    assert sum("finished" in line for line in lines[2:]) == 6
    assert lines[-1].strip() == "and 78 more"


def test_utilization_and_pace_count_this_process_alone(clock: Clock) -> None:
    progress = Progress("val_accuracy")
    before = by_number(state(0, FINISHED, [0.9] * 4), state(1, RUNNING, [0.5]))
    progress.begin(before, 4, 2)
    assert progress.trials_per_hour is None
    clock.now += 50
    progress.take(before | by_number(state(1, FINISHED, [0.5] * 4), state(2, RUNNING, [0.5] * 3)), 4)
    assert progress.utilization == pytest.approx((30 + 30) / (2 * 50))
    assert progress.trials_per_hour == pytest.approx(72)


def test_trials_that_were_read_back_take_no_time(clock: Clock) -> None:
    progress = Progress("val_accuracy")
    progress.begin({}, 4, 1)
    clock.now += 10
    progress.take(by_number(state(0, FINISHED, [0.9] * 4, reused_run="a run")), 4)
    assert progress.utilization == 0
    assert progress.seconds_left is None
    assert progress.lines[0].status == "read back"


def test_the_time_left_is_that_of_the_work_left_at_the_speed_so_far(clock: Clock) -> None:
    progress = Progress("val_accuracy")
    progress.begin(by_number(state(0, RUNNING), state(1, RUNNING)), 10, 2)
    clock.now += 50
    progress.take(by_number(state(0, FINISHED, [0.9] * 4), state(1, RUNNING, [0.5] * 2)), 10)
    assert progress.seconds_left is None  # as many have to end as run at a time
    progress.take(by_number(state(0, FINISHED, [0.9] * 4), state(1, FINISHED, [0.9] * 4)), 10)
    # Two trials of 40 s took 50 s side by side: the eight that are left take four times as long.
    assert progress.seconds_left == pytest.approx(200)


@settings(max_examples=50, deadline=None)
@given(spent=st.floats(0, 100), lengths=st.lists(st.floats(0, 100), max_size=8))
def test_a_running_trial_is_expected_to_take_as_long_as_those_that_came_as_far(
    spent: float, lengths: list[float]
) -> None:
    longer = [length for length in lengths if length > spent]
    left = remaining(spent, lengths)
    assert 0 <= left <= max(longer, default=spent) - spent + 1e-9
    assert (left > 0) is bool(longer)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_short_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_programs_are_told_of_each_change_once_and_of_progress_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = Together([JsonLines(Progress("val_accuracy"))])
    printer.begin(by_number(state(0, FINISHED, [0.9])), 3, 2)
    clock.now += 4
    states = by_number(state(0, FINISHED, [0.9]), state(1, RUNNING), state(2, FAILED, reason="out of memory"))
    printer.trials(states, 3)
    printer.trials(states, 3)
    printer.trials(states | by_number(state(1, RUNNING, [0.5])), 3)
    printer.waiting("MLflow does not answer")
    clock.now += 7
    printer.trials(states | by_number(state(1, STOPPED, [0.5, 0.7])), 3)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in told] == ["progress", "trial", "trial", "store", "trial", "progress"]
    assert [(event["number"], event["status"]) for event in told if event["event"] == "trial"] == [
        (1, "running"),
        (2, "failed"),
        (1, "stopped early"),
    ]
    assert told[2]["reason"] == "out of memory"
    assert told[2]["val_accuracy"] is None
    assert (told[4]["epoch"], told[4]["val_accuracy"]) == (2, 0.7)
    assert (told[5]["trials"], told[5]["ended"], told[5]["running"], told[5]["best_trial"]) == (3, 3, 0, 0)


def test_a_sweep_goes_on_when_nobody_reads_its_lines_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        printer = JsonLines(Progress("val_accuracy"))
        printer.begin(by_number(state(0, FINISHED, [0.9])), 3, 2)
        printer.trials(by_number(state(1, RUNNING)), 3)
        monkeypatch.undo()
        assert not printer.read
        with pytest.raises(BrokenPipeError):
            pipe.close()
