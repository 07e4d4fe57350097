"""The arguments of a function that builds a network, as settings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import (
    BOOLEAN,
    Domain,
    FloatRange,
    IntRange,
    Settings,
    TupleOf,
    format_value,
    setting,
)

REQUIRED = ("input_shape", "classes")
ACTIVATION = "classifier_activation"
NOT_SETTINGS = frozenset({
    *REQUIRED, ACTIVATION, "weights", "include_top", "include_preprocessing", "input_tensor", "pooling", "name",
    "tracking_uri", "model",
})  # fmt: skip
"""Arguments that are not searched: those that every network has, and those of `keras.applications` that are fixed."""
LARGEST_INTEGER, LARGEST_NUMBER, MAX_LENGTH = 2**31 - 1, 1e12, 64
WORDS: Mapping[str, Any] = {"none": None, "true": True, "false": False}


@dataclass(frozen=True)
class Literal:
    """Any number, text, boolean, None, or tuple of them; the function decides which of them are valid."""

    def __str__(self) -> str:
        return "a number, a text, true, false, none, or several of them"

    def check(self, value: object) -> Any:
        """Return the value, with tuples instead of lists."""
        if isinstance(value, list | tuple):
            return tuple(map(self.check, value))
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> Any:
        """Return the Python literal, or else the text itself."""
        word = text.strip().lower()
        if word in WORDS:
            return WORDS[word]
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            return text


@dataclass(frozen=True)
class Text:
    """Any text."""

    def __str__(self) -> str:
        return "a text"

    def check(self, value: object) -> str:
        """Return the text."""
        if isinstance(value, str):
            return value
        raise SettingError(f"must be {self}, not {format_value(value)}.")

    def parse(self, text: str) -> str:
        """Return the text."""
        return text


DOMAINS: Mapping[type, Domain] = {
    bool: BOOLEAN,
    int: IntRange(-LARGEST_INTEGER, LARGEST_INTEGER),
    float: FloatRange(-LARGEST_NUMBER, LARGEST_NUMBER),
    str: Text(),
    type(None): Literal(),
}
"""The legal values of an argument by the type of its default value."""


def choose_domain(default: object) -> Domain | None:
    """Return the legal values of an argument with a default value; None if it is not a setting."""
    if not isinstance(default, list | tuple):
        return DOMAINS.get(type(default))
    item = choose_domain(default[0]) if default else Literal()
    return None if item is None else TupleOf(item, 0, MAX_LENGTH)


def read_arguments(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a function that are settings, with their default values.

    Raises:
        SettingError: The function does not take an image shape and a number of classes, or needs more arguments.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise SettingError(f"{name}: the arguments of the function are not known; use a function of Python.") from None
    by_keyword = {parameter.name: parameter for parameter in parameters if parameter.kind in {
        inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}}  # fmt: skip
    for required in REQUIRED:
        if required not in by_keyword:
            raise SettingError(f"{name}: the function must take the arguments {' and '.join(REQUIRED)}.")
    arguments = {}
    for parameter in by_keyword.values():
        if parameter.name in REQUIRED:
            continue
        if parameter.default is parameter.empty:
            raise SettingError(f"{name}: the argument {parameter.name} of the function needs a default value.")
        if parameter.name in Recipe.domains() or hasattr(Settings, parameter.name):
            reserved = "a setting of the recipe" if parameter.name in Recipe.domains() else "reserved"
            raise SettingError(
                f"{name}: {parameter.name} is {reserved}; give the argument of the function another name."
            )
        if parameter.name not in NOT_SETTINGS and choose_domain(parameter.default) is not None:
            arguments[parameter.name] = parameter.default
    return arguments


def make_settings_class(
    function: Callable[..., Any], arguments: Mapping[str, Any], reduce: Callable[[Settings], Any]
) -> type[Settings]:
    """Return the class of the settings of a function.

    Args:
        function: The function; its docstring describes the settings.
        arguments: Names and default values of the settings.
        reduce: How an instance is pickled, as `__reduce__`.
    """
    documentation = (inspect.getdoc(function) or "").replace("\nArgs:\n", "\nAttributes:\n")
    fields = [
        (name, Any, setting(tuple(default) if isinstance(default, list) else default, domain))
        for name, default in arguments.items()
        if (domain := choose_domain(default)) is not None
    ]  # fmt: skip
    namespace = {"__doc__": documentation or "Settings of a baseline.", "__reduce__": reduce}
    made: type[Settings] = dataclasses.make_dataclass(
        "BaselineSettings", fields, bases=(Settings,), namespace=namespace, frozen=True, kw_only=True
    )  # fmt: skip
    return made
