"""Schedulers: early stopping of trials, with the same decisions after an interruption as without one."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial

from keras_cnns import Recipe
from tuning.running.journal import Journal, JournalCallback
from tuning.searching.schedulers import bracket_shares, bracket_starts, make_scheduler

MONITOR = Recipe().monitor
RULES = ("asha", "hyperband", "median")
STOP = "STOP"


def tune_trial(**config: Any) -> Trial:
    return Trial("run_trial", stub=True, config=config)


def make_journal_callback(folder: Path, epochs: int, trials: int = 0) -> JournalCallback:
    journal_callback = JournalCallback(folder, Journal(folder / "journal.jsonl"), epochs)
    for number in range(len(journal_callback.states), trials):
        journal_callback.record(number, event="candidate", values={})
    return journal_callback


def report(scheduler: Any, journal_callback: JournalCallback, number: int, epoch: int, score: float) -> str:
    """Report an epoch as Tune's controller does: first to the scheduler, then to the journal callback."""
    trial = tune_trial(number=number)
    result = {"epoch": epoch, MONITOR: score, "seconds": float(epoch)}
    decision = scheduler.on_trial_result(None, trial, result)
    journal_callback.on_trial_result(trial=trial, result=result)
    return str(decision)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(RULES),
    scores=st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=3, max_size=8),
    order=st.randoms(use_true_random=False),
    killed=st.floats(0, 1),
)
def test_a_scheduler_that_is_replayed_from_the_journal_makes_the_same_decisions(
    name: str, scores: list[list[float]], order: random.Random, killed: float
) -> None:
    recipe = Recipe(epochs=9)
    with tempfile.TemporaryDirectory() as folder:
        journal_callback = make_journal_callback(Path(folder), 9, len(scores))
        original = make_scheduler(name, recipe, journal_callback, seed=7)
        interruption, reports, running = round(killed * 9 * len(scores)), 0, [*range(len(scores))]
        resumed: Any = None
        while running:
            number = order.choice(running)
            epoch = len(journal_callback.states[number].curve) + 1
            if reports == interruption:
                resumed = make_scheduler(name, recipe, make_journal_callback(Path(folder), 9), seed=7)
            reports += 1
            result = {"epoch": epoch, MONITOR: scores[number][epoch - 1]}
            again = resumed.on_trial_result(None, tune_trial(number=number), result) if resumed else None
            decision = report(original, journal_callback, number, epoch, scores[number][epoch - 1])
            if resumed:
                resumed.journal_callback.states[number].curve.append(result)
                assert again == decision
            if decision == STOP or epoch == 9:
                running.remove(number)
        replayed = make_scheduler(name, recipe, make_journal_callback(Path(folder), 9), seed=7)
        assert replayed.stopped == original.stopped


@pytest.mark.parametrize("name", RULES)
def test_a_scheduler_stops_the_worst_trial_and_not_the_best(tmp_path: Path, name: str) -> None:
    journal_callback = make_journal_callback(tmp_path, 9, 12)
    scheduler = make_scheduler(name, Recipe(epochs=9), journal_callback, seed=1)
    for epoch in range(1, 10):
        for number in reversed(range(12)):
            if number not in scheduler.stopped:
                report(scheduler, journal_callback, number, epoch, number / 12 + epoch / 1000)
    finished = {number for number, state in journal_callback.states.items() if len(state.curve) == 9}
    assert 11 in finished
    assert len(finished) < 12
    assert 0 not in finished or name == "hyperband"


@pytest.mark.parametrize("name", RULES)
def test_epochs_that_are_reported_again_are_ignored(tmp_path: Path, name: str) -> None:
    journal_callback = make_journal_callback(tmp_path, 9, 4)
    scheduler = make_scheduler(name, Recipe(epochs=9), journal_callback, seed=1)
    for number, epoch in itertools.product(range(3), range(1, 10)):
        report(scheduler, journal_callback, number, epoch, 0.9)
    lines = journal_callback.journal.path.read_bytes()
    before = set(scheduler.stopped)
    for number, epoch in itertools.product(range(3), range(1, 10)):
        assert (report(scheduler, journal_callback, number, epoch, 0.0) == STOP) == (number in before)
    assert scheduler.stopped == before
    assert journal_callback.journal.path.read_bytes() == lines


def test_the_last_bracket_of_hyperband_stops_no_trial(tmp_path: Path) -> None:
    scheduler = make_scheduler("hyperband", Recipe(epochs=9), make_journal_callback(tmp_path, 9), seed=3)
    last = [number for number in range(200) if scheduler.rule_index(number) == len(scheduler.rules) - 1]
    assert len(last) > 5
    for falling, number in enumerate(last):
        for epoch in range(1, 9):
            scheduler.report(number, epoch, {MONITOR: 1 - falling / 100})
    assert not scheduler.stopped


@pytest.mark.parametrize(
    ("epochs", "starts"), [(2, [1, 2]), (3, [1, 3]), (9, [1, 3, 9]), (10, [1, 3, 9, 10]), (81, [1, 3, 9, 27, 81])]
)
def test_the_brackets_of_hyperband_start_at_powers_of_three(epochs: int, starts: list[int]) -> None:
    assert bracket_starts(epochs) == starts


def test_the_brackets_have_the_sizes_of_the_paper() -> None:
    # Table 1 of Li et al. 2018, R = 81 and a reduction of 3: 81, 34, 15, 8 and 5 configurations, rounded up.
    assert [int(-(-share // 1)) for share in bracket_shares(5)] == [81, 34, 15, 8, 5]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 10_000), count=st.integers(10, 100))
def test_any_consecutive_trials_are_distributed_over_the_brackets(seed: int, first: int, count: int) -> None:
    journal_callback = JournalCallback(Path(), Journal(Path("nowhere")), 27)
    scheduler = make_scheduler("hyperband", Recipe(epochs=27), journal_callback, seed=seed)
    again = make_scheduler("hyperband", Recipe(epochs=27), journal_callback, seed=seed)
    indices = [scheduler.rule_index(number) for number in range(first, first + count)]
    assert indices == [again.rule_index(number) for number in range(first, first + count)]
    shares = bracket_shares(4)
    for index, trials in Counter(indices).items():
        assert abs(trials - count * shares[index] / sum(shares)) < 3
