"""The outcome of a sweep: its plots and files for all kinds of sweeps, and hyperparameter importance."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns import Recipe
from keras_cnns.comparing.importance import MIN_TRIALS, estimate_importance
from keras_cnns.comparing.scored_trials import axis_limits, axis_position
from keras_cnns.comparing.setting_plots import axis_ticks, relative_position, shorten
from keras_cnns.errors import SettingError
from keras_cnns.networks.settings import Choice, FloatRange, IntRange
from tuning.candidates.space import Space, make_space
from tuning.outcome.files import summarize_importance, write_outcome
from tuning.outcome.trials import group_trials, score_trials
from tuning.running.journal import FAILED, FINISHED, REPEAT, RUNNING, STOPPED, TrialState

PLOTS = {"importance.png", "parallel_coordinates.png", "slices.png", "learning_curves.png", "comparison.png"}
EPOCHS = 4


def space_of(name: str, **space: Any) -> Space:
    return make_space(name, recipe=Recipe(epochs=EPOCHS), space=space, image_shape=(64, 64, 1), classes=2)


def noise(_: Mapping[str, Any], source: random.Random) -> float:
    return source.uniform(0.8, 0.95)


def by_learning_rate(values: Mapping[str, Any], source: random.Random) -> float:
    return 0.9 - 0.1 * abs(math.log10(values["learning_rate"]) + 2.5) + 0.002 * source.random()


def make_states(
    space: Space,
    count: int,
    *,
    score: Callable[[Mapping[str, Any], random.Random], float] = noise,
    statuses: tuple[str, ...] = (FINISHED,),
) -> dict[int, TrialState]:
    """Return trials with candidates as read from the journal, whose values were written as JSON."""
    source = random.Random(count)  # noqa: S311
    states = {}
    while len(states) < count:
        values = space.draw_values(source)
        if space.make_candidate(values) is not None:
            number, status = len(states), statuses[len(states) % len(statuses)]
            epochs = {FINISHED: EPOCHS, STOPPED: 1, FAILED: number % 2, RUNNING: 1}[status]
            best = score(values, source)
            curve = [
                {"val_accuracy": best - 0.1 * (EPOCHS - epoch), "seconds": float(epoch)}
                for epoch in range(1, epochs + 1)
            ]
            states[number] = TrialState(number, status=status, candidate=json.loads(json.dumps(values)), curve=curve)
    return states


def is_plot(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.width > 300 and image.height > 100 and np.asarray(image.convert("L")).std() > 1


@pytest.mark.parametrize(
    ("name", "count", "statuses"),
    [
        ("densenet", 1, (FINISHED,)),
        ("densenet", 0, (FINISHED,)),
        ("lenet", 3, (FAILED,)),
        ("densenet", 20, (FINISHED, STOPPED, FAILED)),
        pytest.param("all", 12, (FINISHED, STOPPED), marks=pytest.mark.exhaustive),
    ],
)
def test_every_sweep_has_all_plots_and_files(tmp_path: Path, name: str, count: int, statuses: tuple[str, ...]) -> None:
    space = space_of(name)
    folder = write_outcome(make_states(space, count, statuses=statuses), space, [], tmp_path)
    assert {path.name for path in folder.iterdir()} == PLOTS | {"importance.json", "trials.csv"}
    assert all(is_plot(folder / plot) for plot in PLOTS)
    json.loads((folder / "importance.json").read_text())
    list(csv.reader((folder / "trials.csv").open()))


def test_a_single_hyperparameter_with_long_values_is_plotted(tmp_path: Path) -> None:
    long = tuple(tuple(range(1, length)) for length in range(2, 9))
    fixed = {"growth_rate": 4, "bottleneck_width": None, "compression": 0.5, "dropout": 0.0, "weight_decay": 0.01}
    space = space_of("densenet", blocks=list(long), learning_rate=0.01, **fixed)
    assert list(space.searched()) == ["blocks"]
    folder = write_outcome(make_states(space, 14), space, [], tmp_path)
    assert all(is_plot(folder / plot) for plot in PLOTS)


def test_a_plot_that_cannot_be_written_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "outcome" / "importance.png").mkdir(parents=True)
    space = space_of("lenet")
    with pytest.raises(SettingError, match=r"cannot write .*importance\.png"):
        write_outcome(make_states(space, 2), space, [], tmp_path)


def test_the_hyperparameter_that_determines_the_score_is_the_most_important() -> None:
    space = space_of("densenet")
    (group,) = group_trials(space, score_trials(make_states(space, 40, score=by_learning_rate), space))
    importance = estimate_importance(group)
    assert next(iter(importance.shares)) == "learning_rate"
    assert importance.shares["learning_rate"] > 0.7
    assert set(importance.shares) == set(space.searched())
    assert not importance.inconclusive
    assert sum(importance.shares.values()) + importance.interactions == pytest.approx(1, abs=0.05)
    assert importance == estimate_importance(group)


@pytest.mark.parametrize("count", [1, MIN_TRIALS - 1, 16, 40])
def test_importance_is_inconclusive_for_random_scores(count: int) -> None:
    space = space_of("resnet")
    (group,) = group_trials(space, score_trials(make_states(space, count), space))
    importance = estimate_importance(group)
    assert importance.inconclusive
    assert importance.summary().startswith(f"{count} trial")


def test_importance_is_summarized_in_a_line(tmp_path: Path) -> None:
    space = space_of("lenet", learning_rate="1e-4..1e-2")
    folder = write_outcome(make_states(space, 30, score=by_learning_rate), space, [], tmp_path)
    (line,) = summarize_importance(folder)
    assert line.startswith("hyperparameter importance: learning_rate ")
    assert "30 trials, R² " in line
    nothing = write_outcome({}, space, [], tmp_path)
    assert summarize_importance(nothing) == []


def test_importance_cannot_be_estimated_from_equal_scores() -> None:
    space = space_of("lenet")
    (group,) = group_trials(space, score_trials(make_states(space, 12, score=lambda *_: 0.5), space))
    assert estimate_importance(group).summary() == "all 12 trials have the same score."


def test_importance_includes_every_searched_field_of_the_recipe() -> None:
    space = space_of("lenet", augmentation="none,light", mixup="0..0.4")
    (group,) = group_trials(space, score_trials(make_states(space, 30, score=by_learning_rate), space))
    assert {"augmentation", "mixup"} <= set(estimate_importance(group).shares)


def test_trials_are_grouped_for_all_families_and_for_each_family() -> None:
    space = space_of("all")
    scored = score_trials(make_states(space, 60), space)
    first, *others = group_trials(space, scored)
    assert (first.name, set(first.domains)) == ("all families", {"family", *space.domains})
    assert len(first.trials) == 60 == sum(len(group.trials) for group in others)
    for group in others:
        assert {trial.family for trial in group.trials} == {group.name}
        assert not set(group.own_settings) & set(first.own_settings)


def test_failed_and_running_trials_and_repeats_of_finalists_are_ignored(tmp_path: Path) -> None:
    space = space_of("lenet")
    states = make_states(space, 8, statuses=(FINISHED, FAILED, RUNNING, STOPPED))
    assert [trial.number for trial in score_trials(states, space)] == [0, 3, 4, 7]
    states[0].role = REPEAT
    folder = write_outcome(states, space, [], tmp_path)
    assert json.loads((folder / "importance.json").read_text())[0]["trials"] == 3


def test_the_projected_score_of_a_stopped_trial_includes_the_median_later_gain() -> None:
    space = space_of("lenet")
    states = make_states(space, 6, statuses=(FINISHED, STOPPED))
    for trial in score_trials(states, space):
        score = states[trial.number].curve[-1]["val_accuracy"]
        assert trial.score == pytest.approx(score)
        assert trial.projected_score == pytest.approx(score + (0.1 * (EPOCHS - 1) if trial.stopped else 0))
    alone = {1: states[1]}
    assert score_trials(alone, space)[0].projected_score == score_trials(alone, space)[0].score


DOMAINS = st.one_of(
    st.builds(
        lambda low, more, log: FloatRange(low, low * (1 + more), log=log),
        st.floats(1e-7, 1e3), st.floats(0.01, 1e5), st.booleans(),
    ),
    st.builds(
        lambda low, more, log: IntRange(low, low + more, log=log),
        st.integers(1, 1000), st.integers(0, 10**6), st.booleans(),
    ),
    st.builds(
        lambda values: Choice(tuple(values)),
        st.lists(st.integers(0, 10**9), min_size=1, max_size=30, unique=True),
    ),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(domain=DOMAINS)
def test_every_axis_has_a_few_readable_ticks_within_its_range(domain: Any) -> None:
    ticks = axis_ticks(domain)
    low, high = axis_limits(domain)
    assert 1 <= len(ticks) <= 16
    assert all(low - 1e-9 <= position <= high + 1e-9 * max(1, abs(high)) for position, _ in ticks)
    assert [position for position, _ in ticks] == sorted(position for position, _ in ticks)
    assert all(-1e-6 <= relative_position(domain, position) <= 1 + 1e-6 for position, _ in ticks)
    assert all(len(text) <= 14 for _, text in ticks)


@given(text=st.text(min_size=1, max_size=60))
def test_long_labels_keep_their_beginning_and_end(text: str) -> None:
    short = shorten(text)
    assert len(short) <= 14
    assert short[:7] == text[:7]
    assert short[-6:] == text[-6:]


def test_a_logarithmic_axis_is_linear_in_the_exponent() -> None:
    domain = FloatRange(1e-4, 1e-2, log=True)
    positions = [axis_position(domain, value) for value in (1e-4, 1e-3, 1e-2)]
    assert np.diff(positions) == pytest.approx([1, 1])


def test_importing_the_outcome_does_not_load_scikit_learn() -> None:
    script = "import tuning.outcome.files, sys; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
