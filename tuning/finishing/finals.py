"""The best of a search trained again with other seeds, and whether the winner is one.

The best of many trials is partly the luckiest: of what it scored a part was its seed. So the finalists train again,
all with the same new seeds, and only these scores count. Each pair is compared by a t-test over the seeds they share
(each seed gives both the same order of images and the same draws), its p-values corrected by Holm (1979) for the
number of pairs, as the winner is named only once all are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cnns.comparing.comparison import pareto_front
from keras_cnns.comparing.over_seeds import LEVEL, differences, holm, interval_of_mean, paired_test, reach
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import IntRange, NoneOr
from keras_cnns.training.checkpoints import kept_metrics, kept_score
from tuning.running.journal import FAILED, REPEAT, SEARCH, JournalCallback, TrialState
from tuning.running.plan import Plan

FINALISTS = 3
REPEATS = NoneOr(IntRange(2, 1000))
FEW_SEEDS = 5
FINALISTS_FILE = "finalists.json"


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A candidate that was trained again.

    Attributes:
        number: Its trial in the search.
        name: What that trial is called.
        scores: By seed, what the monitor reached in each repeat that did not fail.
        epochs: The mean over repeats of the kept epoch.
        mean: The mean score.
        low: The lower end of the mean's 95 % interval over seeds (Student's t); NaN for a single score.
        high: The upper end.
        p: Of the test against the winner, corrected for all pairs; None for the winner, and without shared seeds.
        lead: The 95 % interval, over validation images or patients, of what the winner's mean is ahead by; None for the
            winner, and where it has none.
    """

    number: int
    name: str
    scores: Mapping[int, float]
    epochs: float
    mean: float
    low: float
    high: float
    p: float | None = None
    lead: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Finals:
    """What came of training the best of a search again.

    Attributes:
        monitor: The metric that they are compared by.
        finalists: Those with a score, the highest mean first.
        verdict: Whether the first of them is the winner, in words.
    """

    monitor: str
    finalists: tuple[Finalist, ...]
    verdict: str

    @property
    def winner(self) -> Finalist:
        """The finalist with the highest mean."""
        return self.finalists[0]

    def as_metrics(self) -> dict[str, float]:
        """Return what the sweep's own run holds of them."""
        tested = [finalist.p for finalist in self.finalists if finalist.p is not None]
        found = {"mean": self.winner.mean, "low": self.winner.low, "high": self.winner.high}
        found |= {"p": max(tested)} if tested else {}
        return {f"winner_{name}": value for name, value in found.items() if math.isfinite(value)}

    def as_dict(self) -> dict[str, Any]:
        """Return everything in values that JSON can hold."""
        return {
            "monitor": self.monitor,
            "verdict": self.verdict,
            "finalists": [
                {
                    **vars(finalist),
                    "scores": {str(seed): score for seed, score in finalist.scores.items()},
                    "low": finalist.low if math.isfinite(finalist.low) else None,
                    "high": finalist.high if math.isfinite(finalist.high) else None,
                }
                for finalist in self.finalists
            ],
        }


def score_of(state: TrialState, recipe: Recipe) -> float:
    """Return what the monitor reached in the kept epoch of a trial; NaN where it did not get so far."""
    return math.nan if state.status == FAILED else kept_score(state.curve, recipe)


def choose_finalists(states: Mapping[int, TrialState], recipe: Recipe, cost: str | None) -> list[int]:
    """Return the numbers of the best trials of a search: three, or as many as have a score, the best first.

    Args:
        states: All trials.
        recipe: What says what is monitored.
        cost: The cost that scores are weighed against, if any; then only trials of the Pareto front are chosen.
    """
    scores = {number: score_of(state, recipe) for number, state in states.items() if state.role == SEARCH}
    scores = {number: score for number, score in scores.items() if math.isfinite(score)}
    numbers = sorted(scores)
    if cost is not None:
        front = pareto_front([(states[number].costs.get(cost, math.nan), scores[number]) for number in numbers])
        numbers = [numbers[place] for place in front]
    return sorted(numbers, key=lambda number: -scores[number])[:FINALISTS]


def seeds_of(plan: Plan) -> list[int]:
    """Return the seeds that finalists train with again: those after the sweep's own."""
    return [(plan.seed + 1 + repeat) % 2**32 for repeat in range(plan.repeats or 0)]


def missing_repeats(plan: Plan, states: Mapping[int, TrialState]) -> list[tuple[int, int]]:
    """Return finalist and seed of each repeat that is not in the journal yet; all finalists get a seed in turn."""
    there = {(state.repeat_of, state.seed) for state in states.values() if state.role == REPEAT}
    finalists = choose_finalists(states, plan.space.recipe, plan.cost) if plan.repeats else []
    wanted = [(finalist, seed) for seed in seeds_of(plan) for finalist in finalists]
    return [pair for pair in wanted if pair not in there]


def note_repeats(plan: Plan, journal_callback: JournalCallback) -> None:
    """Write the repeats that there are to be into the journal."""
    for finalist, seed in missing_repeats(plan, journal_callback.known):
        values = journal_callback.known[finalist].candidate
        journal_callback.note(
            len(journal_callback.known), event="candidate", values=values, role=REPEAT, seed=seed, repeat_of=finalist
        )


def left_to_search(plan: Plan, states: Mapping[int, TrialState]) -> int:
    """Return how many trials of the search have not ended."""
    return plan.trials - sum(state.role == SEARCH and state.ended for state in states.values())


def left_to_repeat(plan: Plan, states: Mapping[int, TrialState]) -> int:
    """Return how many repeats of the finalists have not ended, as far as the finalists are known."""
    begun = sum(not state.ended for state in states.values() if state.role == REPEAT)
    return begun + len(missing_repeats(plan, states))


def judge(plan: Plan, states: Mapping[int, TrialState], names: Mapping[int, str]) -> Finals | None:
    """Compare the finalists; None where there are none with a score.

    Args:
        plan: The sweep.
        states: All trials, the repeats ended.
        names: What the trials of the search are called.
    """
    recipe, seeds = plan.space.recipe, set(seeds_of(plan))
    measured: list[Finalist] = []
    for number in choose_finalists(states, recipe, plan.cost):
        repeats = [state for state in states.values() if state.repeat_of == number and state.seed in seeds]
        scored = {state.seed: state for state in repeats if math.isfinite(score_of(state, recipe))}
        if scored:
            scores = {seed: score_of(state, recipe) for seed, state in scored.items() if seed is not None}
            kept = [kept_metrics(state.curve, recipe)["best_epoch"] for state in scored.values()]
            low, high = interval_of_mean(list(scores.values()))
            finalist = Finalist(
                number=number,
                name=names[number],
                scores=scores,
                epochs=float(np.mean(kept)),
                mean=float(np.mean(list(scores.values()))),
                low=low,
                high=high,
            )
            measured.append(finalist)
    return compare(measured, recipe.monitor) if measured else None


def compare(finalists: Sequence[Finalist], monitor: str) -> Finals:
    """Sort finalists by their mean, and test each against the first."""
    order = sorted(finalists, key=lambda finalist: -finalist.mean)
    pairs = {
        (one, other): p
        for one, other in itertools.combinations(range(len(order)), 2)
        if (p := paired_test(order[one].scores, order[other].scores)) is not None
    }
    corrected = holm(pairs)
    tested = tuple(
        Finalist(**{**vars(finalist), "p": corrected.get((0, place))}) for place, finalist in enumerate(order)
    )
    return Finals(monitor=monitor, finalists=tested, verdict=verdict(tested, monitor))


def verdict(finalists: Sequence[Finalist], monitor: str) -> str:
    """Say whether the first finalist is the winner, and what so few seeds can tell."""
    first, *others = finalists
    seeds = len(first.scores)
    if not others:
        return f"{first.name} is the only finalist: {seeds} seeds say how much it varies, not what it beats."
    open_ones = [finalist for finalist in others if finalist.p is None or finalist.p >= 1 - LEVEL]
    if not open_ones:
        highest = max(finalist.p for finalist in others if finalist.p is not None)
        caution = " With so few that rests on differences being normally distributed." if seeds < FEW_SEEDS else ""
        return (
            f"{first.name} is the winner: over {seeds} seeds its {monitor} is higher than that of each other finalist "
            f"(paired t-test, corrected p at most {highest:.2g}).{caution}"
        )
    names = " and ".join(
        f"{finalist.name} ({'no shared seeds' if finalist.p is None else f'p = {finalist.p:.2g}'})"
        for finalist in open_ones
    )
    shared = differences(first.scores, open_ones[0].scores)
    smallest = f" A difference below {reach(shared.tolist()):.2g} does not show with so few." if len(shared) > 1 else ""
    return (
        f"{first.name} has the highest mean {monitor}, but {seeds} seeds do not tell it from {names}.{smallest} More "
        f"--repeats (repeats) would, or take the cheapest."
    )


def middle_repeat(finalist: Finalist, states: Mapping[int, TrialState]) -> int:
    """Return the number of the repeat with the middle score, the lower of two: neither a lucky seed nor an unlucky."""
    order = sorted(finalist.scores, key=lambda seed: finalist.scores[seed])
    seed = order[(len(order) - 1) // 2]
    return next(number for number, state in states.items() if state.repeat_of == finalist.number and state.seed == seed)
