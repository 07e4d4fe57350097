"""A sweep's trials as the comparison weighs them: by the settings that were searched."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from keras_cnns.comparing.scored import ALL_FAMILIES, FAMILY, Group, Scored, as_written
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import Choice, Domain
from keras_cnns.training.checkpoints import kept_score
from tuning.candidates.space import Space
from tuning.running.journal import FAILED, FINISHED, STOPPED, TrialState


def find_scored(states: Mapping[int, TrialState], space: Space) -> list[Scored]:
    """Return the trials that ended with a score that is a number, in their order."""
    found = []
    finished = [state.curve for state in states.values() if state.status == FINISHED]
    for number, state in sorted(states.items()):
        score = kept_score(state.curve, space.recipe)
        if state.ended and state.status != FAILED and math.isfinite(score):
            model = state.candidate["model"]
            family, stopped = space.branches[model].family.name, state.status == STOPPED
            domains = space.domains_of(model)
            values = {name: as_written(domain, state.candidate[name]) for name, domain in domains.items()}
            found.append(
                Scored(
                    number=number,
                    name=f"trial {number}",
                    family=family,
                    values={FAMILY: family, **values},
                    score=score,
                    expected=score + (later_gain(finished, len(state.curve), space.recipe) if stopped else 0.0),
                    stopped=stopped,
                )
            )
    return found


def later_gain(finished: Sequence[Sequence[Mapping[str, float]]], epochs: int, recipe: Recipe) -> float:
    """Return what finished trials gained after so many epochs, the median; 0 where none finished."""
    gains = [kept_score(curve, recipe) - kept_score(curve[:epochs], recipe) for curve in finished]
    return statistics.median([gain for gain in gains if math.isfinite(gain)] or [0.0])


def group_trials(space: Space, scored: list[Scored]) -> list[Group]:
    """Return the trials that can be weighed against each other: of several families, all, and then each family's.

    All families together have what they share: the family itself, and the recipe.
    """
    families = {branch.family.name: model for model, branch in space.branches.items()}
    several = len(families) > 1
    shared: dict[str, Domain] = {FAMILY: Choice(tuple(families)), **space.domains} if several else {}
    groups = [Group(name=ALL_FAMILIES, domains=shared, own=tuple(shared), trials=tuple(scored))] if several else []
    for family, model in families.items():
        domains = space.domains_of(model)
        own = tuple(name for name in domains if name not in shared)
        trials = tuple(trial for trial in scored if trial.family == family)
        groups.append(Group(name=family, domains=domains, own=own, trials=trials))
    return [group for group in groups if group.trials and group.domains]
