"""Which candidate comes next: drawn at random, from a grid, or where those before did best.

A sampler is asked for one candidate after another and shown all trials so far. What it knows it has from them alone,
so that a sweep that goes on after a kill, its trials read from the journal, is advised as well as before.
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
from optuna.trial import TrialState as Told

from keras_cnns.errors import SettingError
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, format_value
from keras_cnns.training.checkpoints import kept_score
from tuning.candidates.space import Candidate, Space, Values, rounded
from tuning.running.journal import FAILED, STOPPED, TrialState

STARTUP = 10
MOST_ASKED = 50
FAILURE = 100.0  # what a failed trial is above all limits
SEARCHES = ("random", "grid", "tpe")

States = Mapping[int, TrialState]


class Sampler(Protocol):
    """Advises on the next candidate."""

    def propose(self, states: States) -> Values:
        """Return the values of a candidate that is none of the trials so far and can be trained."""


def make_sampler(search: str, space: Space, *, seed: int, cost: str | None = None) -> Sampler:
    """Return the sampler of this name.

    Args:
        search: "random", "grid" or "tpe".
        space: What may be tried.
        seed: Of all that is drawn.
        cost: The cost that is to be low where the score is high, if any.
    """
    if search == "grid":
        points = space.grid()
        random.Random(seed).shuffle(points)  # noqa: S311 - so that some of the points are spread over all
        return InOrder(iter(points), space)
    if search == "tpe":
        return Guided(space, seed=seed, cost=cost)
    return InOrder(space.shuffled(seed), space)


class InOrder:
    """Proposes candidates in an order that trials do not change.

    Args:
        order: The candidates with their values, all different.
        space: Where they are from.
    """

    def __init__(self, order: Iterator[tuple[Values, Candidate]], space: Space) -> None:
        self.order = order
        self.space = space
        self.known: dict[int, Candidate | None] = {}

    def propose(self, states: States) -> Values:
        """Return the next that is not among the trials."""
        taken = self.taken(states)
        return next(values for values, candidate in self.order if candidate not in taken)

    def taken(self, states: States) -> set[Candidate | None]:
        """Return the candidates of the trials so far."""
        new = {number: self.space.candidate(states[number].candidate) for number in states.keys() - self.known.keys()}
        self.known.update(new)
        return set(self.known.values())


class Guided:
    """Proposes candidates like the better ones so far: Optuna's tree-structured Parzen estimator.

    After Bergstra et al. 2011. The first ten trials are drawn at random. Trials that run count as poor ones, so that
    others keep away from them; trials stopped early by how far they came and what they had; failed ones as worse than
    all others. What is proposed above the limits is not trained: Optuna is told by how much it is above, no more often
    than there are trials, so that this never outweighs what was measured.

    Args:
        space: What may be tried.
        seed: Of all that is drawn.
        cost: The cost to be low at the same time, if any: "parameters" or "macs".
    """

    def __init__(self, space: Space, *, seed: int, cost: str | None = None) -> None:
        self.space = space
        self.seed = seed
        self.cost = cost
        self.random = InOrder(space.shuffled(seed), space)
        self.study: optuna.Study | None = None
        self.running: dict[int, int] = {}
        self.told: set[int] = set()
        self.rejected = 0

    def propose(self, states: States) -> Values:
        """Ask until a candidate is new and can be trained; after many that are not, draw one."""
        if sum(state.ended for state in states.values()) < STARTUP:
            return self.random.propose(states)
        study = self.learn(states)
        taken = self.random.taken(states)
        for _ in range(MOST_ASKED):
            trial = study.ask()
            values = self.suggested(trial)
            candidate = self.space.candidate(values)
            excess = self.space.excess(candidate) if candidate is not None else 0.0
            if excess and self.rejected < len(states):
                self.rejected += 1
                trial.set_constraint("limits", excess)
                study.tell(trial, state=Told.PRUNED)
            else:
                study.tell(trial, state=Told.FAIL)  # forgotten: as a trial it is added with the values that it has
            if candidate is not None and candidate not in taken and not excess:
                return values
        return self.random.propose(states)

    def learn(self, states: States) -> optuna.Study:
        """Tell Optuna what has happened since it was last asked."""
        study = self.study = self.study or self.make_study(len(states))
        for number, state in states.items():
            if state.ended and number not in self.told:
                self.told.add(number)
                study.add_trial(self.outcome(state))
                if number in self.running:  # forgotten: what came of it has been added
                    study.tell(self.running.pop(number), state=Told.FAIL)
            elif not state.ended and number not in self.running:
                self.running[number] = len(study.get_trials(deepcopy=False))
                study.add_trial(self.record(state.candidate, state=Told.RUNNING))
        return study

    def outcome(self, state: TrialState) -> FrozenTrial:
        """Return what Optuna is told of a trial that has ended."""
        recipe = self.space.recipe
        if state.status == FAILED:
            return self.record(state.candidate, state=Told.PRUNED, constraints={"failed": FAILURE})
        score = kept_score(state.curve, recipe)
        if self.cost:
            return self.record(state.candidate, values=[score, math.log10(state.costs[self.cost])])
        if state.status == STOPPED:
            reached = {len(state.curve): score}
            return self.record(state.candidate, state=Told.PRUNED, intermediate_values=reached)
        return self.record(state.candidate, value=score)

    def make_study(self, known: int) -> optuna.Study:
        """Return an empty study; that after a kill, with `known` trials, draws other numbers than the one before it."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=0,
                multivariate=True,
                group=len(self.space.branches) > 1,
                seed=(self.seed + known) % 2**32,
            )
        directions: list[Any] = ["maximize", "minimize"] if self.cost else ["maximize"]
        return optuna.create_study(sampler=sampler, directions=directions)

    def domains(self, model: str) -> dict[str, tuple[str, Domain]]:
        """Return the domain of each value of a candidate, with the name that Optuna knows it by: families differ."""
        branch = self.space.branches[model]
        return {
            **{name: (f"{branch.family.name}.{name}", domain) for name, domain in branch.domains.items()},
            **{name: (name, domain) for name, domain in self.space.domains.items()},
        }

    def models(self) -> dict[str, tuple[str, Domain]]:
        """Return the choice of what candidates start from, where there is one."""
        models = tuple(self.space.branches)
        return {"model": ("model", Choice(models))} if len(models) > 1 else {}

    def suggested(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the values that Optuna proposes."""
        values: dict[str, Any] = {"model": next(iter(self.space.branches))}
        for name, (known, domain) in self.models().items():
            values[name] = suggest(trial, known, domain)
        for name, (known, domain) in self.domains(values["model"]).items():
            values[name] = suggest(trial, known, domain)
        return values

    def record(self, candidate: Values, **known: Any) -> FrozenTrial:
        """Return a candidate as a trial of Optuna's, with what else is known of it."""
        domains = {**self.models(), **self.domains(candidate["model"])}
        return optuna.trial.create_trial(
            params={known_as: written(domain, candidate[name]) for name, (known_as, domain) in domains.items()},
            distributions={known_as: distribution(domain) for known_as, domain in domains.values()},
            **known,
        )


def distribution(domain: Domain) -> BaseDistribution:
    """Return a domain as Optuna knows it."""
    match domain:
        case IntRange(low=low, high=high, step=step, log=log):
            return IntDistribution(low, high, log=log, step=step)
        case FloatRange(low=low, high=high, log=log):
            return FloatDistribution(low, high, log=log)
        case Choice(values=values):
            return CategoricalDistribution(tuple(map(format_value, values)))
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")


def written(domain: Domain, value: Any) -> Any:
    """Return a value as Optuna knows it: of a choice, how it is written."""
    return format_value(domain.check(value)) if isinstance(domain, Choice) else value


def suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """Return the value that Optuna proposes for a domain."""
    match domain:
        case IntRange(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatRange(low=low, high=high, log=log):
            return rounded(trial.suggest_float(name, low, high, log=log), domain)
        case Choice(values=values):
            by_text = {format_value(value): value for value in values}
            return by_text[trial.suggest_categorical(name, tuple(by_text))]
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")
