"""What candidates may cost, and why those that are not tried are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from keras_cnns.units import human


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a candidate may cost at most, counted from its settings before anything is built.

    Attributes:
        parameters: Weights, all of them.
        macs: Multiply-accumulates for one image.
    """

    parameters: int | None = None
    macs: int | None = None

    def pairs(self, costs: Mapping[str, float]) -> list[tuple[str, float, float]]:
        """Return each limit with its name and what a network costs."""
        return [(name, costs[name], limit) for name, limit in vars(self).items() if limit is not None]

    def excess(self, costs: Mapping[str, float]) -> float:
        """Return by how much a network is above them, in logarithms; 0 where it is not."""
        return sum(max(0.0, math.log(cost / limit)) for _, cost, limit in self.pairs(costs) if cost)


NO_LIMITS = Limits()


@dataclass
class Rejected:
    """What was rejected while candidates were drawn.

    Attributes:
        count: How many.
        conflict: How values of the last one whose values did not fit each other did not.
        too_small: The images were too small for one.
        smallest: The lowest cost that was seen, by the name of its limit.
    """

    count: int = 0
    conflict: str = ""
    too_small: bool = False
    smallest: dict[str, float] = field(default_factory=dict)

    def see(self, limits: Limits, costs: Mapping[str, float]) -> None:
        """Take in what a candidate costs."""
        for name, cost, _ in limits.pairs(costs):
            self.smallest[name] = min(cost, self.smallest.get(name, cost))

    def above(self, limits: Limits) -> list[tuple[str, str, str]]:
        """Return the limits that all were above: name, lowest cost seen, and limit."""
        return [
            (name, human(cost), human(vars(limits)[name]))
            for name, cost in self.smallest.items()
            if cost > vars(limits)[name]
        ]

    def only_conflict(self) -> bool:
        """Return whether none got so far that images and limits mattered."""
        return bool(self.conflict) and not (self.too_small or self.smallest)

    def explain(self, name: str, limits: Limits, image_shape: tuple[int, int, int], found: int) -> str:
        """Say why no more than `found` candidates of what is searched could be made."""
        above = [
            f"the smallest seen has {cost} {kind} and --max-{kind} (max_{kind}) is {limit}"
            for kind, cost, limit in self.above(limits)
        ]
        if above and not found:
            return f"no candidate of {name} is small enough: {'; '.join(above)}; allow more, or search smaller ones."
        if self.only_conflict() and not found:
            return f"no candidate of {name} can be made: {self.conflict}"
        within = " within the limits" if self.smallest else ""
        return (
            f"only {found} different candidates of {name} can be made{within} for images of {image_shape[0]}x"
            f"{image_shape[1]} pixels and these fixed settings; ask for fewer trials, fix less, or enlarge the images "
            f"with --image-size (image_size)."
        )

    def brief(self, limits: Limits, image_shape: tuple[int, int, int]) -> str:
        """Say in few words why none could be made."""
        if self.only_conflict():
            return self.conflict.rstrip(".")
        above = [f"{cost} {kind} where {limit} are allowed" for kind, cost, limit in self.above(limits)]
        if self.smallest:
            return f"the smallest has {' and '.join(above) or 'more of one thing or the other than is allowed'}"
        return f"images of {image_shape[0]}x{image_shape[1]} pixels are too small for it"
