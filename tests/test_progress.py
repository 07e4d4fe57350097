"""Progress: estimates for sweeps, live displays at terminals and in notebooks, lines in logs, and JSON lines."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from keras_cnns.cli.json_lines import JsonLines
from keras_cnns.display import sweep_state
from keras_cnns.display.live import TerminalProgress
from keras_cnns.display.progress import LineProgress, Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.sweep_state import SweepState, TrialRow, format_duration, remaining_seconds
from keras_cnns.errors import SettingError
from tuning.running.journal import FAILED, FINISHED, RUNNING, STOPPED, WAITING, TrialState
from tuning.running.reporting import make_row


class Clock:
    """A clock for the view that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweep_state, "time", clock)
    monkeypatch.setattr("keras_cnns.cli.json_lines.time", clock)
    return clock


def trial(number: int, status: str, scores: list[float] | None = None, **more: Any) -> TrialRow:
    """A trial whose epochs took ten seconds each."""
    curve = [{"val_accuracy": score, "seconds": 10.0 * epoch} for epoch, score in enumerate(scores or [], start=1)]
    costs = {"parameters": 12_345.0} if curve else {}
    model = {"model": f"densenet-bc-{40 + 60 * (number % 2)}"}
    state = TrialState(number, status=status, candidate=model, costs=costs, curve=curve, **more)
    return make_row(state, "val_accuracy")


def begin(rows: Sequence[TrialRow], total: int) -> SweepState:
    return SweepState("val_accuracy", 10, total, rows)


def render(rows: Sequence[TrialRow], *, width: int = 80, height: int = 24, error: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    view, state = TerminalProgress(console, "starting"), begin([], 200)
    view.begin_sweep(state)
    state.update(rows, 2)
    state.store_error = error
    view.update_sweep()
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
    states = [
        trial(number, status, [0.5] * (number % 4), reason=reason if status == FAILED else "")
        for number, status in enumerate(statuses)
    ]
    lines = render(states, width=width, height=height, error="MLflow does not answer. " * 20)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert any("MLflow does not answer" in line for line in lines)


def test_running_trials_are_above_the_best_ended_ones() -> None:
    states = [
        trial(0, FINISHED, [0.8, 0.9]),
        trial(1, STOPPED, [0.5]),
        trial(2, FAILED, [0.99], reason="TrainingError: out of memory"),
        trial(3, FINISHED, [0.95]),
        trial(4, RUNNING, [0.6]),
        trial(5, WAITING),
    ]
    lines = render(states)
    assert "4 of 200 trials, 1 running, 1 stopped early, 1 failed, best 0.9500 (trial 3)" in lines[0]
    rows = [int(line.split()[0]) for line in lines if line.split()[:1] and line.split()[0].isdigit() and "/10" in line]
    assert rows == [4, 3, 0, 1, 2]
    assert any("TrainingError: ou" in line for line in lines)


def test_running_trials_take_at_most_half_of_the_rows() -> None:
    states = [trial(number, RUNNING if number < 60 else FINISHED, [0.5]) for number in range(90)]
    lines = render(states)
    assert sum("running" in line for line in lines[2:]) == 6
    assert sum("finished" in line for line in lines[2:]) == 6
    assert lines[-1].strip() == "and 78 more"


def test_utilization_and_speed_only_count_this_process(clock: Clock) -> None:
    finished = trial(0, FINISHED, [0.9] * 4)
    state = begin([finished, trial(1, RUNNING, [0.5])], 4)
    assert state.trials_per_hour is None
    clock.now += 50
    state.update([finished, trial(1, FINISHED, [0.5] * 4), trial(2, RUNNING, [0.5] * 3)], 2)
    assert state.utilization == pytest.approx((30 + 30) / (2 * 50))
    assert state.trials_per_hour == pytest.approx(72)


def test_reused_results_take_no_time(clock: Clock) -> None:
    state = begin([], 4)
    clock.now += 10
    state.update([trial(0, FINISHED, [0.9] * 4, reused_run="a run")], 1)
    assert state.utilization == 0
    assert state.seconds_left is None
    assert state.rows[0].status == "reused"


def test_the_remaining_time_is_the_remaining_work_at_the_current_rate(clock: Clock) -> None:
    state = begin([trial(0, RUNNING), trial(1, RUNNING)], 10)
    clock.now += 50
    state.update([trial(0, FINISHED, [0.9] * 4), trial(1, RUNNING, [0.5] * 2)], 2)
    assert state.seconds_left is None  # not as many trials have ended as run at a time
    state.update([trial(0, FINISHED, [0.9] * 4), trial(1, FINISHED, [0.9] * 4)], 2)
    # Two trials of 40 s took 50 s in parallel, so the remaining eight take four times as long.
    assert state.seconds_left == pytest.approx(200)


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
    finished = trial(0, FINISHED, [0.9])
    printer, state = JsonLines(), begin([finished], 3)
    printer.begin_sweep(state)
    clock.now += 4
    failed = trial(2, FAILED, reason="out of memory")

    def update(row: TrialRow, error: str = "") -> None:
        state.update([finished, row, failed], 2)
        state.store_error = error
        printer.update_sweep()

    update(trial(1, RUNNING))
    update(trial(1, RUNNING))
    update(trial(1, RUNNING, [0.5]))
    update(trial(1, RUNNING, [0.5]), "MLflow does not answer")
    clock.now += 7
    update(trial(1, STOPPED, [0.5, 0.7]), "MLflow does not answer")
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
        printer, state = JsonLines(), begin([trial(0, FINISHED, [0.9])], 3)
        printer.begin_sweep(state)
        state.update([trial(1, RUNNING)], 2)
        printer.update_sweep()
        monkeypatch.undo()
        assert printer.closed
        with pytest.raises(BrokenPipeError):
            pipe.close()


def test_logs_have_a_line_for_each_message_epoch_and_ended_trial() -> None:
    output = io.StringIO()
    lines, state = LineProgress(output, quiet_seconds=0), begin([trial(0, FINISHED, [0.9])], 4)
    lines.message("loading\nthe network")
    lines.begin_training(2)
    lines.step(1, 2)
    lines.epoch(1, {"loss": 0.5, "val_accuracy": 0.75, "seconds": 2.0})
    lines.begin_sweep(state)
    ended = [trial(0, FINISHED, [0.9]), trial(1, FAILED, reason="out of memory"), trial(2, STOPPED, [0.5])]
    for rows in ([*ended[:1], trial(1, RUNNING)], ended, ended):
        state.update(rows, 2)
        lines.update_sweep()
    state.store_error = "MLflow does not answer"
    lines.update_sweep()
    count = " (3 of 4 trials, best 0.9000)"
    assert output.getvalue().splitlines() == [
        "loading the network",
        "epoch 1/2: loss 0.5000, val_accuracy 0.7500, after 2 s",
        "1 of 4 trials have ended before",
        "trial 1: failed (out of memory) after 0 of 10 epochs, 0.0 s (2 of 4 trials, best 0.9000)",
        f"trial 2: stopped early after 1 of 10 epochs, val_accuracy 0.5000, 12.3K parameters, 10.0 s{count}",
        "MLflow does not answer",
    ]


def test_a_call_continues_after_the_reader_of_its_lines_has_gone() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    LineProgress(Closed(), quiet_seconds=0).message("loading the network")


def test_a_terminal_shows_a_bar_over_the_epochs() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    view = TerminalProgress(console, "starting")

    def show() -> str:
        with console.capture() as captured:
            console.print(view)
        return captured.get()

    assert "starting" in show()
    view.begin_training(4)
    view.step(1, 2)
    assert "epoch 1/4" in show()
    view.epoch(1, {"loss": 0.5, "val_accuracy": 0.75})
    view.step(1, 2)
    assert "epoch 2/4" in show()
    assert "loss 0.5000, val_accuracy 0.7500, about" in show()
    view.message("[saving] the network")
    assert "[saving] the network" in show()


@shows_progress
def work(progress: bool | Progress = True) -> Progress:
    progress = cast("Progress", progress)
    progress.begin_training(1)
    progress.epoch(1, {"loss": 0.5, "seconds": 1.0})
    return progress


def test_progress_is_shown_as_lines_on_standard_error_unless_it_is_turned_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    work()
    assert capsys.readouterr() == ("", "epoch 1/1: loss 0.5000, after 1 s\n")
    work(progress=False)
    assert capsys.readouterr() == ("", "")
    own = Progress()
    assert work(progress=own) is own
    with pytest.raises(SettingError, match="progress=3 is not possible: use True, False or a"):
        work(progress=cast("bool", 3))


def test_a_message_is_printed_only_if_nothing_else_has_been_for_a_while() -> None:
    output = io.StringIO()
    with LineProgress(output, quiet_seconds=0.1) as lines:
        lines.message("replaced at once")
        lines.message("takes long")
        deadline = time.monotonic() + 60
        while not output.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        lines.message("ends at once")
    time.sleep(0.2)
    assert output.getvalue() == "takes long\n"
