"""Samplers: propose candidates at random, from a grid, or similar to the best ones so far.

A sampler receives all trials so far with each request and has no other state, so it proposes equally good candidates
after a sweep has been resumed from its journal.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from keras_cnns.errors import SettingError
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, format_value
from keras_cnns.training.checkpoints import selected_score
from tuning.candidates.space import Candidate, Space, Values, round_float
from tuning.running.journal import FAILED, STOPPED, TrialState

STARTUP_TRIALS = 10
MAX_ASKS = 50
FAILURE_EXCESS = 100.0  # constraint value of failed trials, above that of any candidate beyond the limits
SEARCHES = ("random", "grid", "tpe")

States = Mapping[int, TrialState]


class Sampler(Protocol):
    """Proposes candidates."""

    def propose(self, states: States) -> Values:
        """Return the values of a candidate that can be trained and is not among the trials so far."""


def make_sampler(search: str, space: Space, *, seed: int, cost: str | None = None) -> Sampler:
    """Return a sampler.

    Args:
        search: "random", "grid" or "tpe".
        space: The search space.
        seed: Seed of all random numbers.
        cost: The cost to minimize together with the score, if any.
    """
    if search == "grid":
        points = space.grid()
        random.Random(seed).shuffle(points)  # noqa: S311 - so that fewer trials than points cover the whole grid
        return OrderedSampler(iter(points), space)
    if search == "tpe":
        return TpeSampler(space, seed=seed, cost=cost)
    return OrderedSampler(space.shuffled(seed), space)


class OrderedSampler:
    """Proposes candidates in a fixed order.

    Args:
        order: Different candidates with their values.
        space: The search space.
    """

    def __init__(self, order: Iterator[tuple[Values, Candidate]], space: Space) -> None:
        self.order = order
        self.space = space
        self.known: dict[int, Candidate | None] = {}

    def propose(self, states: States) -> Values:
        """Return the next candidate that is not among the trials."""
        tried = self.tried(states)
        return next(values for values, candidate in self.order if candidate not in tried)

    def tried(self, states: States) -> set[Candidate | None]:
        """Return the candidates of the trials so far."""
        for number in states.keys() - self.known.keys():
            self.known[number] = self.space.make_candidate(states[number].candidate)
        return set(self.known.values())


class TpeSampler:
    """Proposes candidates similar to the best ones so far: Optuna's tree-structured Parzen estimator.

    See Bergstra et al. 2011. The first ten trials are random. Running trials count as poor ones, so that other trials
    keep a distance; trials that were stopped early count with their last epoch and best score; failed trials are worse
    than all others. Candidates beyond the limits are not trained, but reported to Optuna with their excess, at most as
    often as there are trials, so that they do not outweigh measured scores.

    Args:
        space: The search space.
        seed: Seed of all random numbers.
        cost: The cost to minimize together with the score, if any: "parameters" or "macs".
    """

    def __init__(self, space: Space, *, seed: int, cost: str | None = None) -> None:
        self.space = space
        self.seed = seed
        self.cost = cost
        self.random = OrderedSampler(space.shuffled(seed), space)
        self.study: optuna.Study | None = None
        self.running: dict[int, int] = {}
        self.reported: set[int] = set()
        self.rejected = 0

    def propose(self, states: States) -> Values:
        """Ask Optuna until a candidate is new and can be trained; after too many attempts, draw one at random."""
        if sum(state.ended for state in states.values()) < STARTUP_TRIALS:
            return self.random.propose(states)
        study = self.update_study(states)
        tried = self.random.tried(states)
        for _ in range(MAX_ASKS):
            trial = study.ask()
            values = self.suggest_values(trial)
            candidate = self.space.make_candidate(values)
            excess = self.space.excess(candidate) if candidate is not None else 0.0
            if excess and self.rejected < len(states):
                self.rejected += 1
                trial.set_constraint("limits", excess)
                study.tell(trial, state=OptunaState.PRUNED)
            else:
                study.tell(trial, state=OptunaState.FAIL)  # ignored by Optuna; `update_study` adds the actual trial
            if candidate is not None and candidate not in tried and not excess:
                return values
        return self.random.propose(states)

    def update_study(self, states: States) -> optuna.Study:
        """Report new and newly ended trials to Optuna."""
        study = self.study = self.study or self.make_study(len(states))
        for number, state in states.items():
            if state.ended and number not in self.reported:
                self.reported.add(number)
                study.add_trial(self.ended_trial(state))
                if number in self.running:  # ignore the running trial, which the ended one replaces
                    study.tell(self.running.pop(number), state=OptunaState.FAIL)
            elif not state.ended and number not in self.running:
                self.running[number] = len(study.get_trials(deepcopy=False))
                study.add_trial(self.optuna_trial(state.candidate, state=OptunaState.RUNNING))
        return study

    def ended_trial(self, state: TrialState) -> FrozenTrial:
        """Return an ended trial for Optuna."""
        if state.status == FAILED:
            return self.optuna_trial(state.candidate, state=OptunaState.PRUNED, constraints={"failed": FAILURE_EXCESS})
        score = selected_score(state.curve, self.space.recipe)
        if self.cost:
            return self.optuna_trial(state.candidate, values=[score, math.log10(state.costs[self.cost])])
        if state.status == STOPPED:
            last = {len(state.curve): score}
            return self.optuna_trial(state.candidate, state=OptunaState.PRUNED, intermediate_values=last)
        return self.optuna_trial(state.candidate, value=score)

    def make_study(self, trials: int) -> optuna.Study:
        """Return an empty study; its seed depends on the number of trials, so a resumed sweep does not repeat draws."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=0,
                multivariate=True,
                group=len(self.space.branches) > 1,
                seed=(self.seed + trials) % 2**32,
            )
        directions: list[Any] = ["maximize", "minimize"] if self.cost else ["maximize"]
        return optuna.create_study(sampler=sampler, directions=directions)

    def parameters(self, model: str) -> dict[str, tuple[str, Domain]]:
        """Return Optuna's name and the domain of each value of a candidate; the names of families differ."""
        branch, models = self.space.branches[model], tuple(self.space.branches)
        return {
            **({"model": ("model", Choice(models))} if len(models) > 1 else {}),
            **{name: (f"{branch.family.name}.{name}", domain) for name, domain in branch.domains.items()},
            **{name: (name, domain) for name, domain in self.space.domains.items()},
        }

    def suggest_values(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the values that Optuna proposes."""
        models = tuple(self.space.branches)
        model = suggest(trial, "model", Choice(models)) if len(models) > 1 else models[0]
        parameters = self.parameters(model).items()
        return {"model": model, **{name: suggest(trial, label, domain) for name, (label, domain) in parameters}}

    def optuna_trial(self, candidate: Values, **details: Any) -> FrozenTrial:
        """Return a trial of Optuna with the values of a candidate."""
        parameters = self.parameters(candidate["model"])
        return optuna.trial.create_trial(
            params={label: optuna_value(domain, candidate[name]) for name, (label, domain) in parameters.items()},
            distributions={label: make_distribution(domain) for label, domain in parameters.values()},
            **details,
        )


def make_distribution(domain: Domain) -> BaseDistribution:
    """Return Optuna's distribution for a domain."""
    match domain:
        case IntRange(low=low, high=high, step=step, log=log):
            return IntDistribution(low, high, log=log, step=step)
        case FloatRange(low=low, high=high, log=log):
            return FloatDistribution(low, high, log=log)
        case Choice(values=values):
            return CategoricalDistribution(tuple(map(format_value, values)))
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")


def optuna_value(domain: Domain, value: Any) -> Any:
    """Return a value as Optuna represents it; values of a choice are text."""
    return format_value(domain.check(value)) if isinstance(domain, Choice) else value


def suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """Return the value that Optuna proposes for a domain."""
    match domain:
        case IntRange(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatRange(low=low, high=high, log=log):
            return round_float(trial.suggest_float(name, low, high, log=log), domain)
        case Choice(values=values):
            by_text = {format_value(value): value for value in values}
            return by_text[trial.suggest_categorical(name, tuple(by_text))]
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")
