"""Hyperparameter importance by functional analysis of variance (fANOVA).

Hutter, Hoos, Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance", as implemented in
Optuna: a random forest predicts the score from the hyperparameters. The importance of a hyperparameter is the share of
the variance of the forest's predictions over the search space that it explains alone. Interactions explain the rest.

A forest fits noise, too. The out-of-bag R² shows how well it predicts trials that its trees were not fitted to: 1 is a
perfect prediction, 0 is no better than the mean score.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from keras_cnns.comparing.formatting import format_count
from keras_cnns.comparing.scored_trials import TrialGroup, axis_limits, axis_position, options
from keras_cnns.networks.settings import Choice, Domain

MIN_TRIALS = 10
FEW_TRIALS = 20
MIN_R2 = 0.2
TREES = 64


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The importance of the hyperparameters of a group of trials.

    Attributes:
        name: The name of the group: a family, or "all families".
        trials: The number of trials with a score.
        stopped: The number of these that were stopped early; they count with their projected score.
        shares: By hyperparameter, the share of the variance of the score that it explains alone, in descending order;
            empty if it cannot be estimated.
        interactions: The share that only interactions of hyperparameters explain.
        r2: The out-of-bag R² of the forest; None if no forest was fitted.
        reason: Why the importance cannot be estimated; "" if it can.
    """

    name: str
    trials: int
    stopped: int
    shares: Mapping[str, float]
    interactions: float = 0.0
    r2: float | None = None
    reason: str = ""

    @property
    def inconclusive(self) -> bool:
        """Whether there are too few trials, or their hyperparameters hardly predict the score."""
        return self.r2 is None or self.r2 < MIN_R2

    def summary(self) -> str:
        """Return a sentence with the number of trials, the R² and how reliable the importance is."""
        if self.r2 is None or self.reason:
            return f"{self.reason}."
        early = f", {self.stopped} stopped early" if self.stopped else ""
        fit = f"{self.trials} trials{early}, R² {self.r2:.2f}"
        if self.inconclusive:
            return f"{fit}: inconclusive; the hyperparameters hardly predict the score."
        return f"{fit}: a rough estimate from few trials." if self.trials < FEW_TRIALS else f"{fit}."

    def as_dict(self) -> dict[str, Any]:
        """Return the importance as values that can be written as JSON."""
        return {**asdict(self), "inconclusive": self.inconclusive, "summary": self.summary()}


def estimate_importance(group: TrialGroup) -> Importance:
    """Estimate the importance of each hyperparameter for the score of a group of trials.

    A hyperparameter with the same value in all trials has no importance. The result is deterministic.
    """
    trials, stopped = len(group.trials), sum(trial.stopped for trial in group.trials)
    r2, reason, shares = None, "", dict[str, float]()
    if trials < MIN_TRIALS:
        reason = f"{format_count(trials, 'trial')} with a score: too few to estimate importance (minimum {MIN_TRIALS})"
    elif len({trial.projected_score for trial in group.trials}) == 1:
        reason = f"all {trials} trials have the same score"
    elif (r2 := out_of_bag_r2(group)) <= 0:
        reason = f"{trials} trials, R² not above 0: the hyperparameters do not predict the score"
    else:
        shares = analyse_variance(group)
    interactions = max(0.0, 1.0 - sum(shares.values())) if shares else 0.0
    return Importance(
        name=group.name, trials=trials, stopped=stopped, shares=shares, interactions=interactions, r2=r2, reason=reason
    )


def analyse_variance(group: TrialGroup) -> dict[str, float]:
    """Return the share of the variance that each hyperparameter explains alone, in descending order."""
    distributions = {name: to_distribution(domain) for name, domain in group.domains.items()}
    trials = [
        optuna.trial.create_trial(
            params={
                name: trial.values[name] if isinstance(domain, Choice) else axis_position(domain, trial.values[name])
                for name, domain in group.domains.items()
            },
            distributions=distributions,
            value=trial.projected_score,
        )
        for trial in group.trials
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # normalize=False is experimental
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0), normalize=False
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(share) for name, share in found.items()}


def to_distribution(domain: Domain) -> BaseDistribution:
    """Return the Optuna distribution of a domain; a range has the scale on which it is searched."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(options(domain))
    return FloatDistribution(*axis_limits(domain))


def out_of_bag_r2(group: TrialGroup) -> float:
    """Return the out-of-bag R² of a random forest with as many trees as that of the analysis of variance."""
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 - slow to import, and only needed at the end

    inputs = [
        [number for name, domain in group.domains.items() for number in encode(domain, trial.values[name])]
        for trial in group.trials
    ]
    forest = RandomForestRegressor(n_estimators=TREES, oob_score=True, random_state=0)
    forest.fit(inputs, [trial.projected_score for trial in group.trials])
    return float(forest.oob_score_)


def encode(domain: Domain, value: Any) -> list[float]:
    """Encode a value as inputs of a forest: one-hot for a choice, its axis position for a range."""
    return [float(option == value) for option in options(domain)] or [axis_position(domain, value)]
