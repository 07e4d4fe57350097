"""The best of a search trained again with other seeds, and what the tests say of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keras_cnns import Recipe
from keras_cnns.comparing.over_seeds import holm, interval_of_mean, paired_test
from keras_cnns.data import Dataset
from tests.sweeps import plan
from tuning.finishing.finals import (
    Finalist,
    Finals,
    choose_finalists,
    compare,
    judge,
    middle_repeat,
    missing_repeats,
    note_repeats,
)
from tuning.finishing.paired_images import compare_on_images
from tuning.running.journal import FAILED, REPEAT, SEARCH, Journal, JournalCallback, TrialState

SCORES = st.floats(0, 1, allow_nan=False)


def ended(number: int, score: float, *, cost: float = 1.0, **more: Any) -> TrialState:
    curve = [{"val_accuracy": score / 2, "seconds": 1.0}, {"val_accuracy": score, "seconds": 2.0}]
    return TrialState(number, status="finished", costs={"parameters": cost}, curve=curve, **more)


def finalist(name: str, scores: list[float]) -> Finalist:
    low, high = interval_of_mean(scores)
    by_seed = dict(enumerate(scores))
    return Finalist(number=0, name=name, scores=by_seed, epochs=1.0, mean=float(np.mean(scores)), low=low, high=high)


# Which are the finalists, and what their repeats are.


def test_finalists_are_the_best_three_of_the_search_and_failed_ones_and_repeats_are_none() -> None:
    states = {number: ended(number, score) for number, score in enumerate([0.5, 0.9, 0.7, 0.8])}
    states[4] = ended(4, 0.95, role=REPEAT, repeat_of=1)
    states[5] = replace(ended(5, 0.99), status=FAILED)
    states[6] = TrialState(6)
    assert choose_finalists(states, Recipe(), None) == [1, 3, 2]


def test_with_a_cost_finalists_are_of_the_pareto_front() -> None:
    costs = [10.0, 20.0, 5.0, 4.0]
    states = {number: ended(number, score, cost=cost) for (number, score), cost in zip(enumerate([0.9, 0.8, 0.7, 0.75]),
                                                                                      costs, strict=True)}  # fmt: skip
    assert choose_finalists(states, Recipe(), "parameters") == [0, 3]


def test_each_repeat_is_noted_once_however_often_a_process_dies(tmp_path: Path, digits: Dataset) -> None:
    chosen, journal = plan(digits), Journal(tmp_path / "journal.jsonl")
    for number, score in enumerate([0.5, 0.9, 0.7, 0.8]):
        values = {"model": "densenet-bc-40", "number": number}
        journal.append(trial=number, event="candidate", values=values)
        journal.append(trial=number, event="epoch", metrics={"val_accuracy": score, "seconds": 1.0}, costs={})
        journal.append(trial=number, event="end", status="finished", reason="")
    note_repeats(chosen, JournalCallback(tmp_path, journal, 2))
    whole = journal.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in range(12, len(lines) + 1):  # a process died after so many lines
        journal.path.write_bytes(b"".join(lines[:kept]))
        note_repeats(chosen, JournalCallback(tmp_path, journal, 2))
        states = journal.trials()
        repeats = [state for state in states.values() if state.role == REPEAT]
        assert Counter((state.repeat_of, state.seed) for state in repeats) == Counter(
            (number, seed) for number in (1, 3, 2) for seed in (8, 9)
        )
        assert all(state.candidate == states[state.repeat_of or 0].candidate for state in repeats)
        assert not missing_repeats(chosen, states)
    assert len(missing_repeats(replace(chosen, repeats=3), states)) == 3, "more repeats need only the new seed"
    journal_callback = JournalCallback(tmp_path, journal, 2)
    assert sorted(journal_callback.of_role(SEARCH)) == [0, 1, 2, 3], "samplers see the search alone"


# What the test says.


@given(
    one=st.lists(SCORES, min_size=2, max_size=8),
    other=st.lists(SCORES, min_size=8, max_size=8),
)
def test_the_paired_test_is_scipys_where_differences_vary_and_symmetric(one: list[float], other: list[float]) -> None:
    first, second = dict(enumerate(one)), dict(enumerate(other))
    p = paired_test(first, second)
    assert p is not None
    assert 0 <= p <= 1
    assert p == pytest.approx(paired_test(second, first))
    if np.ptp(np.array(one) - np.array(other[: len(one)])) > 1e-6:
        assert p == pytest.approx(stats.ttest_rel(one, other[: len(one)]).pvalue)


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        ({1: 0.9}, {1: 0.8}, None),
        ({1: 0.9, 2: 0.9}, {3: 0.8, 4: 0.8}, None),
        ({1: 0.9, 2: 0.8, 3: 0.7}, {1: 0.9, 2: 0.8, 3: 0.7}, 1.0),
        ({1: 0.75, 2: 0.5, 3: 1.0}, {1: 0.5, 2: 0.25, 3: 0.75}, 0.25),
    ],
)
def test_without_shared_seeds_or_spread_the_test_claims_no_more_than_signs_do(
    one: dict[int, float], other: dict[int, float], p: float | None
) -> None:
    assert paired_test(one, other) == p


def test_holm_corrects_as_in_his_example() -> None:
    assert holm({(0, 1): 0.01, (0, 2): 0.04, (1, 2): 0.03}) == pytest.approx({(0, 1): 0.03, (0, 2): 0.06, (1, 2): 0.06})


@given(st.dictionaries(st.tuples(st.integers(0, 5), st.integers(6, 9)), SCORES, max_size=8))
def test_holm_only_raises_and_keeps_the_order(p_values: dict[tuple[int, int], float]) -> None:
    corrected = holm(p_values)
    for pair, p in p_values.items():
        assert p <= corrected[pair] <= 1
        assert all(corrected[pair] <= corrected[other] for other in p_values if p < p_values[other])


def test_a_winner_is_one_only_where_every_pair_says_so() -> None:
    good, near, poor = [0.91, 0.93, 0.92, 0.94], [0.90, 0.935, 0.91, 0.945], [0.71, 0.735, 0.715, 0.74]
    clear = compare([finalist("poor", poor), finalist("good", good)], "val_accuracy")
    assert clear.winner.name == "good"
    assert clear.verdict.startswith("good is the winner: over 4 seeds")
    unclear = compare([finalist("poor", poor), finalist("near", near), finalist("good", good)], "val_accuracy")
    assert [found.name for found in unclear.finalists] == ["good", "near", "poor"]
    assert "4 seeds do not tell it from near (p = " in unclear.verdict
    assert "poor" not in unclear.verdict
    assert unclear.winner.p is None
    alone = compare([finalist("good", good)], "val_accuracy")
    assert "only finalist" in alone.verdict
    for found in (clear, unclear, alone):
        assert "\n" not in found.verdict
        json.dumps(found.as_dict(), allow_nan=False)
        assert all(math.isfinite(value) for value in found.as_metrics().values())


def test_an_interval_covers_the_mean_of_seeds_as_often_as_it_says() -> None:
    source = np.random.default_rng(0)
    found = [interval_of_mean(source.normal(0.5, 0.02, 3).tolist()) for _ in range(2000)]
    assert 0.93 < np.mean([low <= 0.5 <= high for low, high in found]) < 0.97


def test_the_best_is_of_the_highest_mean_and_of_its_repeats_the_middle_one(digits: Dataset) -> None:
    states = {0: ended(0, 0.99), 1: ended(1, 0.9)}  # the first was lucky
    scores = {(0, 8): 0.7, (0, 9): 0.8, (1, 8): 0.95, (1, 9): 0.85}
    for place, ((number, seed), score) in enumerate(scores.items(), start=2):
        states[place] = ended(place, score, role=REPEAT, repeat_of=number, seed=seed)
    states[6] = replace(ended(6, 0.999, role=REPEAT, repeat_of=1, seed=10), status=FAILED)
    found = judge(plan(digits, repeats=3), states, {0: "lucky", 1: "good"})
    assert isinstance(found, Finals)
    assert (found.winner.name, found.winner.mean, found.winner.epochs) == ("good", pytest.approx(0.9), 2.0)
    assert middle_repeat(found.winner, states) == 5
    assert judge(plan(digits, repeats=None), states, {}) is None


def predictions(labels: np.ndarray, right: float, source: np.random.Generator) -> np.ndarray:
    """Probabilities of ten classes, so many of them right."""
    told = np.where(source.random(len(labels)) < right, labels, (labels + 1) % 10)
    return np.asarray(np.eye(10)[told] * 0.9 + 0.01)


def test_the_lead_over_images_is_told_with_whether_it_would_hold(digits: Dataset) -> None:
    split, source = digits.splits["validation"], np.random.default_rng(0)
    rates = {1: 0.9, 2: 0.895, 3: 0.5}
    found = {number: [predictions(split.labels, rate, source) for _ in range(2)] for number, rate in rates.items()}
    scores = {
        number: {seed: float(np.mean(of_seed.argmax(axis=1) == split.labels)) for seed, of_seed in enumerate(repeats)}
        for number, repeats in found.items()
    }
    finalists = [replace(finalist(f"trial {n}", list(of.values())), number=n) for n, of in scores.items()]
    told = compare_on_images(compare(finalists, "val_accuracy"), split, found)
    first, near, poor = told.finalists
    assert first.lead is None
    assert near.lead is not None
    assert poor.lead is not None
    assert near.lead[0] < 0 < near.lead[1]
    assert poor.lead[0] < first.mean - poor.mean < poor.lead[1]
    assert poor.lead[0] > 0.2
    assert f"On other images like these it could be behind {near.name} (95 % intervals)." in told.verdict
    json.dumps(told.as_dict(), allow_nan=False)
    grouped = compare_on_images(compare(finalists, "val_accuracy"), replace(split, patients=split.labels), found)
    assert "On other patients" in grouped.verdict
    broken = {**found, near.number: [np.full((len(split), 10), np.nan)]}
    unmeasured = compare_on_images(compare(finalists, "val_accuracy"), split, broken)
    assert [one.name for one in unmeasured.finalists if one.lead is not None] == [poor.name]
