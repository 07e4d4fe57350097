"""What a sweep tries: candidates drawn from the settings that builder and recipe leave free."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.counting import TooSmallError
from keras_cnns.errors import SettingError
from keras_cnns.family import Family, Variant
from keras_cnns.registry import all_families, find_variant, tally_network
from keras_cnns.settings import Choice, Domain, FloatRange, IntRange, Settings, format_value
from keras_cnns.training.recipe import SEARCH as RECIPE_SEARCH
from keras_cnns.training.recipe import Recipe

MOST_REJECTED = 10_000


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network and recipe that a sweep tries."""

    settings: Settings
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Space:
    """All that a sweep may try.

    Attributes:
        model: The variant that candidates start from.
        base: Its settings, and the recipe, with what the user fixed.
        domains: What is drawn, by name; names of settings and of the recipe do not overlap.
        image_shape: Height, width and channels of the images.
    """

    model: str
    base: Candidate
    domains: Mapping[str, Domain]
    image_shape: tuple[int, int, int]

    def draw(self, count: int, seed: int) -> list[Candidate]:
        """Draw different candidates that can all be built for these images.

        The same seed gives the same candidates, and a larger count begins with those of a smaller one.

        Raises:
            SettingError: The space does not hold so many.
        """
        family, _ = find_variant(self.model)
        source = random.Random(seed)  # noqa: S311
        found: dict[Candidate, None] = {}
        rejected = 0
        while len(found) < count:
            values = {name: draw(domain, source) for name, domain in self.domains.items()}
            candidate = self.candidate(values)
            if candidate is None or candidate in found or not self.fits(family, candidate):
                rejected += 1
                if rejected > MOST_REJECTED:
                    raise SettingError(
                        f"only {len(found)} different candidates of {self.model} can be made for images of "
                        f"{self.image_shape[0]}x{self.image_shape[1]} pixels and these fixed settings; ask for fewer "
                        f"trials, fix less, or enlarge the images with --image-size (image_size)."
                    )
            else:
                found[candidate] = None
        return list(found)

    def fits(self, family: Family, candidate: Candidate) -> bool:
        """Return whether the images are large enough for a candidate's network."""
        try:
            tally_network(family, candidate.settings, self.image_shape, classes=1)
        except TooSmallError:
            return False
        return True

    def candidate(self, values: Mapping[str, Any]) -> Candidate | None:
        """Return the candidate with these values, or None where they do not fit each other."""
        of_recipe, of_network = split_names(values, type(self.base.settings))
        try:
            settings = self.base.settings.replace(of_network)
        except SettingError:
            return None
        return Candidate(settings=settings, recipe=self.base.recipe.replace(of_recipe))


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
            value = math.exp(source.uniform(math.log(low), math.log(high))) if log else source.uniform(low, high)
            return min(high, max(low, float(f"{value:.3g}")))
        case _:
            raise SettingError(f"a sweep cannot draw from {domain}; give a choice or a range.")


def split_names(values: Mapping[str, object], settings: type[Settings]) -> tuple[dict[str, object], dict[str, object]]:
    """Part values into those of the recipe and those of the network.

    Raises:
        SettingError: Neither has such a name.
    """
    of_recipe = {name: value for name, value in values.items() if name in Recipe.domains()}
    of_network = {name: value for name, value in values.items() if name not in of_recipe}
    for name in of_network:
        settings.domain(name)
    return of_recipe, of_network


def find_base(name: str) -> tuple[str, Family, Variant]:
    """Return the variant that a sweep over `name`, a family or a variant, starts from."""
    if name in all_families():
        name = all_families()[name].search.base
    return name, *find_variant(name)


def make_space(name: str, *, recipe: Recipe, fixed: Mapping[str, object], image_shape: tuple[int, int, int]) -> Space:
    """Return what a sweep over a family, or over one of its variants, may try.

    Args:
        name: A family, whose space starts from the variant it names, or another variant to start from.
        recipe: The recipe that candidates start from.
        fixed: Settings and parts of the recipe that all candidates share.
        image_shape: Height, width and channels of the images.

    Raises:
        ModelNameError: There is no such family or variant.
        SettingError: A fixed name is unknown or its value not legal.
    """
    model, family, variant = find_base(name)
    of_recipe, of_network = split_names(fixed, type(variant.settings))
    domains = {**family.search.domains, **RECIPE_SEARCH}
    return Space(
        model=model,
        base=Candidate(settings=variant.settings.replace(of_network), recipe=recipe.replace(of_recipe)),
        domains={name: domain for name, domain in domains.items() if name not in fixed},
        image_shape=image_shape,
    )


def differences(candidate: Candidate, space: Space) -> dict[str, str]:
    """Write the values that were drawn for a candidate, by name."""
    values = {**candidate.settings.as_dict(), **candidate.recipe.as_dict()}
    return {name: format_value(values[name]) for name in space.domains}
