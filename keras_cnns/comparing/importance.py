"""How much each searched setting matters for the score: functional analysis of variance (fANOVA).

After Hutter, Hoos, Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance", as Optuna has
it: a forest of regression trees learns the score from the settings, and each setting's importance is the share of the
forest's variance over the space that it explains alone. What is left is what settings do together.

A forest always finds something. How well it predicts trials that its trees have not seen (the out-of-bag R²: 1 all,
0 no better than the mean) says whether what it found is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from keras_cnns.comparing.scored import Group, Scored, ends, options, place
from keras_cnns.networks.settings import Choice, Domain

FEWEST_TRIALS = 10
FEW_TRIALS = 20
LITTLE = 0.2
TREES = 64


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each setting of a group of trials matters.

    Attributes:
        name: The trials' family, or "all families".
        trials: How many trials there were to learn from.
        stopped: How many of them were stopped early; they count with what they had by then and what those that
            finished gained later.
        shares: By setting, the share of the score's variance over the space that it explains alone, the largest first;
            empty where nothing can be said.
        together: The share that only several settings together explain.
        r2: Out-of-bag R² of the forest; None where there is none.
        reason: Why nothing can be said, if so.
    """

    name: str
    trials: int
    stopped: int
    shares: Mapping[str, float]
    together: float = 0.0
    r2: float | None = None
    reason: str = ""

    @property
    def tells_little(self) -> bool:
        """The trials do not show what matters: there are too few, or the settings do not predict their scores."""
        return self.r2 is None or self.r2 < LITTLE

    def verdict(self) -> str:
        """Say in a sentence how far this can be trusted."""
        if self.r2 is None or self.reason:
            return f"{self.reason}."
        early = f", {self.stopped} stopped early" if self.stopped else ""
        fit = f"{self.trials} trials{early}, R² {self.r2:.2f}"
        if self.tells_little:
            return f"{fit}: this tells little; the settings hardly predict the score."
        return f"{fit}: a hint, from few trials." if self.trials < FEW_TRIALS else f"{fit}."

    def as_dict(self) -> dict[str, Any]:
        """Return all of it in values that JSON can hold."""
        return {
            "of": self.name,
            "trials": self.trials,
            "stopped_early": self.stopped,
            "importance": dict(self.shares),
            "together": self.together,
            "r2": self.r2,
            "tells_little": self.tells_little,
            "verdict": self.verdict(),
        }


def weigh_settings(group: Group) -> Importance:
    """Return how much each searched setting matters for the score of a group's trials.

    A setting that all of these trials share in value explains nothing. The result is the same each time.
    """
    known: dict[str, Any] = {
        "name": group.name,
        "trials": len(group.trials),
        "stopped": sum(trial.stopped for trial in group.trials),
    }
    if len(group.trials) < FEWEST_TRIALS:
        count = f"{len(group.trials)} {'trial' if len(group.trials) == 1 else 'trials'} with a score"
        return Importance(**known, shares={}, reason=f"{count}: too few to say what matters, which takes many more")
    if len({trial.expected for trial in group.trials}) == 1:
        return Importance(**known, shares={}, reason=f"all {len(group.trials)} trials scored the same")
    r2 = out_of_bag_r2(group)
    if r2 <= 0:
        nothing = f"{len(group.trials)} trials, R² not above 0: the settings do not predict the score"
        return Importance(**known, shares={}, r2=r2, reason=nothing)
    shares = analyse_variance(group)
    return Importance(**known, shares=shares, together=max(0.0, 1.0 - sum(shares.values())), r2=r2)


def analyse_variance(group: Group) -> dict[str, float]:
    """Return the share of the forest's variance that each setting explains alone, the largest first."""
    distributions = {name: distribution(domain) for name, domain in group.domains.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=parameters(group.domains, trial), distributions=distributions, value=trial.expected
                )
                for trial in group.trials
            ]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # not to be normalised
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0), normalize=False
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(share) for name, share in found.items()}


def distribution(domain: Domain) -> BaseDistribution:
    """Return a domain as the forest sees it: ranges in the scale in which they are searched."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(options(domain))
    return FloatDistribution(*ends(domain))


def parameters(domains: Mapping[str, Domain], trial: Scored) -> dict[str, Any]:
    """Return a trial's values as the forest sees them."""
    return {
        name: trial.values[name] if isinstance(domain, Choice) else place(domain, trial.values[name])
        for name, domain in domains.items()
    }


def out_of_bag_r2(group: Group) -> float:
    """Return how well a forest like that of the analysis predicts trials that its trees have not seen."""
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 - takes a second, and a sweep needs it last

    inputs = [
        [number for name, domain in group.domains.items() for number in columns(domain, trial.values[name])]
        for trial in group.trials
    ]
    forest = RandomForestRegressor(n_estimators=TREES, oob_score=True, random_state=0)
    forest.fit(inputs, [trial.expected for trial in group.trials])
    return float(forest.oob_score_)


def columns(domain: Domain, value: Any) -> list[float]:
    """Return a value as numbers: of a choice one for each option, of a range its place."""
    return [float(option == value) for option in options(domain)] or [place(domain, value)]
