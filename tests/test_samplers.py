"""Samplers: different candidates within the limits, equally good after an interruption as before it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from keras_cnns import Recipe
from keras_cnns.comparing.comparison import pareto_front
from keras_cnns.errors import SettingError
from keras_cnns.networks.registry import all_families
from keras_cnns.networks.settings import FloatRange
from tuning.candidates.space import NO_LIMITS, Limits, Space, Values, make_space
from tuning.running.journal import FAILED, FINISHED, RUNNING, STOPPED, WAITING, TrialState
from tuning.searching.samplers import STARTUP_TRIALS, TpeSampler, make_sampler

SMALL = Limits(parameters=40_000)
SEARCHED = {"learning_rate": "5e-4..1e-2", "weight_decay": 0.01}


def space_of(model: str, limits: Limits = NO_LIMITS, **space: object) -> Space:
    return make_space(model, recipe=Recipe(), space=space, image_shape=(32, 32, 1), classes=2, limits=limits)


def trial(space: Space, number: int, values: Values, score: float, status: str = FINISHED) -> TrialState:
    """A trial as read from the journal, with a candidate that has been through JSON."""
    return TrialState(
        number,
        status=status,
        candidate=json.loads(json.dumps(dict(values))),
        curve=[] if status in (FAILED, WAITING) else [{"val_accuracy": score, "seconds": 1.0}],
        costs={"parameters": cost(space, values), "macs": 1.0},
    )


def cost(space: Space, values: Values) -> float:
    from keras_cnns.networks.registry import count_network

    candidate = space.make_candidate(values)
    assert candidate is not None
    family = space.branches[candidate.model].family
    return float(count_network(family, candidate.settings, (32, 32, 1), 2).total_parameters)


def search(
    space: Space, kind: str, trials: int, score: Callable[[Values], float], *, seed: int = 0, resume_at: int = -1,
    cost: str | None = None,
) -> dict[int, TrialState]:  # fmt: skip
    """Search without training: the score of a candidate is computed."""
    states: dict[int, TrialState] = {}
    sampler = make_sampler(kind, space, seed=seed, cost=cost)
    for number in range(trials):
        if number == resume_at:
            sampler = make_sampler(kind, space, seed=seed, cost=cost)
        values = sampler.propose(states)
        states[number] = trial(space, number, values, score(values))
    return states


def score_of(values: Values) -> float:
    """A score that is highest for a learning rate of 0.002 and a large growth rate."""
    return 0.9 - 0.1 * abs(math.log(values.get("learning_rate", 1e-2) / 2e-3)) + 0.01 * values.get("growth_rate", 0)


@pytest.mark.parametrize("kind", ["random", "grid", "tpe"])
@pytest.mark.parametrize("resume_at", [-1, 17])
@pytest.mark.parametrize("model", ["densenet", "all"])
def test_all_candidates_are_different_and_can_be_trained(kind: str, resume_at: int, model: str) -> None:
    rates = "1e-3,3e-3" if kind == "grid" else "5e-4..1e-2"
    searched_families = [family for family in all_families().values() if model in (family.name, "all")]
    domains = [domain for family in searched_families for domain in family.search.domains.items()]
    continuous = {name: domain.low for name, domain in domains if isinstance(domain, FloatRange) and kind == "grid"}
    searched: dict[str, object] = continuous | {"learning_rate": rates, "weight_decay": 0.01, "dropout": 0.0}
    space = space_of(model, SMALL, **searched)
    states = search(space, kind, 24, score_of, resume_at=resume_at)
    candidates = {space.make_candidate(state.candidate) for state in states.values()}
    assert len(candidates) == 24
    assert all(cost(space, state.candidate) <= 40_000 for state in states.values())
    assert all(candidate is not None and not space.excess(candidate) for candidate in candidates)


@pytest.mark.parametrize("kind", ["random", "grid"])
def test_random_and_grid_search_continue_in_the_same_order_after_an_interruption(kind: str) -> None:
    space = space_of("densenet", learning_rate="1e-3,3e-3", weight_decay=0.01)
    whole, resumed = search(space, kind, 12, score_of), search(space, kind, 12, score_of, resume_at=5)
    assert [state.candidate for state in whole.values()] == [state.candidate for state in resumed.values()]


def test_the_first_trials_of_tpe_are_those_of_a_random_search() -> None:
    space = space_of("densenet")
    random_search, tpe = (
        search(space, "random", STARTUP_TRIALS, score_of),
        search(space, "tpe", STARTUP_TRIALS, score_of),
    )
    assert [state.candidate for state in random_search.values()] == [state.candidate for state in tpe.values()]


@pytest.mark.parametrize("resume_at", [-1, 25])
@pytest.mark.parametrize("model", ["densenet", "all"])
def test_tpe_finds_better_candidates_than_random_search_also_after_an_interruption(model: str, resume_at: int) -> None:
    space = space_of(model, growth_rate="4..24", weight_decay=0.01)
    late = {
        kind: [
            score_of(state.candidate)
            for seed in range(3)
            for number, state in search(space, kind, 40, score_of, seed=seed, resume_at=resume_at).items()
            if number >= 25
        ]
        for kind in ("random", "tpe")
    }
    assert statistics.mean(late["tpe"]) > statistics.mean(late["random"]) + 0.02


def test_running_and_ended_trials_are_reported_to_optuna_once() -> None:
    space = space_of("densenet")
    sampler = TpeSampler(space, seed=0)
    states = search(space, "tpe", 14, score_of)
    states[14] = trial(space, 14, sampler.propose(states), 0.0, RUNNING)
    states[15] = trial(space, 15, sampler.propose(states), 0.0, WAITING)
    sampler.propose(states)
    assert sampler.study is not None
    counted = [found.state.name for found in sampler.study.trials]
    assert (counted.count("COMPLETE"), counted.count("RUNNING")) == (14, 2)
    states[14] = trial(space, 14, states[14].candidate, 0.5)
    sampler.propose(states)
    counted = [found.state.name for found in sampler.study.trials]
    assert (counted.count("COMPLETE"), counted.count("RUNNING")) == (15, 1)


def test_stopped_and_failed_trials_are_reported_to_optuna_as_such() -> None:
    space = space_of("densenet")
    states = search(space, "tpe", 12, score_of)
    states[3] = trial(space, 3, states[3].candidate, 0.25, STOPPED)
    states[4] = trial(space, 4, states[4].candidate, 0.0, FAILED)
    sampler = TpeSampler(space, seed=0)
    sampler.propose(states)
    assert sampler.study is not None
    reported = [found for found in sampler.study.trials if found.state.name != "FAIL"]
    assert reported[3].intermediate_values == {1: 0.25}
    assert reported[3].state.name == "PRUNED"
    assert reported[4].constraints["failed"] > 0
    assert reported[5].value == pytest.approx(score_of(states[5].candidate))


def test_candidates_beyond_the_limits_are_reported_at_most_as_often_as_there_are_trials() -> None:
    space = space_of("densenet", Limits(parameters=12_000))
    sampler = TpeSampler(space, seed=0)
    states: dict[int, TrialState] = {}
    for number in range(30):
        values = sampler.propose(states)
        states[number] = trial(space, number, values, score_of(values))
    assert sampler.study is not None
    beyond = [found for found in sampler.study.trials if "limits" in found.constraints]
    assert 0 < len(beyond) <= 30
    assert all(found.constraints["limits"] > 0 for found in beyond)


def test_tpe_finds_a_better_pareto_front_than_random_search() -> None:
    space = space_of("densenet", growth_rate="4..24", weight_decay=0.01)

    def volume(kind: str, seed: int) -> float:
        states = search(space, kind, 60, score_of, seed=seed, cost="parameters")
        points = [(math.log10(cost(space, state.candidate)), score_of(state.candidate)) for state in states.values()]
        front = [points[index] for index in pareto_front(points)]
        ends = [*[x for x, _ in front[1:]], 6.0]
        return sum((end - x) * (y - 0.5) for (x, y), end in zip(front, ends, strict=True))

    tpe, random_search = ([volume(kind, seed) for seed in range(4)] for kind in ("tpe", "random"))
    assert statistics.mean(tpe) > statistics.mean(random_search)


def test_an_exhausted_space_raises_an_error() -> None:
    fixed: dict[str, Any] = {"learning_rate": 0.01, "weight_decay": 0.01, "dropout": 0.0, "compression": 0.5,
                             "bottleneck_width": None, "growth_rate": 4}  # fmt: skip
    space = space_of("densenet", **fixed, blocks="2,2|3,3|4,4|5,5|2,2,2|3,3,3|4,4,4|5,5,5|2,3|3,4|4,5|5,6")
    assert len(search(space, "tpe", 12, score_of)) == 12
    with pytest.raises(SettingError, match="has only 12 different candidates"):
        search(space, "tpe", 13, score_of)
