"""The trials of a sweep as groups of scored trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from keras_cnns.comparing.scored_trials import ALL_FAMILIES, FAMILY, ScoredTrial, TrialGroup
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import Choice, Domain, format_value
from keras_cnns.training.checkpoints import selected_score
from tuning.candidates.space import Space
from tuning.running.journal import FAILED, FINISHED, STOPPED, TrialState


def score_trials(states: Mapping[int, TrialState], space: Space) -> list[ScoredTrial]:
    """Return the trials that ended with a finite score, by number."""
    found = []
    finished = [state.curve for state in states.values() if state.status == FINISHED]
    for number, state in sorted(states.items()):
        score = selected_score(state.curve, space.recipe)
        if state.ended and state.status != FAILED and math.isfinite(score):
            model = state.candidate["model"]
            family, stopped = space.branches[model].family.name, state.status == STOPPED
            values = {
                name: format_value(state.candidate[name]) if isinstance(domain, Choice) else state.candidate[name]
                for name, domain in space.domains_of(model).items()
            }
            trial = ScoredTrial(
                number=number,
                name=f"trial {number}",
                family=family,
                values={FAMILY: family, **values},
                score=score,
                projected_score=score + (median_gain(finished, len(state.curve), space.recipe) if stopped else 0.0),
                stopped=stopped,
            )
            found.append(trial)
    return found


def median_gain(curves: Sequence[Sequence[Mapping[str, float]]], epochs: int, recipe: Recipe) -> float:
    """Return the median of what finished trials gained after a number of epochs; 0 if no trial finished."""
    gains = [selected_score(curve, recipe) - selected_score(curve[:epochs], recipe) for curve in curves]
    return statistics.median([gain for gain in gains if math.isfinite(gain)] or [0.0])


def group_trials(space: Space, trials: Sequence[ScoredTrial]) -> list[TrialGroup]:
    """Group trials by family; with several families, the first group has all trials.

    The hyperparameters of the group of all trials are those that the families share: the family and the recipe.
    """
    families = {branch.family.name: model for model, branch in space.branches.items()}
    groups, shared = [], dict[str, Domain]()
    if len(families) > 1:
        shared = {FAMILY: Choice(tuple(families)), **space.domains}
        groups = [TrialGroup(name=ALL_FAMILIES, domains=shared, own_settings=tuple(shared), trials=tuple(trials))]
    for family, model in families.items():
        domains = space.domains_of(model)
        own_settings = tuple(name for name in domains if name not in shared)
        members = tuple(trial for trial in trials if trial.family == family)
        groups.append(TrialGroup(name=family, domains=domains, own_settings=own_settings, trials=members))
    return [group for group in groups if group.trials and group.domains]
