"""What a sweep tries: candidates made of what families of networks and the recipe leave free."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.counting import TooSmallError
from keras_cnns.networks.family import Family
from keras_cnns.networks.recipe import SEARCH as RECIPE_SEARCH
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import tally_network
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, Settings
from tuning.candidates.limits import NO_LIMITS, Limits, Rejected
from tuning.candidates.ranges import RECIPE, Base, Choices, find_bases, is_fixed, read_choices

MOST_REJECTED = 10_000
TRIED_OF_A_FAMILY = 500
TOO_SMALL = 10.0
LARGEST_GRID = 10_000

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network and recipe that a sweep tries.

    Attributes:
        model: The variant that the network starts from.
        settings: All its settings.
        recipe: How it is trained.
    """

    model: str
    settings: Settings
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Branch:
    """The part of a space in which the networks are of one family.

    Attributes:
        model: The variant that its candidates start from.
        family: Its family.
        settings: The variant's settings.
        fixed: What the user fixed of them, which need not fit the others before all are chosen.
        domains: What is searched of them.
    """

    model: str
    family: Family
    settings: Settings
    fixed: Mapping[str, Any]
    domains: Mapping[str, Domain]


@dataclass(frozen=True, kw_only=True)
class Space:
    """All that a sweep may try.

    A candidate is given by its values: "model", and by name those settings of its family and parts of the recipe that
    are searched; names of settings and of the recipe do not overlap.

    Attributes:
        name: What the sweep is over: a family, a variant or "all".
        branches: By variant, what is searched of its family.
        recipe: The recipe, with what the user fixed.
        domains: What is searched of it.
        image_shape: Height, width and channels of the images.
        classes: How many classes they have.
        limits: What candidates may cost.
        notes: What a user should know of it.
    """

    name: str
    branches: Mapping[str, Branch]
    recipe: Recipe
    domains: Mapping[str, Domain]
    image_shape: tuple[int, int, int]
    classes: int
    limits: Limits = NO_LIMITS
    notes: tuple[str, ...] = ()

    @property
    def families(self) -> list[str]:
        """The names of the families, in the order of the branches."""
        return [branch.family.name for branch in self.branches.values()]

    def searched(self) -> dict[str, Domain]:
        """Return what is searched, by name; with several families, names of settings begin with the family's."""
        several = len(self.branches) > 1
        return {
            **{
                f"{branch.family.name}.{name}" if several else name: domain
                for branch in self.branches.values()
                for name, domain in branch.domains.items()
            },
            **self.domains,
        }

    def domains_of(self, model: str) -> dict[str, Domain]:
        """Return what is searched for candidates that start from a variant."""
        return {**self.branches[model].domains, **self.domains}

    def draw_values(self, source: random.Random) -> dict[str, Any]:
        """Draw the values of one candidate, which need not fit each other."""
        models = list(self.branches)
        model = source.choice(models) if len(models) > 1 else models[0]
        return {"model": model, **{name: draw(domain, source) for name, domain in self.domains_of(model).items()}}

    def draw(self, count: int, seed: int) -> list[Candidate]:
        """Draw different candidates that can all be built for these images, within the limits.

        The same seed gives the same candidates, and a larger count begins with those of a smaller one.

        Raises:
            SettingError: The space does not hold so many.
        """
        return [candidate for _, candidate in itertools.islice(self.shuffled(seed), count)]

    def shuffled(self, seed: int) -> Iterator[tuple[Values, Candidate]]:
        """Yield different candidates that can be built and are within the limits, drawn at random.

        Raises:
            SettingError: No more are found.
        """
        source = random.Random(seed)  # noqa: S311
        found: set[Candidate] = set()
        rejected = Rejected()
        while rejected.count <= MOST_REJECTED:
            values = self.draw_values(source)
            candidate = self.candidate(values, rejected)
            if candidate is None or candidate in found or self.excess(candidate, rejected) > 0:
                rejected.count += 1
            else:
                found.add(candidate)
                yield values, candidate
        raise SettingError(rejected.explain(self.name, self.limits, self.image_shape, len(found)))

    def grid(self) -> list[tuple[Values, Candidate]]:
        """Return every candidate that can be built and is within the limits.

        Raises:
            SettingError: A range of numbers has no end of values, or there are too many candidates.
        """
        named = {name: values_of(name, domain) for name, domain in self.searched().items()}
        points = sum(
            math.prod(len(values_of(name, domain)) for name, domain in self.domains_of(model).items())
            for model in self.branches
        )
        if points > LARGEST_GRID:
            widest = max(named, key=lambda name: len(named[name]))
            raise SettingError(
                f"the grid has {points:,} points, and {LARGEST_GRID:,} are the most; fix some settings, such as "
                f"{widest}, or name fewer values."
            )
        found: dict[Candidate, Values] = {}
        rejected = Rejected()
        for model in self.branches:
            domains = self.domains_of(model)
            for combination in itertools.product(*(values_of(name, domain) for name, domain in domains.items())):
                values = {"model": model, **dict(zip(domains, combination, strict=True))}
                candidate = self.candidate(values, rejected)
                if candidate is not None and candidate not in found and not self.excess(candidate, rejected):
                    found[candidate] = values
        if not found:
            raise SettingError(rejected.explain(self.name, self.limits, self.image_shape, 0))
        return [(values, candidate) for candidate, values in found.items()]

    def excess(self, candidate: Candidate, seen: Rejected | None = None) -> float:
        """Return by how much a candidate is above the limits or too large for the images; 0 where it can be trained."""
        try:
            costs = self.costs(candidate)
        except TooSmallError:
            if seen is not None:
                seen.too_small = True
            return TOO_SMALL
        if seen is not None:
            seen.see(self.limits, costs)
        return self.limits.excess(costs)

    def costs(self, candidate: Candidate) -> dict[str, int]:
        """Return what a candidate costs, by name.

        Raises:
            TooSmallError: The images are too small for it.
        """
        family = self.branches[candidate.model].family
        return tally_network(family, candidate.settings, self.image_shape, self.classes).counts().as_metrics()

    def candidate(self, values: Values, seen: Rejected | None = None) -> Candidate | None:
        """Return the candidate with these values, or None where they do not fit each other."""
        branch = self.branches[values["model"]]
        try:
            settings = branch.settings.replace({**branch.fixed, **{name: values[name] for name in branch.domains}})
        except SettingError as error:
            if seen is not None:
                seen.conflict = str(error)
            return None
        recipe = self.recipe.replace({name: values[name] for name in self.domains})
        return Candidate(model=branch.model, settings=settings, recipe=recipe)


def values_of(name: str, domain: Domain) -> tuple[Any, ...]:
    """Return all values of a domain that has an end of them."""
    match domain:
        case Choice(values=values):
            return values
        case IntRange(low=low, high=high, step=step):
            return tuple(range(low, high + 1, step))
        case _:
            raise SettingError(
                f"a grid needs values, and {name} is {domain}: name some, as in --set {name}=a,b,c (space), or fix it."
            )


def draw(domain: Domain, source: random.Random) -> Any:
    """Draw one value of a domain."""
    match domain:
        case Choice(values=values):
            return source.choice(values)
        case IntRange(low=low, high=high, step=step, log=False):
            return source.randrange(low, high + 1, step)
        case IntRange(low=low, high=high):
            return round(math.exp(source.uniform(math.log(low), math.log(high))))
        case FloatRange(low=low, high=high, log=log):
            return rounded(
                math.exp(source.uniform(math.log(low), math.log(high))) if log else source.uniform(low, high), domain
            )
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")


def rounded(value: float, domain: FloatRange) -> float:
    """Return a number of a range to three digits, so that what is written of it is all of it."""
    return min(domain.high, max(domain.low, float(f"{value:.3g}")))


def fix_recipe(recipe: Recipe, choices: Choices) -> Recipe:
    """Return the recipe with what was fixed."""
    return recipe.replace(fixed_values(choices.get(RECIPE, {})))


def fixed_values(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """Return the values of what has only one."""
    return {
        name: domain.values[0] for name, domain in domains.items() if isinstance(domain, Choice) and is_fixed(domain)
    }


def searched_domains(usual: Mapping[str, Domain], chosen: Mapping[str, Domain]) -> dict[str, Domain]:
    """Return what is searched: the usual, but where something was chosen that."""
    return {name: domain for name, domain in {**usual, **chosen}.items() if not is_fixed(domain)}


def make_space(
    name: str,
    *,
    recipe: Recipe,
    fixed: Mapping[str, object] | None = None,
    space: Mapping[str, object] | None = None,
    image_shape: tuple[int, int, int],
    classes: int = 1,
    limits: Limits = NO_LIMITS,
) -> Space:
    """Return what a sweep may try.

    Args:
        name: A family, whose space starts from the variant it names; another variant to start from; or "all", where
            the family is searched too.
        recipe: The recipe that candidates start from.
        fixed: Settings and parts of the recipe that all candidates share.
        space: What others may be, as `tuning.sweep` takes it.
        image_shape: Height, width and channels of the images.
        classes: How many classes they have.
        limits: What candidates may cost.

    Raises:
        ModelNameError: There is no such family or variant.
        SettingError: A name is unknown or given twice, a value not legal, or nothing fits the images and limits.
    """
    bases = find_bases(name)
    twice = set(fixed or {}) & set(space or {})
    if twice:
        raise SettingError(f"{', '.join(sorted(twice))}: give it in fixed or in space, not in both.")
    choices = read_choices(
        bases, {**{name: Choice((value,)) for name, value in (fixed or {}).items()}, **(space or {})}
    )
    made = Space(
        name=name,
        branches={model: make_branch((model, family, variant), choices) for model, family, variant in bases},
        recipe=fix_recipe(recipe, choices),
        domains=searched_domains(RECIPE_SEARCH, choices.get(RECIPE, {})),
        image_shape=image_shape,
        classes=classes,
        limits=limits,
    )
    return leave_out(made) if len(bases) > 1 else made


def make_branch(base: Base, choices: Choices) -> Branch:
    """Return what is searched of one family."""
    model, family, variant = base
    chosen = choices.get(family.name, {})
    return Branch(
        model=model,
        family=family,
        settings=variant.settings,
        fixed=fixed_values(chosen),
        domains=searched_domains(family.search.domains, chosen),
    )


def leave_out(space: Space) -> Space:
    """Return a space over several families without those of which nothing fits the images and limits."""
    reasons = {model: nothing_fits(space, branch) for model, branch in space.branches.items()}
    told = {space.branches[model].family.name: reason for model, reason in reasons.items() if reason}
    kept = {model: branch for model, branch in space.branches.items() if not reasons[model]}
    if not kept:
        raise SettingError(f"no family fits: {'; '.join(f'{family}: {why}' for family, why in told.items())}.")
    return replace(space, branches=kept, notes=tuple(f"{family} is left out: {why}." for family, why in told.items()))


def nothing_fits(space: Space, branch: Branch) -> str:
    """Say why nothing of a family fits, or return "" where something does."""
    alone = replace(space, branches={branch.model: branch})
    source = random.Random(0)  # noqa: S311
    rejected = Rejected()
    for _ in range(TRIED_OF_A_FAMILY):
        candidate = alone.candidate(alone.draw_values(source), rejected)
        if candidate is not None and not alone.excess(candidate, rejected):
            return ""
    return rejected.brief(space.limits, space.image_shape)
