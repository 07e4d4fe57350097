"""The progress of a sweep: estimates, the live view within the size of the terminal, and JSON lines."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.live import Live

from keras_cnns import Recipe
from keras_cnns.cli import sweep_view
from keras_cnns.cli.sweep_view import (
    CallbackList,
    JsonLines,
    LiveView,
    SweepProgress,
    format_duration,
    remaining_seconds,
)
from tuning.running.journal import FAILED, FINISHED, RUNNING, STOPPED, WAITING, TrialState

RECIPE = Recipe(epochs=10)


class Clock:
    """A clock for the view that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweep_view, "time", clock)
    return clock


def state(number: int, status: str, scores: list[float] | None = None, **more: Any) -> TrialState:
    """A trial whose epochs took ten seconds each."""
    curve = [{"val_accuracy": score, "seconds": 10.0 * epoch} for epoch, score in enumerate(scores or [], start=1)]
    costs = {"parameters": 12_345.0} if curve else {}
    model = {"model": f"densenet-bc-{40 + 60 * (number % 2)}"}
    return TrialState(number, status=status, candidate=model, costs=costs, curve=curve, **more)


def by_number(*states: TrialState) -> dict[int, TrialState]:
    return {trial.number: trial for trial in states}


def render(states: dict[int, TrialState], *, width: int = 80, height: int = 24, error: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    view = LiveView(Live(console=console, auto_refresh=False))
    view.begin(RECIPE, {}, 200)
    view.update(states, 2)
    view.store_error(error)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


@settings(max_examples=25, deadline=None)
@given(
    statuses=st.lists(st.sampled_from([RUNNING, FINISHED, STOPPED, FAILED, WAITING]), min_size=1, max_size=120),
    width=st.integers(40, 140),
    height=st.integers(8, 50),
)
def test_the_view_fits_into_the_terminal_for_any_number_of_trials(statuses: list[str], width: int, height: int) -> None:
    reason = "TrainingError: the loss is not finite after a step of epoch 1; " * 3
    states = by_number(
        *(
            state(number, status, [0.5] * (number % 4), reason=reason if status == FAILED else "")
            for number, status in enumerate(statuses)
        )
    )
    lines = render(states, width=width, height=height, error="MLflow does not answer. " * 20)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert any("MLflow does not answer" in line for line in lines)


def test_running_trials_are_above_the_best_ended_ones() -> None:
    states = by_number(
        state(0, FINISHED, [0.8, 0.9]),
        state(1, STOPPED, [0.5]),
        state(2, FAILED, [0.99], reason="TrainingError: out of memory"),
        state(3, FINISHED, [0.95]),
        state(4, RUNNING, [0.6]),
        state(5, WAITING),
    )
    lines = render(states)
    assert "4 of 200 trials, 1 running, 1 stopped early, 1 failed, best 0.9500 (trial 3)" in lines[0]
    rows = [int(line.split()[0]) for line in lines if line.split()[:1] and line.split()[0].isdigit() and "/10" in line]
    assert rows == [4, 3, 0, 1, 2]
    assert any("TrainingError: ou" in line for line in lines)


def test_running_trials_take_at_most_half_of_the_rows() -> None:
    states = by_number(*(state(number, RUNNING if number < 60 else FINISHED, [0.5]) for number in range(90)))
    lines = render(states)
    assert sum("running" in line for line in lines[2:]) == 6
    assert sum("finished" in line for line in lines[2:]) == 6
    assert lines[-1].strip() == "and 78 more"


def test_utilization_and_speed_only_count_this_process(clock: Clock) -> None:
    progress = SweepProgress()
    before = by_number(state(0, FINISHED, [0.9] * 4), state(1, RUNNING, [0.5]))
    progress.begin(RECIPE, before, 4)
    assert progress.trials_per_hour is None
    clock.now += 50
    progress.update(before | by_number(state(1, FINISHED, [0.5] * 4), state(2, RUNNING, [0.5] * 3)), 2)
    assert progress.utilization == pytest.approx((30 + 30) / (2 * 50))
    assert progress.trials_per_hour == pytest.approx(72)


def test_reused_results_take_no_time(clock: Clock) -> None:
    progress = SweepProgress()
    progress.begin(RECIPE, {}, 4)
    clock.now += 10
    progress.update(by_number(state(0, FINISHED, [0.9] * 4, reused_run="a run")), 1)
    assert progress.utilization == 0
    assert progress.seconds_left is None
    assert progress.rows[0].status == "reused"


def test_the_remaining_time_is_the_remaining_work_at_the_current_rate(clock: Clock) -> None:
    progress = SweepProgress()
    progress.begin(RECIPE, by_number(state(0, RUNNING), state(1, RUNNING)), 10)
    clock.now += 50
    progress.update(by_number(state(0, FINISHED, [0.9] * 4), state(1, RUNNING, [0.5] * 2)), 2)
    assert progress.seconds_left is None  # not as many trials have ended as run at a time
    progress.update(by_number(state(0, FINISHED, [0.9] * 4), state(1, FINISHED, [0.9] * 4)), 2)
    # Two trials of 40 s took 50 s in parallel, so the remaining eight take four times as long.
    assert progress.seconds_left == pytest.approx(200)


@settings(max_examples=50, deadline=None)
@given(spent=st.floats(0, 100), lengths=st.lists(st.floats(0, 100), max_size=8))
def test_a_running_trial_is_expected_to_take_as_long_as_longer_trials_did(spent: float, lengths: list[float]) -> None:
    longer = [length for length in lengths if length > spent]
    left = remaining_seconds(spent, lengths)
    assert 0 <= left <= max(longer, default=spent) - spent + 1e-9
    assert (left > 0) is bool(longer)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_json_lines_report_each_status_change_once_and_the_progress_at_intervals(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = CallbackList([JsonLines()])
    printer.begin(RECIPE, by_number(state(0, FINISHED, [0.9])), 3)
    clock.now += 4
    states = by_number(state(0, FINISHED, [0.9]), state(1, RUNNING), state(2, FAILED, reason="out of memory"))
    printer.update(states, 2)
    printer.update(states, 2)
    printer.update(states | by_number(state(1, RUNNING, [0.5])), 2)
    printer.store_error("MLflow does not answer")
    clock.now += 7
    printer.update(states | by_number(state(1, STOPPED, [0.5, 0.7])), 2)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["progress", "trial", "trial", "store_error", "trial", "progress"]
    assert [(event["number"], event["status"]) for event in events if event["event"] == "trial"] == [
        (1, "running"),
        (2, "failed"),
        (1, "stopped early"),
    ]
    assert events[2]["reason"] == "out of memory"
    assert events[2]["val_accuracy"] is None
    assert (events[4]["epoch"], events[4]["val_accuracy"]) == (2, 0.7)
    assert (events[5]["trials"], events[5]["ended"], events[5]["running"], events[5]["best_trial"]) == (3, 3, 0, 0)


def test_a_sweep_continues_after_the_reader_of_its_json_lines_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        printer = JsonLines()
        printer.begin(RECIPE, by_number(state(0, FINISHED, [0.9])), 3)
        printer.update(by_number(state(1, RUNNING)), 2)
        monkeypatch.undo()
        assert printer.closed
        with pytest.raises(BrokenPipeError):
            pipe.close()
