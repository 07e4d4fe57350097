"""What a sweep is told to search, read: from the command line, from a file, and from Python."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.family import Family, Variant
from keras_cnns.networks.recipe import SEARCH as RECIPE_SEARCH
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import all_families, find_variant
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, NoneOr, TupleOf, format_value

ALL = "all"
RECIPE = "recipe"
# What trials are compared by, and what the scheduler counts in.
SHARED = ("epochs", "monitor", "keep")
PARTS_OF_RANGE = {"low", "high", "step", "log"}

Base = tuple[str, Family, Variant]
Choices = dict[str, dict[str, Domain]]


def find_bases(name: str) -> list[Base]:
    """Return the variants that a sweep over `name` starts from, each with its family.

    Args:
        name: A family, a variant, or "all" for every family.

    Raises:
        ModelNameError: There is no such family or variant.
    """
    families = all_families()
    if name == ALL:
        return [(family.search.base, family, family.variants[family.search.base]) for family in families.values()]
    if name in families:
        name = families[name].search.base
    return [(name, *find_variant(name))]


def read_choices(bases: Sequence[Base], written: Mapping[str, object], *, where: str = "") -> Choices:
    """Read what each name may be.

    Args:
        bases: What the sweep starts from.
        written: By the name of a setting or a part of the recipe: a value, a choice or a range, as
            `tuning.sweep` takes them for `space`.
        where: What the message of a mistake begins with.

    Returns:
        By "recipe" and the names of families, what each name may be; a `Choice` of one value is fixed.

    Raises:
        SettingError: A name is unknown, or something outside what is legal.
    """
    found: Choices = {}
    for name, value in written.items():
        for owner, setting, legal, usual in find_owners(bases, name, where):
            label = f"{owner}.{setting}" if len(bases) > 1 and owner != RECIPE else setting
            try:
                domain = read_domain(value, legal, usual)
            except SettingError as error:
                raise SettingError(f"{where}{label} {error}") from None
            if setting in SHARED and owner == RECIPE and not is_fixed(domain):
                raise SettingError(f"{where}{setting} is the same for all trials: give it one value.")
            found.setdefault(owner, {})[setting] = domain
    return found


def find_owners(bases: Sequence[Base], name: str, where: str) -> list[tuple[str, str, Domain, Domain | None]]:
    """Return who has a setting of this name: the recipe or families, with what is legal and what is usually tried."""
    if name in Recipe.domains():
        return [(RECIPE, name, Recipe.domain(name), RECIPE_SEARCH.get(name))]
    prefix, dot, setting = name.rpartition(".")
    searched = {family.name: family for _, family, _ in bases}
    if dot and prefix not in searched:
        raise SettingError(f"{where}{prefix!r} is no family of this sweep: {', '.join(searched)}.")
    owners = [
        (family.name, setting, domains[setting], family.search.domains.get(setting))
        for _, family, variant in bases
        for domains in [type(variant.settings).domains()]
        if setting in domains and prefix in ("", family.name)
    ]
    if not owners:
        within = [variant for _, family, variant in bases if prefix in ("", family.name)]
        known = dict.fromkeys(known for variant in within for known in type(variant.settings).domains())
        hint = nearest(setting, [*known, *Recipe.domains()]) or f" There are: {', '.join(known)}."
        raise SettingError(f"{where}there is no setting {name!r}.{hint}")
    return owners


def is_fixed(domain: Domain) -> bool:
    """Return whether a domain leaves no choice."""
    return isinstance(domain, Choice) and len(domain.values) == 1


def read_domain(value: object, legal: Domain, usual: Domain | None = None) -> Domain:
    """Read what a setting may be.

    Args:
        value: A value; text as on a command line; a list of values; a mapping with "low", "high" and perhaps "step"
            and "log"; or a `Choice`, `IntRange` or `FloatRange`.
        legal: The setting's legal values.
        usual: What a sweep tries by default, which says whether ranges are searched in the logarithm.

    Raises:
        SettingError: It is not legal; the message goes on from the setting's name.
    """
    match value:
        case str():
            return read_text(value, legal, usual)
        case Mapping():
            unknown = set(value) - PARTS_OF_RANGE
            if unknown or not {"low", "high"} <= set(value):
                raise SettingError("takes low and high, and perhaps step and log, as a range.")
            return make_range(legal, usual, **{str(part): number for part, number in value.items()})
        case IntRange() | FloatRange():
            return make_range(legal, usual, low=value.low, high=value.high, log=value.log, step=step_of(value))
        case Choice(values=values):
            return make_choice(values, legal)
        case list() if not holds_tuples(legal) or any(isinstance(item, list | tuple) for item in value):
            return make_choice(value, legal)
        case _:
            return make_choice([value], legal)


def read_text(text: str, legal: Domain, usual: Domain | None) -> Domain:
    """Read `value`, `low..high`, `low..high..step`, `a,b,c` or `a|b|c`; of several values together commas are part."""
    if ".." in text:
        number = number_domain(legal)
        low, high, *step = [number.parse(part) for part in text.split("..")]
        if len(step) > 1:
            raise SettingError(f"takes low..high or low..high..step as a range, not {text}.")
        return make_range(legal, usual, low=low, high=high, step=step[0] if step else None)
    parts = text.split("|" if "|" in text or holds_tuples(legal) else ",")
    return make_choice(parts, legal)


def make_choice(values: Sequence[object], legal: Domain) -> Choice:
    """Return the choice of some values, each checked; text is read as on a command line."""
    if not values:
        raise SettingError("has no value to choose from; give one or more.")
    read = (legal.check(legal.parse(value) if isinstance(value, str) else value) for value in values)
    return Choice(tuple(dict.fromkeys(read)))


def make_range(
    legal: Domain, usual: Domain | None, *, low: Any, high: Any, step: Any = None, log: Any = None
) -> IntRange | FloatRange:
    """Return the range between two legal numbers, in the logarithm where the setting usually is."""
    number = number_domain(legal)
    low, high = number.check(low), number.check(high)
    if low >= high:
        raise SettingError(f"takes low..high with low below high, not {format_value(low)}..{format_value(high)}.")
    if log is None:
        of_log = usual if isinstance(usual, IntRange | FloatRange) else number
        log = of_log.log and low > 0 and step is None
    elif not isinstance(log, bool):
        raise SettingError(f"takes true or false for log, not {format_value(log)}.")
    if log and low <= 0:
        raise SettingError(f"is searched in the logarithm from above 0, not from {format_value(low)}.")
    if isinstance(number, FloatRange):
        if step is not None:
            raise SettingError("is a number, and steps are for whole numbers; name values with commas between them.")
        return FloatRange(low, high, log=log)
    if step is None:
        step = number.step
    step = IntRange(1, number.high).check(step)
    if step % number.step or (log and step > 1):
        raise SettingError(
            f"cannot be searched in steps of {step}" + (" and in the logarithm." if log else f": it is {number}.")
        )
    return IntRange(low, high - (high - low) % step, step=step, log=log)


def number_domain(legal: Domain) -> IntRange | FloatRange:
    """Return the numbers that a setting may be."""
    number = legal.domain if isinstance(legal, NoneOr) else legal
    if not isinstance(number, IntRange | FloatRange):
        how = "a|b|c" if holds_tuples(legal) else "a,b,c"
        raise SettingError(f"is {legal}: write a choice as {how}; low..high is for numbers.")
    return number


def step_of(domain: IntRange | FloatRange) -> int | None:
    """Return the step of a range of whole numbers, where it has one."""
    return domain.step if isinstance(domain, IntRange) and domain.step > 1 else None


def holds_tuples(legal: Domain) -> bool:
    """Return whether a setting has several values at once, with commas between them."""
    inner = legal.domain if isinstance(legal, NoneOr) else legal
    return isinstance(inner, TupleOf)


def read_space_file(path: str | Path) -> dict[str, object]:
    """Read a TOML file that says what to search: names at its top, or in tables settings, recipe and of families.

    Raises:
        SettingError: It cannot be read, is not TOML, or has a name twice.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path} is not text in UTF-8, as TOML is.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not TOML: {error}.".replace("\n", " ")) from None
    found: dict[str, object] = {}
    for name, value in content.items():
        inner: Mapping[str, object] = {name: value}
        if isinstance(value, dict) and name in ("settings", RECIPE):
            inner = value
        elif isinstance(value, dict) and name in all_families():
            inner = {f"{name}.{setting}": part for setting, part in value.items()}
        for setting in inner:
            if setting in found:
                raise SettingError(f"{path} says twice what {setting} is.")
        found |= inner
    return found
