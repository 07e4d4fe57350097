"""Scored trials by their hyperparameters: the data behind hyperparameter importance and the plots of settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, format_value

ALL_FAMILIES = "all families"
FAMILY = "family"


@dataclass(frozen=True, kw_only=True)
class ScoredTrial:
    """A trial with a score.

    Attributes:
        number: Its number in the sweep.
        name: Its name in plots.
        family: The family of its network.
        values: The value of each hyperparameter; that of a choice as text.
        score: The score of the epoch whose network was kept.
        projected_score: The score; for trials that were stopped early, plus the median gain of finished trials after
            the same number of epochs, so that trials of different lengths can be compared.
        stopped: Whether the scheduler stopped it early.
    """

    number: int
    name: str
    family: str
    values: Mapping[str, Any]
    score: float
    projected_score: float
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class TrialGroup:
    """Trials with the same hyperparameters.

    Attributes:
        name: Their family, or "all families".
        domains: The domain of each hyperparameter.
        own_settings: The hyperparameters that no other group has.
        trials: The trials.
    """

    name: str
    domains: Mapping[str, Domain]
    own_settings: tuple[str, ...]
    trials: tuple[ScoredTrial, ...]


def options(domain: Domain) -> tuple[str, ...]:
    """Return the values of a choice as text; an empty tuple for a range."""
    return tuple(map(format_value, domain.values)) if isinstance(domain, Choice) else ()


def axis_position(domain: Domain, value: Any) -> float:
    """Return the position of a value on an axis: its index in a choice, else the number or its logarithm to base 10."""
    if isinstance(domain, Choice):
        return float(options(domain).index(value))
    return math.log10(value) if isinstance(domain, IntRange | FloatRange) and domain.log else float(value)


def axis_limits(domain: Domain) -> tuple[float, float]:
    """Return the positions of the lowest and the highest value of a domain."""
    match domain:
        case IntRange(low=low, high=high) | FloatRange(low=low, high=high):
            return axis_position(domain, low), axis_position(domain, high)
        case _:
            return 0.0, float(max(1, len(options(domain)) - 1))
