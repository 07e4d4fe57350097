"""Who stops trials, and who goes on from whose checkpoint: the same after a kill as without one."""

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
from tuning.searching.schedulers import bracket_shares, bracket_starts, early_stopping

MONITOR = Recipe().monitor
RULES = ("asha", "hyperband", "median")
STOP = "STOP"


def tune_trial(**config: Any) -> Trial:
    return Trial("run_trial", stub=True, config=config)


def journal_callback_of(folder: Path, epochs: int, trials: int = 0) -> JournalCallback:
    journal_callback = JournalCallback(folder, Journal(folder / "journal.jsonl"), epochs)
    for number in range(len(journal_callback.known), trials):
        journal_callback.note(number, event="candidate", values={})
    return journal_callback


def tell(scheduler: Any, journal_callback: JournalCallback, number: int, epoch: int, score: float) -> str:
    """Report one epoch as Tune's controller does: to the scheduler first, then to the journal's keeper."""
    trial = tune_trial(number=number)
    result = {"epoch": epoch, MONITOR: score, "seconds": float(epoch)}
    decision = scheduler.on_trial_result(None, trial, result)
    journal_callback.on_trial_result(0, [], trial, result)
    return str(decision)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(RULES),
    scores=st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=3, max_size=8),
    order=st.randoms(use_true_random=False),
    killed=st.floats(0, 1),
)
def test_a_scheduler_that_reads_the_journal_decides_as_one_that_was_there(
    name: str, scores: list[list[float]], order: random.Random, killed: float
) -> None:
    recipe = Recipe(epochs=9)
    with tempfile.TemporaryDirectory() as place:
        journal_callback = journal_callback_of(Path(place), 9, len(scores))
        there = early_stopping(name, recipe, journal_callback, seed=7)
        kill, told, left = round(killed * 9 * len(scores)), 0, [*range(len(scores))]
        later: Any = None
        while left:
            number = order.choice(left)
            epoch = len(journal_callback.known[number].curve) + 1
            if told == kill:
                later = early_stopping(name, recipe, journal_callback_of(Path(place), 9), seed=7)
            told += 1
            result = {"epoch": epoch, MONITOR: scores[number][epoch - 1]}
            again = later.on_trial_result(None, tune_trial(number=number), result) if told > kill else None
            decision = tell(there, journal_callback, number, epoch, scores[number][epoch - 1])
            if told > kill:
                later.journal_callback.known[number].curve.append(result)
                assert again == decision
            if decision == STOP or epoch == 9:
                left.remove(number)
        read = early_stopping(name, recipe, journal_callback_of(Path(place), 9), seed=7)
        assert read.stopped == there.stopped


@pytest.mark.parametrize("name", RULES)
def test_what_falls_behind_is_stopped_and_the_best_is_not(tmp_path: Path, name: str) -> None:
    journal_callback = journal_callback_of(tmp_path, 9, 12)
    scheduler = early_stopping(name, Recipe(epochs=9), journal_callback, seed=1)
    for epoch in range(1, 10):
        for number in reversed(range(12)):
            if number not in scheduler.stopped:
                tell(scheduler, journal_callback, number, epoch, number / 12 + epoch / 1000)
    finished = {number for number, state in journal_callback.known.items() if len(state.curve) == 9}
    assert 11 in finished
    assert len(finished) < 12
    assert 0 not in finished or name == "hyperband"


@pytest.mark.parametrize("name", RULES)
def test_what_is_reported_again_changes_nothing(tmp_path: Path, name: str) -> None:
    journal_callback = journal_callback_of(tmp_path, 9, 4)
    scheduler = early_stopping(name, Recipe(epochs=9), journal_callback, seed=1)
    for number, epoch in itertools.product(range(3), range(1, 10)):
        tell(scheduler, journal_callback, number, epoch, 0.9)
    lines = journal_callback.journal.path.read_bytes()
    before = set(scheduler.stopped)
    for number, epoch in itertools.product(range(3), range(1, 10)):
        assert (tell(scheduler, journal_callback, number, epoch, 0.0) == STOP) == (number in before)
    assert scheduler.stopped == before
    assert journal_callback.journal.path.read_bytes() == lines


def test_hyperband_stops_none_of_its_last_bracket_early(tmp_path: Path) -> None:
    scheduler = early_stopping("hyperband", Recipe(epochs=9), journal_callback_of(tmp_path, 9), seed=3)
    last = [number for number in range(200) if scheduler.place(number) == len(scheduler.rules) - 1]
    assert len(last) > 5
    for falling, number in enumerate(last):
        for epoch in range(1, 9):
            scheduler.tell(number, epoch, {MONITOR: 1 - falling / 100})
    assert not scheduler.stopped


@pytest.mark.parametrize(
    ("epochs", "starts"), [(2, [1, 2]), (3, [1, 3]), (9, [1, 3, 9]), (10, [1, 3, 9, 10]), (81, [1, 3, 9, 27, 81])]
)
def test_hyperband_has_all_brackets(epochs: int, starts: list[int]) -> None:
    assert bracket_starts(epochs) == starts


def test_brackets_have_the_shares_of_the_paper() -> None:
    # Table 1 of Li et al. 2018, R = 81 and a reduction of 3: 81, 34, 15, 8 and 5 configurations, rounded up.
    assert [int(-(-share // 1)) for share in bracket_shares(5)] == [81, 34, 15, 8, 5]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 10_000), count=st.integers(10, 100))
def test_any_trials_in_a_row_are_spread_over_the_brackets(seed: int, first: int, count: int) -> None:
    journal_callback = JournalCallback(Path(), Journal(Path("nowhere")), 27)
    scheduler = early_stopping("hyperband", Recipe(epochs=27), journal_callback, seed=seed)
    again = early_stopping("hyperband", Recipe(epochs=27), journal_callback, seed=seed)
    places = [scheduler.place(number) for number in range(first, first + count)]
    assert places == [again.place(number) for number in range(first, first + count)]
    shares = bracket_shares(4)
    for place, held in Counter(places).items():
        assert abs(held - count * shares[place] / sum(shares)) < 3
