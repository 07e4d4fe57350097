"""Finalists: the best trials of a search, trained again with other seeds, and tests for a significant winner.

The score of the best of many trials is biased upwards, because it partly depends on a lucky seed. Therefore the
finalists are trained again, all with the same new seeds, and only these scores count. Each pair is compared by a paired
t-test over the seeds (a seed determines the order of the images and all random draws). The p-values are corrected for
the number of pairs (Holm 1979), because the winner is only chosen after all scores are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_cnns.comparing.comparison import pareto_front
from keras_cnns.comparing.significance import (
    LEVEL,
    confidence_interval,
    holm_correction,
    margin_of_error,
    paired_differences,
    paired_t_test,
)
from keras_cnns.networks.recipe import Recipe
from keras_cnns.training.checkpoints import selected_metrics, selected_score
from tuning.running.journal import FAILED, REPEAT, SEARCH, JournalCallback, TrialState
from tuning.running.sweep_run import FINALISTS, SweepConfig

FEW_SEEDS = 5

States = Mapping[int, TrialState]


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A trial of the search that was trained again.

    Attributes:
        number: Number of the trial in the search.
        name: Name of its run.
        scores: The score of each repeat that did not fail, by seed.
        epochs: Mean of the best epochs of the repeats.
        p: Corrected p-value of the test against the winner; None for the winner, and without shared seeds.
        lead: The 95 % confidence interval, over validation images or patients, of the difference between the winner's
            mean score and this one's; None for the winner, and if there is no interval.
        cross_validation: The run of its cross-validation; "" for repeats with other seeds.
    """

    number: int
    name: str
    scores: Mapping[int, float]
    epochs: float
    p: float | None = None
    lead: tuple[float, float] | None = None
    cross_validation: str = ""

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(list(self.scores.values())))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean over seeds (Student's t); NaN for a single score."""
        return confidence_interval(list(self.scores.values()))


@dataclass(frozen=True, kw_only=True)
class Finals:
    """The comparison of the finalists.

    Attributes:
        monitor: The metric that they are compared by.
        finalists: The finalists with a score, highest mean first.
        verdict: A sentence that says whether the first one is a significant winner.
        folds: The number of folds by which they were cross-validated; None for repeats with other seeds.
    """

    monitor: str
    finalists: tuple[Finalist, ...]
    verdict: str
    folds: int | None = None

    @property
    def winner(self) -> Finalist:
        """The finalist with the highest mean."""
        return self.finalists[0]

    def as_metrics(self) -> dict[str, float]:
        """Return the metrics of the sweep's own run."""
        p_values = [finalist.p for finalist in self.finalists if finalist.p is not None]
        low, high = self.winner.interval
        metrics = {"mean": self.winner.mean, "low": low, "high": high, "p": max(p_values, default=math.nan)}
        return {f"winner_{name}": value for name, value in metrics.items() if math.isfinite(value)}

    def as_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        finalists = []
        for finalist in self.finalists:
            low, high = (bound if math.isfinite(bound) else None for bound in finalist.interval)
            scores = {str(seed): score for seed, score in finalist.scores.items()}
            finalists.append({**vars(finalist), "scores": scores, "mean": finalist.mean, "low": low, "high": high})
        return {"monitor": self.monitor, "verdict": self.verdict, "folds": self.folds, "finalists": finalists}


def final_score(state: TrialState, recipe: Recipe) -> float:
    """Return the score of a trial's saved network; NaN if there is none."""
    return math.nan if state.status == FAILED else selected_score(state.curve, recipe)


def select_finalists(states: States, recipe: Recipe, cost: str | None) -> list[int]:
    """Return the numbers of the best three trials of a search, best first; fewer if fewer have a score.

    Args:
        states: All trials.
        recipe: Determines the monitored metric.
        cost: If given, only trials of the Pareto front of score and this cost are selected.
    """
    scores = {number: final_score(state, recipe) for number, state in states.items() if state.role == SEARCH}
    numbers = sorted(number for number, score in scores.items() if math.isfinite(score))
    if cost is not None:
        front = pareto_front([(states[number].costs.get(cost, math.nan), scores[number]) for number in numbers])
        numbers = [numbers[index] for index in front]
    return sorted(numbers, key=lambda number: -scores[number])[:FINALISTS]


def repeat_seeds(config: SweepConfig) -> list[int]:
    """Return the seeds of the repeats: those that follow the sweep's own."""
    return [(config.seed + 1 + repeat) % 2**32 for repeat in range(config.repeats or 0)]


def missing_repeats(config: SweepConfig, states: States) -> list[tuple[int, int]]:
    """Return finalist and seed of each repeat that is not in the journal, ordered by seed."""
    present = {(state.repeat_of, state.seed) for state in states.values() if state.role == REPEAT}
    finalists = select_finalists(states, config.space.recipe, config.cost) if config.repeats else []
    return [
        pair for seed in repeat_seeds(config) for finalist in finalists if (pair := (finalist, seed)) not in present
    ]


def record_repeats(config: SweepConfig, journal_callback: JournalCallback) -> None:
    """Record the repeats that are still missing in the journal."""
    states = journal_callback.states
    for finalist, seed in missing_repeats(config, states):
        values = states[finalist].candidate
        journal_callback.record(
            len(states), event="candidate", values=values, role=REPEAT, seed=seed, repeat_of=finalist
        )


def count_unfinished_search(config: SweepConfig, states: States) -> int:
    """Return the number of trials of the search that have not ended."""
    return config.trials - sum(state.role == SEARCH and state.ended for state in states.values())


def count_unfinished(config: SweepConfig, states: States) -> int:
    """Return the number of trials and, given the current finalists, of repeats that have not ended."""
    started = sum(not state.ended for state in states.values() if state.role == REPEAT)
    return count_unfinished_search(config, states) + started + len(missing_repeats(config, states))


def compare_finalists(config: SweepConfig, states: States, names: Mapping[int, str]) -> Finals | None:
    """Compare the finalists by their repeats; return None if no repeat has a score.

    Args:
        config: The configuration of the sweep.
        states: All trials.
        names: Names of the runs of the search, by trial.
    """
    recipe, seeds = config.space.recipe, set(repeat_seeds(config))
    finalists = []
    for number in select_finalists(states, recipe, config.cost):
        repeats = {
            state.seed: state
            for state in states.values()
            if state.repeat_of == number and state.seed in seeds and math.isfinite(final_score(state, recipe))
        }
        if repeats:
            scores = {seed: final_score(state, recipe) for seed, state in repeats.items() if seed is not None}
            epochs = [selected_metrics(state.curve, recipe)["best_epoch"] for state in repeats.values()]
            finalists.append(Finalist(number=number, name=names[number], scores=scores, epochs=float(np.mean(epochs))))
    return rank_finalists(finalists, recipe.monitor) if finalists else None


def rank_finalists(finalists: Sequence[Finalist], monitor: str) -> Finals:
    """Sort finalists by their mean, and test each of them against the first."""
    order = sorted(finalists, key=lambda finalist: -finalist.mean)
    pairs = {
        (one, other): p
        for one, other in itertools.combinations(range(len(order)), 2)
        if (p := paired_t_test(order[one].scores, order[other].scores)) is not None
    }
    corrected = holm_correction(pairs)
    tested = tuple(replace(finalist, p=corrected.get((0, index))) for index, finalist in enumerate(order))
    return Finals(monitor=monitor, finalists=tested, verdict=state_verdict(tested, monitor))


def state_verdict(finalists: Sequence[Finalist], monitor: str) -> str:
    """Return a sentence that says whether the first finalist is a significant winner."""
    first, *others = finalists
    seeds = len(first.scores)
    if not others:
        return f"{first.name} is the only finalist, so its {seeds} seeds only show how much its score varies."
    undecided = [finalist for finalist in others if finalist.p is None or finalist.p >= 1 - LEVEL]
    if not undecided:
        highest = max(finalist.p for finalist in others if finalist.p is not None)
        caution = " With so few seeds, this assumes normally distributed differences." if seeds < FEW_SEEDS else ""
        return (
            f"{first.name} is the winner: over {seeds} seeds, its {monitor} is significantly higher than that of every "
            f"other finalist (paired t-test, corrected p at most {highest:.2g}).{caution}"
        )
    names = " and ".join(
        f"{finalist.name} ({'no shared seeds' if finalist.p is None else f'p = {finalist.p:.2g}'})"
        for finalist in undecided
    )
    shared = paired_differences(first.scores, undecided[0].scores).tolist()
    margin = f" A difference below {margin_of_error(shared):.2g} is not detectable." if len(shared) > 1 else ""
    return (
        f"{first.name} has the highest mean {monitor}, but over {seeds} seeds it is not significantly better than "
        f"{names}.{margin} Use more --repeats (repeats), or choose the cheapest of them."
    )


def median_repeat(finalist: Finalist, states: States) -> int:
    """Return the number of the repeat with the median score (the lower one of two)."""
    order = sorted(finalist.scores, key=lambda seed: finalist.scores[seed])
    seed = order[(len(order) - 1) // 2]
    return next(number for number, state in states.items() if state.repeat_of == finalist.number and state.seed == seed)
