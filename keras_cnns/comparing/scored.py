"""What a sweep's trials scored, by the settings that were searched: a family at a time, and what families share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, format_value

ALL_FAMILIES = "all families"
FAMILY = "family"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A trial that ended with a score.

    Attributes:
        number: Its number in the sweep.
        name: What it is called.
        family: The family of its network.
        values: What it had of all that is searched; choices as they are written.
        score: Of the epoch whose network is kept.
        expected: The same; of a trial that was stopped early, with what trials that finished gained after as many
            epochs, the median, so that trials of different length can be weighed against each other.
        stopped: The scheduler stopped it early, so that the score is only what it had by then.
    """

    number: int
    name: str
    family: str
    values: Mapping[str, Any]
    score: float
    expected: float
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials that have the same settings.

    Attributes:
        name: Their family, or "all families".
        domains: What is searched of them, by name.
        own: The names that no other group has.
        trials: The trials.
    """

    name: str
    domains: Mapping[str, Domain]
    own: tuple[str, ...]
    trials: tuple[Scored, ...]

    @property
    def low(self) -> float:
        """The lowest score."""
        return min(trial.score for trial in self.trials)

    @property
    def high(self) -> float:
        """The highest score."""
        return max(trial.score for trial in self.trials)


def as_written(domain: Domain, value: Any) -> Any:
    """Return a value as text where it is one of a choice, and a number as it is."""
    return format_value(value) if isinstance(domain, Choice) else value


def is_logarithmic(domain: Domain) -> bool:
    """Return whether a range is searched in the logarithm."""
    return isinstance(domain, IntRange | FloatRange) and domain.log


def options(domain: Domain) -> tuple[str, ...]:
    """Return the values of a choice as they are written; nothing of a range."""
    return tuple(map(format_value, domain.values)) if isinstance(domain, Choice) else ()


def place(domain: Domain, value: Any) -> float:
    """Return where a value stands on an axis: a number, its logarithm where the range is searched so, or its index."""
    if isinstance(domain, Choice):
        return float(options(domain).index(value))
    return math.log10(value) if is_logarithmic(domain) else float(value)


def ends(domain: Domain) -> tuple[float, float]:
    """Return the places of the lowest and the highest value."""
    match domain:
        case IntRange(low=low, high=high) | FloatRange(low=low, high=high):
            return place(domain, low), place(domain, high)
        case _:
            return 0.0, float(max(1, len(options(domain)) - 1))
