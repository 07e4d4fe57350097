"""The search space of a sweep: candidates that vary the settings of networks and of the recipe."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.blocks import check_fine_tuning
from keras_cnns.networks.counting import TooSmallError
from keras_cnns.networks.family import Family
from keras_cnns.networks.recipe import SEARCH as RECIPE_SEARCH
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import count_network, smallest_side
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, Settings
from keras_cnns.units import format_number
from tuning.candidates.ranges import RECIPE, Base, find_bases, fix_recipe, fixed_values, parse_space, searched

if TYPE_CHECKING:
    from keras_cnns.pretrained.starting_weights import StartingWeights

MAX_REJECTED = 10_000
MAX_GRID_POINTS = 10_000
TOO_SMALL_EXCESS = 10.0
EXAMINED = 500
EXAMINED_SIZES = 10
EXAMINED_STRUCTURES = 20

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper limits on the cost of a candidate, which is computed from its settings before anything is built.

    Attributes:
        parameters: All weights, trainable or not.
        macs: Multiply-accumulates for one image.
    """

    parameters: int | None = None
    macs: int | None = None

    def pairs(self, costs: Mapping[str, float]) -> list[tuple[str, float, float]]:
        """Return name, cost and limit for each limit that is set."""
        return [(name, costs[name], limit) for name, limit in vars(self).items() if limit is not None]

    def excess(self, costs: Mapping[str, float]) -> float:
        """Return the sum of log(cost / limit) over the exceeded limits; 0 if none is exceeded."""
        return sum(max(0.0, math.log(cost / limit)) for _, cost, limit in self.pairs(costs) if cost)


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network and a recipe that a sweep may try.

    Attributes:
        model: The variant that the network starts from.
        settings: All settings of the network.
        recipe: How the network is trained.
        weights: The weights that training begins with; None: random ones.
    """

    model: str
    settings: Settings
    recipe: Recipe
    weights: StartingWeights | None = None


@dataclass(frozen=True)
class Branch:
    """The part of a search space with networks of one family.

    Attributes:
        model: The variant that its candidates start from.
        family: The family.
        settings: Settings that its candidates start from.
        fixed: Settings that the user fixed. They may contradict `settings` as long as they fit the searched ones.
        domains: Search domain of each searched setting.
    """

    model: str
    family: Family
    settings: Settings
    fixed: Mapping[str, Any]
    domains: Mapping[str, Domain]


@dataclass(frozen=True, kw_only=True)
class Space:
    """The search space of a sweep.

    A candidate is described by its values: "model", and by name the searched settings of its family and of the recipe.
    Settings of networks never have the name of a setting of the recipe.

    Attributes:
        name: What is searched: a family, a variant or "all".
        branches: The branch of each family, by its variant.
        recipe: The recipe, including fixed settings.
        domains: Search domain of each searched setting of the recipe.
        limits: Upper limits on the costs of candidates.
        image_shape: Height, width and channels of the images.
        classes: Number of classes.
        notes: Messages for the user about families that were left out.
        weights: The weights that all candidates begin with; None: random ones.
    """

    name: str
    branches: Mapping[str, Branch]
    recipe: Recipe
    domains: Mapping[str, Domain]
    limits: Limits
    image_shape: tuple[int, int, int] = (0, 0, 0)
    classes: int = 0
    notes: tuple[str, ...] = ()
    weights: StartingWeights | None = None

    def begin_with(self, weights: StartingWeights) -> Space:
        """Return the space with candidates that begin with weights.

        Raises:
            SettingError: A searched setting changes the structure of the network, so that the weights do not fit.
        """
        space = replace(self, recipe=self.recipe.replace({"standardization": "weights"}), weights=weights)
        source = random.Random(0)  # noqa: S311
        for model, branch in self.branches.items():
            base = branch.settings.replace(branch.fixed)
            costs = space.count_costs(model, base)
            changed = []
            for name, domain in branch.domains.items():
                others = (base.replace({name: draw(domain, source)}) for _ in range(EXAMINED_STRUCTURES))
                if any(space.count_costs(model, other) != costs for other in others):
                    changed.append(name)
            if changed:
                raise SettingError(
                    f"the weights fit {model} only as it is: leave {' and '.join(changed)} out of the search, or "
                    f"search without weights."
                )
        return space

    def for_images(self, image_shape: tuple[int, int, int], classes: int) -> Space:
        """Return the space for images, without families of which no candidate fits the images and limits.

        Raises:
            SettingError: There are several families, and none fits.
        """
        space = replace(self, image_shape=image_shape, classes=classes)
        if len(space.branches) == 1:
            return space
        reasons = {model: space.explain_rejection(model) for model in space.branches}
        usable = {model: branch for model, branch in space.branches.items() if not reasons[model]}
        if not usable:
            raise SettingError(f"no family can be searched: {' '.join(reasons.values())}")
        notes = [f"{space.branches[model].family.name} is left out: {why}" for model, why in reasons.items() if why]
        return replace(space, branches=usable, notes=tuple(notes))

    def explain_rejection(self, model: str) -> str:
        """Examine some candidates of a family, and return why none of them can be used; "" if one can."""
        space = replace(self, branches={model: self.branches[model]})
        name, source = self.branches[model].family.name, random.Random(0)  # noqa: S311
        conflict, too_small = "", list[Settings]()
        lowest = dict.fromkeys(vars(self.limits), math.inf)
        for _ in range(EXAMINED):
            try:
                values = space.draw_values(source)
                settings = space.make_settings(values)
                space.make_recipe(values, settings)
                costs = space.count_costs(model, settings)
            except TooSmallError:
                too_small.append(settings)
            except SettingError as error:
                conflict = str(error)
            else:
                if not self.limits.excess(costs):
                    return ""
                lowest = {kind: min(lowest[kind], costs[kind]) for kind in lowest}
        if math.isfinite(lowest["macs"]):
            exceeded = [
                f"{format_number(cost)} {kind}, and --max-{kind} (max_{kind}) is {format_number(limit)}"
                for kind, cost, limit in self.limits.pairs(lowest)
                if cost > limit
            ]
            smallest = f"the smallest of {EXAMINED} has {'; '.join(exceeded)}; " if exceeded else ""
            return f"no candidate of {name} is within the limits: {smallest}raise the limit or search smaller networks."
        if not too_small:
            return f"no candidate of {name} can be built: {conflict}"
        pixels = f"{self.image_shape[0]}x{self.image_shape[1]}"
        side = min(smallest_side(self.branches[model].family, settings) for settings in too_small[:EXAMINED_SIZES])
        return (
            f"{pixels} images are too small for every candidate of {name}; use images of at least {side}x{side} "
            f"pixels: --image-size {side} (image_size={side})."
        )

    def exhausted(self, found: int) -> SettingError:
        """Return the error that the space has no more candidates than those found."""
        reasons = [] if found else [self.explain_rejection(model) for model in self.branches]
        within = " within the limits" if self.limits != NO_LIMITS else ""
        return SettingError(
            " ".join(filter(None, reasons))
            or f"{self.name} has only {found} different candidates{within} for {self.image_shape[0]}x"
            f"{self.image_shape[1]} images and these fixed settings; request fewer trials, fix fewer settings, or "
            f"enlarge the images with --image-size (image_size)."
        )

    @property
    def families(self) -> list[str]:
        """Names of the families, in the order of the branches."""
        return [branch.family.name for branch in self.branches.values()]

    def searched(self) -> dict[str, Domain]:
        """Return all search domains by name; with several families, `FAMILY.SETTING` for settings of networks."""
        several = len(self.branches) > 1
        of_networks = {
            f"{branch.family.name}.{name}" if several else name: domain
            for branch in self.branches.values()
            for name, domain in branch.domains.items()
        }
        return {**of_networks, **self.domains}

    def domains_of(self, model: str) -> dict[str, Domain]:
        """Return the search domains of candidates that start from a variant."""
        return {**self.branches[model].domains, **self.domains}

    def draw_values(self, source: random.Random) -> dict[str, Any]:
        """Draw values at random; they may contradict each other."""
        models = list(self.branches)
        model = source.choice(models) if len(models) > 1 else models[0]
        return {"model": model, **{name: draw(domain, source) for name, domain in self.domains_of(model).items()}}

    def draw(self, count: int, seed: int) -> list[Candidate]:
        """Draw different candidates that can be trained on the images and are within the limits.

        The same seed gives the same candidates, and a larger count starts with those of a smaller one.

        Raises:
            SettingError: The space does not have that many candidates.
        """
        return [candidate for _, candidate in itertools.islice(self.shuffled(seed), count)]

    def shuffled(self, seed: int) -> Iterator[tuple[Values, Candidate]]:
        """Yield different candidates in random order, each with its values.

        Raises:
            SettingError: No further candidate is found.
        """
        source = random.Random(seed)  # noqa: S311
        found: set[Candidate] = set()
        rejected = 0
        while rejected <= MAX_REJECTED:
            values = self.draw_values(source)
            candidate = self.make_candidate(values)
            if candidate is None or candidate in found or self.excess(candidate):
                rejected += 1
            else:
                found.add(candidate)
                yield values, candidate
        raise self.exhausted(len(found))

    def grid(self) -> list[tuple[Values, Candidate]]:
        """Return every candidate that can be trained and is within the limits, each with its values.

        Raises:
            SettingError: A domain is continuous, or the grid is too large.
        """
        grids = {
            model: {name: list_values(name, domain) for name, domain in self.domains_of(model).items()}
            for model in self.branches
        }
        points = sum(math.prod(map(len, grid.values())) for grid in grids.values())
        if points > MAX_GRID_POINTS:
            sizes = {name: len(values) for grid in grids.values() for name, values in grid.items()}
            raise SettingError(
                f"the grid has {points:,} points, more than the maximum of {MAX_GRID_POINTS:,}; fix some settings, "
                f"such as {max(sizes, key=lambda name: sizes[name])}, or list fewer values."
            )
        found: dict[Candidate, Values] = {}
        for model, grid in grids.items():
            for combination in itertools.product(*grid.values()):
                values = {"model": model, **dict(zip(grid, combination, strict=True))}
                candidate = self.make_candidate(values)
                if candidate is not None and candidate not in found and not self.excess(candidate):
                    found[candidate] = values
        if not found:
            raise self.exhausted(0)
        return [(values, candidate) for candidate, values in found.items()]

    def make_candidate(self, values: Values) -> Candidate | None:
        """Return the candidate with these values; None if the values contradict each other."""
        try:
            settings = self.make_settings(values)
            recipe = self.make_recipe(values, settings)
        except SettingError:
            return None
        return Candidate(model=values["model"], settings=settings, recipe=recipe, weights=self.weights)

    def make_settings(self, values: Values) -> Settings:
        """Return the settings of the network with these values.

        Raises:
            SettingError: The values contradict each other.
        """
        branch = self.branches[values["model"]]
        return branch.settings.replace({**branch.fixed, **{name: values[name] for name in branch.domains}})

    def make_recipe(self, values: Values, settings: Settings) -> Recipe:
        """Return the recipe with these values, for a network with these settings.

        Raises:
            SettingError: The values contradict each other, or the network does not have a block that is to be frozen.
        """
        recipe = self.recipe.replace({name: values[name] for name in self.domains})
        check_fine_tuning(values["model"], settings, recipe, self.weights.initial if self.weights else ())
        return recipe

    def excess(self, candidate: Candidate) -> float:
        """Return by how much a candidate exceeds the limits or is too deep for the images; 0 if it can be trained."""
        try:
            return self.limits.excess(self.count_costs(candidate.model, candidate.settings))
        except TooSmallError:
            return TOO_SMALL_EXCESS

    def count_costs(self, model: str, settings: Settings) -> dict[str, int]:
        """Return the costs of a network by name.

        Raises:
            TooSmallError: The images are too small for it.
        """
        height, width, channels = self.image_shape
        if self.weights is not None:
            channels = self.weights.preprocessing.input_channels
        shape = (height, width, channels)
        return count_network(self.branches[model].family, settings, shape, self.classes).as_metrics()


def list_values(name: str, domain: Domain) -> tuple[Any, ...]:
    """Return all values of a discrete domain."""
    match domain:
        case Choice(values=values):
            return values
        case IntRange(low=low, high=high, step=step):
            return tuple(range(low, high + 1, step))
        case _:
            raise SettingError(
                f"a grid needs lists of values, but {name} is {domain}: list some with --set {name}=a,b,c (space), or "
                f"fix it."
            )


def draw(domain: Domain, source: random.Random) -> Any:
    """Draw a value of a domain."""
    match domain:
        case Choice(values=values):
            return source.choice(values)
        case IntRange(low=low, high=high, step=step, log=False):
            return source.randrange(low, high + 1, step)
        case IntRange(low=low, high=high):
            return round(math.exp(source.uniform(math.log(low), math.log(high))))
        case FloatRange(low=low, high=high, log=log):
            return round_float(
                math.exp(source.uniform(math.log(low), math.log(high))) if log else source.uniform(low, high), domain
            )
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")


def round_float(value: float, domain: FloatRange) -> float:
    """Round to three significant digits within a range, so that the value is logged exactly."""
    return min(domain.high, max(domain.low, float(f"{value:.3g}")))


def make_space(
    name: str,
    *,
    recipe: Recipe,
    space: Mapping[str, object] | None = None,
    limits: Limits = NO_LIMITS,
    bases: Sequence[Base] | None = None,
    only_named: bool = False,
    image_shape: tuple[int, int, int] | None = None,
    classes: int = 1,
) -> Space:
    """Return a search space.

    Args:
        name: A family, a variant, or "all" for all families.
        recipe: The recipe that candidates start from.
        space: What is searched, as `tuning.sweep` takes it.
        limits: Upper limits on the costs of candidates.
        bases: The networks that candidates start from; by default those of `name`.
        only_named: Search only those settings of the network that `space` names, and not those of the family's default.
        image_shape: Height, width and channels of the images, if known; see `Space.for_images`.
        classes: Number of classes.

    Raises:
        ModelNameError: There is no such family or variant.
        SettingError: A name is unknown, a value is not valid, or no family fits the images and limits.
    """
    bases = bases or find_bases(name)
    parsed = parse_space(bases, space or {})
    branches = {}
    for base in bases:
        given = parsed.get(base.family.name, {})
        default = {} if only_named else base.family.search.domains
        branches[base.model] = Branch(*base, fixed_values(given), searched(default, given))
    of_recipe = parsed.get(RECIPE, {})
    made = Space(
        name=name,
        branches=branches,
        recipe=fix_recipe(recipe, of_recipe),
        domains=searched(RECIPE_SEARCH, of_recipe),
        limits=limits,
    )
    return made.for_images(image_shape, classes) if image_shape else made
