"""Files for `keras-cnns train --config`: read, checked and combined with the options of the command line."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from keras_cnns.cli.inputs import READING, read_toml
from keras_cnns.data import load
from keras_cnns.errors import SettingError, nearest_or_all
from keras_cnns.networks.baselines.functions import check_recorded, find_code
from keras_cnns.networks.baselines.names import is_baseline
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import find_variant
from keras_cnns.networks.settings import check_argument

if TYPE_CHECKING:
    import argparse

    from keras_cnns.networks.settings import Domain

ARGUMENTS = {"model": str, "seed": int, "weights": str, "folds": int, "fold_by": str}
TABLES = ("data", "settings", "recipe")
SPLIT_OPTIONS = ("fold", "folds", "fold_by")
"""Options of which one at most can be used: one on the command line replaces those of the file."""
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class ConfigFile:
    """The values of a file that the options of the command line have left.

    Attributes:
        settings: Settings of the network.
        recipe: Values of the recipe.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


def apply_config(arguments: argparse.Namespace) -> ConfigFile:
    """Fill in the options that were not given, from the file of `--config` or with their defaults.

    The settings in the file are those of its network, so they do not apply to another one on the command line; nor does
    its recipe, if the command line names one.

    Raises:
        KerasCnnsError: The file cannot be read, or has an unknown key or a value that is not valid.
    """
    config = ConfigFile() if arguments.config is None else read_config(arguments.config, arguments)
    defaults = {"data": "digits", "seed": 0}
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.model is None:
        raise SettingError("name a network, or a file that does (--config); `keras-cnns models` lists the networks.")
    return config


def read_config(path: str, arguments: argparse.Namespace) -> ConfigFile:
    """Read a file, fill in the options that were not given, and return the settings and the recipe.

    Raises:
        KerasCnnsError: The file cannot be read, or has an unknown key or a value that is not valid.
    """
    content = read_toml(path)
    check_keys(path, content, (*ARGUMENTS, *TABLES))
    for name in TABLES:
        if not isinstance(content.setdefault(name, {}), dict):
            raise SettingError(f"{path}: {name} must be a table; write [{name}] above its values.")
    tables = {name: content.pop(name) for name in TABLES}
    for name, value in content.items():
        check_type(f"{path}: {name}", ARGUMENTS[name], value)
    images = read_data(path, tables["data"])
    if arguments.data is None and "data" not in images:
        raise SettingError(f"{path}: does not name the images; add source to the table [data], or use --data.")
    recipe = check_values(path, "recipe", tables["recipe"], Recipe.domains())
    model = content.get("model", arguments.model)
    settings = {}
    if arguments.model in (None, model):
        settings = read_settings(path, model, tables["settings"], is_named=arguments.model is not None)
    fill_in(arguments, {**content, **images})
    return ConfigFile(settings=settings, recipe={} if arguments.probe or arguments.recipe else recipe)


def read_settings(path: str, model: str | None, table: Mapping[str, Any], *, is_named: bool) -> dict[str, Any]:
    """Return the values of the table [settings].

    A file can come from somebody else, so it does not execute the user's code for the first time.

    Args:
        path: The file.
        model: The network.
        table: The table.
        is_named: Whether the command line names the network.

    Raises:
        KerasCnnsError: A value is not valid, or the network is not known.
    """
    if model is None:
        raise SettingError(f"{path}: does not name a network; add model, or name one before --config.")
    if is_baseline(model) and not is_named:
        check_recorded(model, find_code(model))
    return check_values(path, "settings", table, find_variant(model)[1].settings.domains())


def read_data(path: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the table [data] by the names of the options of the command line."""
    hints = get_type_hints(load)
    types_by_key = {"source": str, **{name: hints[name] for name in READING}, "split_seed": int}
    check_keys(f"{path}: [data]", table, types_by_key)
    for name, value in table.items():
        check_type(f"{path}: data.{name}", types_by_key[name], value)
    return {"data" if name == "source" else name: value for name, value in table.items()}


def fill_in(arguments: argparse.Namespace, values: Mapping[str, Any]) -> None:
    """Set the options that were not given on the command line."""
    is_split_given = any(getattr(arguments, name) is not None for name in SPLIT_OPTIONS)
    for name, value in values.items():
        if getattr(arguments, name) is None and not (is_split_given and name in SPLIT_OPTIONS):
            setattr(arguments, name, value)


def check_values(
    path: str, table: str, values: Mapping[str, Any], domains: Mapping[str, Domain]
) -> dict[str, Any]:  # fmt: skip
    """Return the values of a table of settings, whose texts are read as those of `--set`, such as "none"."""
    check_keys(f"{path}: [{table}]", values, domains)
    return {
        name: check_argument(
            f"{path}: {table}.{name}", domains[name], domains[name].parse(value) if isinstance(value, str) else value
        )
        for name, value in values.items()
    }


def check_keys(where: str, found: Mapping[str, Any], known: Any) -> None:
    """Raise a `SettingError` that suggests similar keys if a key is unknown."""
    for name in found:
        if name not in known:
            raise SettingError(f"{where} has an unknown key {name!r}.{nearest_or_all(name, known)}")


def check_type(name: str, hint: Any, value: object) -> None:
    """Raise a `SettingError` that says which type a value must have if it does not fit a type annotation."""
    if not fits(value, hint):
        raise SettingError(f"{name} must be {describe(hint)}, not {value!r}.")


def fits(value: object, hint: Any) -> bool:
    """Return whether a value of a TOML file fits a type annotation; arrays are tuples, and whole numbers floats."""
    parts = get_args(hint)
    if is_union(hint):
        return any(fits(value, part) for part in parts)
    if get_origin(hint) is tuple:
        return isinstance(value, list) and len(value) == len(parts) and all(map(fits, value, parts))
    return type(value) is hint or (hint is float and type(value) is int)


def describe(hint: Any) -> str:
    """Describe the values of a TOML file that fit a type annotation."""
    if is_union(hint):
        return " or ".join(describe(part) for part in get_args(hint) if fits_toml(part))
    if get_origin(hint) is tuple:
        return f"[{', '.join(map(describe, get_args(hint)))}]"
    return WORDS[hint]


def fits_toml(hint: Any) -> bool:
    """Return whether TOML has values of a type."""
    return hint in WORDS or get_origin(hint) is tuple


def is_union(hint: Any) -> bool:
    """Return whether a type annotation has alternatives."""
    return get_origin(hint) in (Union, types.UnionType)
