"""Parse the entries of a search space: values, choices and ranges, as text or in Python."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from keras_cnns.errors import ModelNameError, SettingError, nearest, nearest_or_all
from keras_cnns.networks.baselines.names import is_baseline
from keras_cnns.networks.family import Family
from keras_cnns.networks.recipe import SEARCH as RECIPE_SEARCH
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import all_families, all_variants, find_variant
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, NoneOr, Settings, TupleOf, format_value

ALL = "all"
RECIPE = "recipe"
SHARED_BY_ALL_TRIALS = ("epochs", "monitor", "keep")
MAX_COMBINATIONS = 1000
RANGE_KEYS = {"low", "high", "step", "log"}

ParsedSpace = dict[str, dict[str, Domain]]
"""By "recipe" or the name of a family: the domain of each setting; a `Choice` of one value is fixed."""


class Base(NamedTuple):
    """A network that candidates start from: its variant, family and settings."""

    model: str
    family: Family
    settings: Settings


@dataclass(frozen=True)
class UserInput:
    """An entry of a search space together with where the user wrote it.

    Attributes:
        value: A value, a choice or a range, in any form that `parse_domain` reads.
        source: The option or file, with which error messages begin, such as `--set growth_rate=4..24`.
    """

    value: object
    source: str


def find_bases(name: str) -> list[Base]:
    """Return the networks that the candidates of a sweep start from.

    Args:
        name: A family, a variant, a baseline, or "all" for one base of every family.

    Raises:
        ModelNameError: There is no such family or network.
    """
    if is_baseline(name):
        family, variant = find_variant(name)
        return [Base(name, family, variant.settings)]
    families, variants = all_families(), all_variants()
    if name != ALL and name not in families and name not in variants:
        hint = nearest(name, [*families, *variants])
        raise ModelNameError(f"unknown family or network {name!r}.{hint} Families: {', '.join(families)}, or all.")
    names = [family.search.base for family in families.values() if name in (ALL, family.name)] or [name]
    return [Base(base, variants[base], variants[base].variants[base].settings) for base in names]


def parse_space(bases: Sequence[Base], entries: Mapping[str, object]) -> ParsedSpace:
    """Parse the entries of a search space.

    Args:
        bases: The networks that the candidates start from.
        entries: The argument `space` of `tuning.sweep`, whose values may be wrapped in `UserInput`.

    Raises:
        SettingError: A name is unknown, or a value is not valid.
    """
    parsed: ParsedSpace = {}
    for name, entry in entries.items():
        value, prefix = (entry.value, f"{entry.source}: ") if isinstance(entry, UserInput) else (entry, "")
        try:
            for owner, setting, valid, default in find_owners(bases, name):
                label = f"{owner}.{setting}" if len(bases) > 1 and owner != RECIPE else setting
                parsed.setdefault(owner, {})[setting] = parse_named(label, value, valid, default)
        except SettingError as error:
            raise SettingError(f"{prefix}{error}") from None
    return parsed


def parse_named(label: str, value: object, valid: Domain, default: Domain | None) -> Domain:
    """Parse the domain of a setting, and name the setting in error messages."""
    try:
        domain = parse_domain(value, valid, default)
    except SettingError as error:
        raise SettingError(f"{label} {error}") from None
    if label in SHARED_BY_ALL_TRIALS and not is_fixed(domain):
        raise SettingError(f"{label} must be the same for all trials; give it one value.")
    return domain


def find_owners(bases: Sequence[Base], name: str) -> list[tuple[str, str, Domain, Domain | None]]:
    """Return owner, setting, valid values and default search domain for each owner of a setting of this name.

    The owner is the recipe, or each family that has such a setting. `FAMILY.SETTING` names one family.
    """
    if name in Recipe.domains():
        return [(RECIPE, name, Recipe.domain(name), RECIPE_SEARCH.get(name))]
    prefix, _, setting = name.rpartition(".")
    named = [base for base in bases if prefix in ("", base.family.name)]
    if not named:
        families = ", ".join(base.family.name for base in bases)
        raise SettingError(f"{prefix!r} is not a family of this sweep, which searches {families}.")
    owners = [
        (family.name, setting, settings.domains()[setting], family.search.domains.get(setting))
        for _, family, settings in named
        if setting in settings.domains()
    ]
    if not owners:
        known = dict.fromkeys(known for base in named for known in (*base.settings.domains(), *Recipe.domains()))
        raise SettingError(f"unknown setting {name!r}.{nearest_or_all(setting, known)}")
    return owners


def is_fixed(domain: Domain) -> TypeGuard[Choice]:
    """Return whether a domain has a single value."""
    return isinstance(domain, Choice) and len(domain.values) == 1


def parse_domain(value: object, valid: Domain, default: Domain | None = None) -> Domain:
    """Parse what a search tries for a setting.

    Args:
        value: A value; text as on a command line; a list of values; a mapping with "low", "high" and optionally "step"
            and "log"; or a `Choice`, `IntRange` or `FloatRange`.
        valid: The valid values of the setting.
        default: What a sweep searches by default, which determines whether ranges are logarithmic.

    Raises:
        SettingError: The value is not valid. The message continues a sentence that starts with the setting's name.
    """
    match value:
        case str():
            return parse_text(value, valid, default)
        case Mapping():
            if set(value) - RANGE_KEYS or not {"low", "high"} <= set(value):
                raise SettingError("takes low and high, and optionally step and log, as a range.")
            return make_range(valid, default, **{str(key): number for key, number in value.items()})
        case IntRange() | FloatRange():
            step = getattr(value, "step", 1)
            return make_range(
                valid, default, low=value.low, high=value.high, log=value.log, step=step if step > 1 else None
            )
        case Choice(values=values):
            return make_choice(values, valid)
        case list() if not holds_tuples(valid) or any(isinstance(item, list | tuple) for item in value):
            return make_choice(value, valid)
        case _:
            return make_choice([value], valid)


def parse_text(text: str, valid: Domain, default: Domain | None) -> Domain:
    """Parse `value`, `low..high`, `low..high..step`, `a,b,c` or `a|b|c`; in tuples, commas separate the items."""
    if ".." in text:
        number = number_domain(valid)
        low, high, *step = [number.parse(part) for part in text.split("..")]
        if len(step) > 1:
            raise SettingError(f"takes low..high or low..high..step as a range, not {text}.")
        return make_range(valid, default, low=low, high=high, step=step[0] if step else None)
    return make_choice(text.split("|" if "|" in text or holds_tuples(valid) else ","), valid)


def make_choice(values: Sequence[object], valid: Domain) -> Choice:
    """Return a choice of valid values without duplicates; text is parsed as on a command line."""
    if not values:
        raise SettingError("has no values to choose from; give at least one.")
    checked = (valid.check(valid.parse(value) if isinstance(value, str) else value) for value in values)
    return Choice(tuple(dict.fromkeys(checked)))


def make_range(
    valid: Domain, default: Domain | None, *, low: Any, high: Any, step: Any = None, log: Any = None
) -> IntRange | FloatRange:
    """Return the range between two valid numbers, logarithmic if the default search domain is."""
    number = number_domain(valid)
    low, high = number.check(low), number.check(high)
    if low >= high:
        raise SettingError(f"takes low..high with low below high, not {format_value(low)}..{format_value(high)}.")
    if log is None:
        scale = default if isinstance(default, IntRange | FloatRange) else number
        log = scale.log and low > 0 and step is None
    elif not isinstance(log, bool):
        raise SettingError(f"takes true or false for log, not {format_value(log)}.")
    if log and low <= 0:
        raise SettingError(f"needs a low above 0 on a logarithmic scale, not {format_value(low)}.")
    if isinstance(number, FloatRange):
        if step is not None:
            raise SettingError("is a real number, and steps are for whole numbers; list values, separated by commas.")
        return FloatRange(low, high, log=log)
    step = IntRange(1, number.high).check(number.step if step is None else step)
    if step % number.step or (log and step > 1):
        reason = " on a logarithmic scale." if log else f": it is {number}."
        raise SettingError(f"cannot be searched in steps of {step}{reason}")
    return IntRange(low, high - (high - low) % step, step=step, log=log)


def number_domain(valid: Domain) -> IntRange | FloatRange:
    """Return the range of numbers that a setting may have."""
    number = valid.domain if isinstance(valid, NoneOr) else valid
    if not isinstance(number, IntRange | FloatRange):
        syntax = "a|b|c" if holds_tuples(valid) else "a,b,c"
        raise SettingError(f"is {valid}: write a choice as {syntax}; low..high is for numbers.")
    return number


def holds_tuples(valid: Domain) -> bool:
    """Return whether the values of a setting are tuples."""
    return isinstance(valid.domain if isinstance(valid, NoneOr) else valid, TupleOf)


def fixed_values(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """Return the value of each domain that has only one."""
    return {name: domain.values[0] for name, domain in domains.items() if is_fixed(domain)}


def searched(default: Mapping[str, Domain], given: Mapping[str, Domain]) -> dict[str, Domain]:
    """Return the search domains: the given ones, else the default, without fixed settings."""
    return {name: domain for name, domain in {**default, **given}.items() if not is_fixed(domain)}


def fix_recipe(recipe: Recipe, domains: Mapping[str, Domain]) -> Recipe:
    """Return a recipe with the fixed values of domains.

    If they need one of the values of a searched choice, such as frozen blocks, the recipe has the first ones that fit.

    Raises:
        SettingError: The fixed values contradict each other, whatever is chosen.
    """
    try:
        return recipe.replace(fixed_values(domains))
    except SettingError:
        choices = {name: domain.values for name, domain in domains.items() if isinstance(domain, Choice)}
        for values in itertools.islice(itertools.product(*choices.values()), MAX_COMBINATIONS):
            with contextlib.suppress(SettingError):
                return recipe.replace(dict(zip(choices, values, strict=True)))
        raise
