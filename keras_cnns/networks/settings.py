"""What a builder leaves free: settings, the values that are legal for them, and the messages when one is not.

A `Settings` class is a frozen dataclass whose fields each carry a domain. Making an instance checks every
field, so that an instance is always legal. The same domains say what a search may try.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from keras_cnns.errors import SettingError, nearest


class Domain(Protocol):
    """The legal values of one setting."""

    def check(self, value: object) -> Any:
        """Return `value` in its canonical type, or raise a `SettingError` that says what is legal."""

    def parse(self, text: str) -> Any:
        """Read a value as typed on a command line."""


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(format_value, self.values))

    def check(self, value: object) -> Any:
        """Return the listed value that equals `value` and is of its type."""
        if isinstance(value, list):
            value = tuple(value)
        for known in self.values:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return known
        hint = nearest(value, map(str, self.values)) if isinstance(value, str) else ""
        raise SettingError(f"must be {self}, not {format_value(value)}.{hint}")

    def parse(self, text: str) -> Any:
        """Read the value that is written as `text`."""
        written = {format_value(value).lower(): value for value in self.values}
        return written.get(text.strip().lower(), text)


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
        """Return `value` as an `int` within the range."""
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            number = int(value)
            if self.low <= number <= self.high and (number - self.low) % self.step == 0:
                return number
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Read a whole number; other text is returned as it is, for `check` to refuse."""
        try:
            return int(text)
        except ValueError:
            return text


@dataclass(frozen=True)
class FloatRange:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def check(self, value: object) -> float:
        """Return `value` as a `float` within the range."""
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number) and self.low <= number <= self.high:
                return number
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Read a number; other text is returned as it is, for `check` to refuse."""
        try:
            return float(text)
        except ValueError:
            return text


@dataclass(frozen=True)
class TupleOf:
    """A tuple of `shortest` to `longest` values, each within `item`."""

    item: Domain
    shortest: int = 1
    longest: int = 8

    def __str__(self) -> str:
        count = f"{self.shortest}" if self.shortest == self.longest else f"{self.shortest} to {self.longest}"
        return f"{count} values, each {self.item}"

    def check(self, value: object) -> tuple[Any, ...]:
        """Return `value` as a tuple of checked items."""
        if isinstance(value, tuple | list) and self.shortest <= len(value) <= self.longest:
            try:
                return tuple(self.item.check(item) for item in value)
            except SettingError:
                pass
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Read items with commas between them."""
        return tuple(self.item.parse(part) for part in text.split(",")) if text.strip() else ()


@dataclass(frozen=True)
class NoneOr:
    """None, or a value within `domain`."""

    domain: IntRange | FloatRange | TupleOf

    def __str__(self) -> str:
        return f"none or {self.domain}"

    def check(self, value: object) -> Any:
        """Return None, or the checked value."""
        if value is None:
            return None
        try:
            return self.domain.check(value)
        except SettingError:
            raise SettingError(f"must be {self}, not {format_value(value)}.") from None

    def parse(self, text: str) -> Any:
        """Read "none" or a value."""
        return None if text.strip().lower() == "none" else self.domain.parse(text)


BOOLEAN = Choice((True, False))
SEED = IntRange(0, 2**32 - 1)


def checked(name: str, domain: Domain, value: object) -> Any:
    """Return the value of an argument, or say which argument is not legal.

    Raises:
        SettingError: The value is not in the domain.
    """
    try:
        return domain.check(value)
    except SettingError as error:
        raise SettingError(f"{name} {error}") from None


def check_groups(name: str, widths: tuple[int, ...], groups: int) -> None:
    """Say which setting gives maps that cannot be split into groups.

    Raises:
        SettingError: A width is no multiple of the groups.
    """
    if any(width % groups for width in widths):
        raise SettingError(f"{name} {format_value(widths)} cannot be split into {groups} groups; use multiples of it.")


def setting(default: Any, domain: Domain) -> Any:
    """Declare a field of a `Settings` class: its default and what else is legal."""
    return dataclasses.field(default=default, metadata={"domain": domain})


def format_value(value: object) -> str:
    """Write a setting's value as it is typed on a command line."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ",".join(map(format_value, value))
        case str():
            return value
        case float():
            return f"{value:g}"
        case _:
            return str(value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every set of free choices. Subclasses are frozen dataclasses whose fields are made by `free`."""

    def __post_init__(self) -> None:
        for name, domain in self.domains().items():
            try:
                object.__setattr__(self, name, domain.check(getattr(self, name)))
            except SettingError as error:
                raise SettingError(f"{name} {error}") from None
        self.check_together()

    def check_together(self) -> None:
        """Raise a `SettingError` where settings that are legal alone do not fit each other."""

    @classmethod
    def domains(cls) -> dict[str, Domain]:
        """Return the legal values of each setting, in the order in which the class names them."""
        return {field.name: field.metadata["domain"] for field in dataclasses.fields(cls)}

    @classmethod
    def domain(cls, name: str) -> Domain:
        """Return the legal values of the setting `name`.

        Raises:
            SettingError: There is no such setting.
        """
        domains = cls.domains()
        if name not in domains:
            hint = nearest(name, domains) or f" There are: {', '.join(domains)}."
            raise SettingError(f"there is no setting {name!r}.{hint}")
        return domains[name]

    def replace(self, changes: Mapping[str, object]) -> Self:
        """Return a copy with some settings changed.

        Raises:
            SettingError: A name is unknown or a value is not legal.
        """
        for name in changes:
            self.domain(name)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return dataclasses.asdict(self)

    def to_strings(self) -> dict[str, str]:
        """Return the settings by name, each written as on a command line."""
        return {name: format_value(value) for name, value in self.as_dict().items()}
