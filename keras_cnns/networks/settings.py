"""Settings of networks and recipes: frozen dataclasses whose fields each have a domain of legal values.

Creating an instance checks every field, so an instance is always legal. The same domains describe the search space of
a sweep.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from keras_cnns.errors import SettingError, nearest, nearest_or_all

NAME = re.compile(r"[A-Za-z][A-Za-z0-9.-]*")


class Domain(Protocol):
    """The legal values of a setting."""

    def check(self, value: object) -> Any:
        """Return the value in its canonical type, or raise a `SettingError` that names the legal values."""

    def parse(self, text: str) -> Any:
        """Convert text from the command line to a value; return text that is not a value unchanged."""


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(format_value, self.values))

    def check(self, value: object) -> Any:
        """Return the listed value that equals `value`; booleans equal booleans only."""
        if isinstance(value, list):
            value = tuple(value)
        for known in self.values:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return known
        hint = nearest(value, map(str, self.values)) if isinstance(value, str) else ""
        raise SettingError(f"must be {self}, not {format_value(value)}.{hint}")

    def parse(self, text: str) -> Any:
        """Return the listed value that is written as `text`."""
        values = {format_value(value).lower(): value for value in self.values}
        return values.get(text.strip().lower(), text)


@dataclass(frozen=True)
class Name:
    """One of several words, or a name that depends on the network and is checked against it later.

    Attributes:
        words: The words.
        what: What else can be named.
    """

    words: tuple[str, ...]
    what: str

    def __str__(self) -> str:
        return f"{', '.join(self.words)}, or {self.what}"

    def check(self, value: object) -> str:
        """Return `value` if it is a word of letters, digits, hyphens and dots."""
        if isinstance(value, str) and NAME.fullmatch(value):
            return value
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Return `text` without spaces around it."""
        return text.strip()


@dataclass(frozen=True)
class IntRange:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __str__(self) -> str:
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        return f"a whole number from {self.low} to {self.high}{steps}"

    def check(self, value: object) -> int:
        """Return `value` as an `int`."""
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            number = int(value)
            if self.low <= number <= self.high and (number - self.low) % self.step == 0:
                return number
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Return `text` as an `int`."""
        return parse_as(int, text)


@dataclass(frozen=True)
class FloatRange:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def check(self, value: object) -> float:
        """Return `value` as a `float`."""
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number) and self.low <= number <= self.high:
                return number
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Return `text` as a `float`."""
        return parse_as(float, text)


@dataclass(frozen=True)
class TupleOf:
    """A tuple of `min_length` to `max_length` values, each within `item`."""

    item: Domain
    min_length: int = 1
    max_length: int = 8

    def __str__(self) -> str:
        same = self.min_length == self.max_length
        return f"{self.min_length if same else f'{self.min_length} to {self.max_length}'} values, each {self.item}"

    def check(self, value: object) -> tuple[Any, ...]:
        """Return `value` as a tuple of checked items."""
        if isinstance(value, tuple | list) and self.min_length <= len(value) <= self.max_length:
            try:
                return tuple(self.item.check(item) for item in value)
            except SettingError:
                pass
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Return the items of a comma-separated list."""
        return tuple(self.item.parse(part) for part in text.split(",")) if text.strip() else ()


@dataclass(frozen=True)
class NoneOr:
    """None, or a value within `domain`."""

    domain: IntRange | FloatRange | TupleOf

    def __str__(self) -> str:
        return f"none or {self.domain}"

    def check(self, value: object) -> Any:
        """Return None or the checked value."""
        if value is None:
            return None
        try:
            return self.domain.check(value)
        except SettingError:
            raise SettingError(f"must be {self}, not {format_value(value)}.") from None

    def parse(self, text: str) -> Any:
        """Return None for "none", or the value."""
        return None if text.strip().lower() == "none" else self.domain.parse(text)


BOOLEAN = Choice((True, False))
SEED = IntRange(0, 2**32 - 1)


def parse_as(number: type[int | float], text: str) -> int | float | str:
    """Return `text` as a number, or unchanged for `check` to reject it."""
    try:
        return number(text)
    except ValueError:
        return text


def check_argument(name: str, domain: Domain, value: object) -> Any:
    """Return the value of an argument in its canonical type.

    Raises:
        SettingError: The value is not in the domain; the message begins with the argument's name.
    """
    try:
        return domain.check(value)
    except SettingError as error:
        raise SettingError(f"{name} {error}") from None


def check_groups(name: str, widths: tuple[int, ...], groups: int) -> None:
    """Check that the channels of grouped convolutions can be split into groups.

    Raises:
        SettingError: A width is not a multiple of the number of groups.
    """
    if any(width % groups for width in widths):
        raise SettingError(f"{name} {format_value(widths)} cannot be split into {groups} groups; use multiples of it.")


def setting(default: Any, domain: Domain) -> Any:
    """Declare a field of a `Settings` class with a default value and a domain of legal values."""
    return dataclasses.field(default=default, metadata={"domain": domain})


def format_value(value: object) -> str:
    """Return the value of a setting as it is written on the command line, from which it is read without a change."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ",".join(map(format_value, value))
        case float():
            short = f"{value:g}"
            return short if float(short) == value else repr(value)
        case _:
            return str(value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base class of settings. Subclasses are frozen dataclasses whose fields are declared with `setting`."""

    def __post_init__(self) -> None:
        for name, domain in self.domains().items():
            object.__setattr__(self, name, check_argument(name, domain, getattr(self, name)))
        self.check_together()

    def check_together(self) -> None:
        """Raise a `SettingError` if settings that are legal on their own are inconsistent."""

    @classmethod
    def domains(cls) -> dict[str, Domain]:
        """Return the legal values of each setting, in the order of the fields."""
        return {field.name: field.metadata["domain"] for field in dataclasses.fields(cls)}

    @classmethod
    def domain(cls, name: str) -> Domain:
        """Return the legal values of a setting.

        Raises:
            SettingError: The setting is unknown; the message suggests similar names.
        """
        domains = cls.domains()
        if name not in domains:
            raise SettingError(f"unknown setting {name!r}.{nearest_or_all(name, domains)}")
        return domains[name]

    def replace(self, changes: Mapping[str, object]) -> Self:
        """Return a copy with some settings changed.

        Raises:
            SettingError: A name is unknown or a value is not legal.
        """
        for name in changes:
            self.domain(name)
        return dataclasses.replace(self, **changes)

    def replace_strings(self, texts: Mapping[str, str]) -> Self:
        """Return a copy with some settings changed, given as they are written on the command line.

        Raises:
            SettingError: A name is unknown or a value is not legal.
        """
        return self.replace({name: self.domain(name).parse(text) for name, text in texts.items()})

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return dataclasses.asdict(self)

    def to_strings(self) -> dict[str, str]:
        """Return the settings by name, with values as they are written on the command line."""
        return {name: format_value(value) for name, value in self.as_dict().items()}
