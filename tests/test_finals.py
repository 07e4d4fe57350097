"""Finalists: their selection, their repeats with other seeds, and the significance of the winner."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keras_cnns import Recipe
from keras_cnns.comparing.significance import confidence_interval, holm_correction, paired_t_test
from keras_cnns.data import Dataset
from keras_cnns.data.folds import pool_images
from keras_cnns.errors import SettingError
from tests.sweeps import make_config
from tuning import sweep
from tuning.finishing import fold_finals
from tuning.finishing.finals import (
    Finalist,
    Finals,
    compare_finalists,
    median_repeat,
    missing_repeats,
    rank_finalists,
    record_repeats,
    select_finalists,
)
from tuning.finishing.finish import choose_trial
from tuning.finishing.lead_intervals import add_lead_intervals
from tuning.running.journal import FAILED, REPEAT, SEARCH, Journal, JournalCallback, TrialState
from tuning.running.sweep_run import SweepRun

SCORES = st.floats(0, 1, allow_nan=False)


def ended_trial(number: int, score: float, *, cost: float = 1.0, **more: Any) -> TrialState:
    curve = [{"val_accuracy": score / 2, "seconds": 1.0}, {"val_accuracy": score, "seconds": 2.0}]
    return TrialState(number, status="finished", costs={"parameters": cost}, curve=curve, **more)


def make_finalist(name: str, scores: list[float]) -> Finalist:
    return Finalist(number=0, name=name, scores=dict(enumerate(scores)), epochs=1.0)


# The selection of finalists, and their repeats.


def test_the_finalists_are_the_best_three_trials_of_the_search_without_failed_ones_and_repeats() -> None:
    states = {number: ended_trial(number, score) for number, score in enumerate([0.5, 0.9, 0.7, 0.8])}
    states[4] = ended_trial(4, 0.95, role=REPEAT, repeat_of=1)
    states[5] = replace(ended_trial(5, 0.99), status=FAILED)
    states[6] = TrialState(6)
    assert select_finalists(states, Recipe(), None) == [1, 3, 2]


def test_with_a_cost_the_finalists_are_on_the_pareto_front() -> None:
    points = [(0.9, 10.0), (0.8, 20.0), (0.7, 5.0), (0.75, 4.0)]
    states = {number: ended_trial(number, score, cost=cost) for number, (score, cost) in enumerate(points)}
    assert select_finalists(states, Recipe(), "parameters") == [0, 3]


def test_each_repeat_is_recorded_once_however_often_the_process_is_killed(tmp_path: Path, digits: Dataset) -> None:
    config, journal = make_config(digits), Journal(tmp_path / "journal.jsonl")
    for number, score in enumerate([0.5, 0.9, 0.7, 0.8]):
        values = {"model": "densenet-bc-40", "number": number}
        journal.append(trial=number, event="candidate", values=values)
        journal.append(trial=number, event="epoch", metrics={"val_accuracy": score, "seconds": 1.0}, costs={})
        journal.append(trial=number, event="end", status="finished", reason="")
    record_repeats(config, JournalCallback(tmp_path, journal, 2))
    lines = journal.path.read_bytes().splitlines(keepends=True)
    for count in range(12, len(lines) + 1):  # the process is killed after this number of lines
        journal.path.write_bytes(b"".join(lines[:count]))
        record_repeats(config, JournalCallback(tmp_path, journal, 2))
        states = journal.trials()
        repeats = [state for state in states.values() if state.role == REPEAT]
        assert Counter((state.repeat_of, state.seed) for state in repeats) == Counter(
            (number, seed) for number in (1, 3, 2) for seed in (8, 9)
        )
        assert all(state.candidate == states[state.repeat_of or 0].candidate for state in repeats)
        assert not missing_repeats(config, states)
    assert len(missing_repeats(replace(config, repeats=3), states)) == 3, "more repeats only need the new seed"
    journal_callback = JournalCallback(tmp_path, journal, 2)
    assert sorted(journal_callback.with_role(SEARCH)) == [0, 1, 2, 3], "samplers only receive the search"


# The tests for a significant winner.


@given(
    one=st.lists(SCORES, min_size=2, max_size=8),
    other=st.lists(SCORES, min_size=8, max_size=8),
)
def test_the_paired_test_is_symmetric_and_equals_scipys_if_differences_vary(
    one: list[float], other: list[float]
) -> None:
    first, second = dict(enumerate(one)), dict(enumerate(other))
    p = paired_t_test(first, second)
    assert p is not None
    assert 0 <= p <= 1
    assert p == pytest.approx(paired_t_test(second, first))
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
def test_without_shared_seeds_or_variance_the_p_value_is_none_or_that_of_a_sign_test(
    one: dict[int, float], other: dict[int, float], p: float | None
) -> None:
    assert paired_t_test(one, other) == p


def test_holms_correction_of_three_p_values() -> None:
    assert holm_correction({(0, 1): 0.01, (0, 2): 0.04, (1, 2): 0.03}) == pytest.approx(
        {(0, 1): 0.03, (0, 2): 0.06, (1, 2): 0.06}
    )


@given(st.dictionaries(st.tuples(st.integers(0, 5), st.integers(6, 9)), SCORES, max_size=8))
def test_holms_correction_only_increases_p_values_and_keeps_their_order(p_values: dict[tuple[int, int], float]) -> None:
    corrected = holm_correction(p_values)
    for pair, p in p_values.items():
        assert p <= corrected[pair] <= 1
        assert all(corrected[pair] <= corrected[other] for other in p_values if p < p_values[other])


def test_a_winner_is_significant_only_if_it_beats_every_other_finalist() -> None:
    good, near, poor = [0.91, 0.93, 0.92, 0.94], [0.90, 0.935, 0.91, 0.945], [0.71, 0.735, 0.715, 0.74]
    clear = rank_finalists([make_finalist("poor", poor), make_finalist("good", good)], "val_accuracy")
    assert clear.winner.name == "good"
    assert clear.verdict.startswith("good is the winner: over 4 seeds, its val_accuracy is significantly higher")
    unclear = rank_finalists(
        [make_finalist("poor", poor), make_finalist("near", near), make_finalist("good", good)], "val_accuracy"
    )
    assert [found.name for found in unclear.finalists] == ["good", "near", "poor"]
    assert "over 4 seeds it is not significantly better than near (p = " in unclear.verdict
    assert "poor" not in unclear.verdict
    assert unclear.winner.p is None
    alone = rank_finalists([make_finalist("good", good)], "val_accuracy")
    assert "only finalist" in alone.verdict
    for found in (clear, unclear, alone):
        assert "\n" not in found.verdict
        json.dumps(found.as_dict(), allow_nan=False)
        assert all(math.isfinite(value) for value in found.as_metrics().values())


def test_the_confidence_interval_of_a_mean_covers_it_in_95_percent_of_cases() -> None:
    source = np.random.default_rng(0)
    found = [confidence_interval(source.normal(0.5, 0.02, 3).tolist()) for _ in range(2000)]
    assert 0.93 < np.mean([low <= 0.5 <= high for low, high in found]) < 0.97


def test_the_best_run_is_the_median_repeat_of_the_finalist_with_the_highest_mean(digits: Dataset) -> None:
    states = {0: ended_trial(0, 0.99), 1: ended_trial(1, 0.9)}  # the first had a lucky seed
    scores = {(0, 8): 0.7, (0, 9): 0.8, (1, 8): 0.95, (1, 9): 0.85}
    for repeat, ((number, seed), score) in enumerate(scores.items(), start=2):
        states[repeat] = ended_trial(repeat, score, role=REPEAT, repeat_of=number, seed=seed)
    states[6] = replace(ended_trial(6, 0.999, role=REPEAT, repeat_of=1, seed=10), status=FAILED)
    found = compare_finalists(make_config(digits, repeats=3), states, {0: "lucky", 1: "good"})
    assert isinstance(found, Finals)
    assert (found.winner.name, found.winner.mean, found.winner.epochs) == ("good", pytest.approx(0.9), 2.0)
    assert median_repeat(found.winner, states) == 5
    assert compare_finalists(make_config(digits, repeats=None), states, {}) is None


def make_predictions(labels: np.ndarray, accuracy: float, source: np.random.Generator) -> np.ndarray:
    """Probabilities of ten classes with a given accuracy."""
    predicted = np.where(source.random(len(labels)) < accuracy, labels, (labels + 1) % 10)
    return np.asarray(np.eye(10)[predicted] * 0.9 + 0.01)


def test_the_lead_has_an_interval_over_images_and_the_verdict_states_whether_it_generalizes(digits: Dataset) -> None:
    split, source = digits.splits["validation"], np.random.default_rng(0)
    rates = {1: 0.9, 2: 0.895, 3: 0.5}
    predictions = {
        number: [make_predictions(split.labels, rate, source) for _ in range(2)] for number, rate in rates.items()
    }
    finalists = []
    for number, repeats in predictions.items():
        scores = [float(np.mean(probabilities.argmax(axis=1) == split.labels)) for probabilities in repeats]
        finalists.append(replace(make_finalist(f"trial {number}", scores), number=number))
    ranked = rank_finalists(finalists, "val_accuracy")
    finals = add_lead_intervals(ranked, split, predictions)
    first, near, poor = finals.finalists
    assert first.lead is None
    assert near.lead is not None
    assert poor.lead is not None
    assert near.lead[0] < 0 < near.lead[1]
    assert poor.lead[0] < first.mean - poor.mean < poor.lead[1]
    assert poor.lead[0] > 0.2
    assert f"On other images like these, {near.name} could be better (95 % confidence intervals)." in finals.verdict
    json.dumps(finals.as_dict(), allow_nan=False)
    grouped = add_lead_intervals(ranked, replace(split, patients=split.labels), predictions)
    assert "On other patients" in grouped.verdict
    broken = {**predictions, near.number: [np.full((len(split), 10), np.nan)]}
    unmeasured = add_lead_intervals(ranked, split, broken)
    assert [one.name for one in unmeasured.finalists if one.lead is not None] == [poor.name]


def test_cross_validated_finalists_are_compared_by_their_pooled_out_of_fold_predictions(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(digits, repeats=None, folds=5)
    pool, source = pool_images(digits).training, np.random.default_rng(0)
    states = {number: ended_trial(number, score) for number, score in enumerate([0.5, 0.9, 0.7, 0.8])}
    predictions = {
        number: make_predictions(pool.labels, rate, source) for number, rate in ((1, 0.6), (3, 0.9), (2, 0.5))
    }
    names = {number: f"trial {number}" for number in states}

    def stub(sweep: Any, state: TrialState, name: str, status: Any) -> Any:  # noqa: ARG001
        return SimpleNamespace(
            evaluation=SimpleNamespace(probabilities=predictions[state.number]), run_id=f"cv of {name}"
        )

    monkeypatch.setattr(fold_finals, "cross_validate_finalist", stub)
    monkeypatch.setattr(fold_finals, "mean_best_epoch", lambda *_: 2.0)
    monkeypatch.setattr(fold_finals, "connect", lambda _: contextlib.nullcontext())
    sweep_run = SweepRun(config=config, folder=tmp_path, store=Any, experiment="sweep", run_id="sweep")
    finals = fold_finals.cross_validate_finalists(sweep_run, states, names, print)
    assert isinstance(finals, Finals)
    assert [found.name for found in finals.finalists] == ["trial 3", "trial 1", "trial 2"], "not as in the search"
    accuracy = float((predictions[3].argmax(axis=1) == pool.labels).mean())
    assert (finals.winner.mean, finals.winner.cross_validation) == (pytest.approx(accuracy), "cv of trial 3")
    lead = finals.finalists[1].lead
    assert lead is not None
    assert lead[0] < accuracy - finals.finalists[1].mean < lead[1]
    assert choose_trial(finals, {}, states, "val_accuracy") == 3
    assert "somewhat optimistic" in finals.verdict
    assert finals.as_dict()["folds"] == 5


@pytest.mark.parametrize(("option", "value"), [("repeats", 2), ("storage", "s3://bucket/folder")])
def test_folds_exclude_repeats_and_a_storage(digits: Dataset, option: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"folds and {option} exclude each other"):
        sweep("densenet", digits, folds=3, **{option: value})
