"""Turn parsed arguments into datasets and settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import CHANNELS, CLASSES, SIDE, find_variant
from keras_cnns.networks.settings import check_argument

if TYPE_CHECKING:
    import argparse

    from keras_cnns.data import Dataset
    from keras_cnns.networks.settings import Domain, Settings


READING = (
    "image_size", "channels", "resize", "window", "bits", "value_range", "frames", "root", "patient_pattern",
    "positive", "fold", "split_at", "stream", "leaks", "skip_broken", "keep_ids",
)  # fmt: skip
"""The options of `add_reading` and `add_data` that are arguments of `load`."""


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_reading` and `add_data` that were given, as keyword arguments of `load`."""
    options = {name: getattr(arguments, name, None) for name in READING} | {"seed": arguments.split_seed}
    return {name: value for name, value in options.items() if value is not None}


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingError: The file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path} is not UTF-8 text, which TOML requires.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not TOML: {error}.".replace("\n", " ")) from None


def load_images(arguments: argparse.Namespace) -> Dataset:
    """Load the dataset of `add_data`."""
    from keras_cnns.data import load  # noqa: PLC0415 - imports pandas

    return load(arguments.data, **reading_options(arguments))


def read_network(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_network` that were given, as keyword arguments of `build`.

    Raises:
        KerasCnnsError: There is no such network, or one of its settings is not valid.
    """
    _, variant = find_variant(arguments.model)
    changes: dict[str, Any] = {}
    for assignment in arguments.assignments:
        name, text = split_assignment(assignment)
        changes[name] = parse_value(assignment, name, text, variant.settings.domain(name))
    height, width, channels = variant.input_shape
    if arguments.image_size is not None:
        height = width = check_argument("--image-size", SIDE, arguments.image_size)
    if arguments.channels is not None:
        channels = check_argument("--channels", CHANNELS, arguments.channels)
    if (height, width, channels) != variant.input_shape:
        changes["input_shape"] = (height, width, channels)
    if arguments.classes is not None:
        changes["classes"] = check_argument("--classes", CLASSES, arguments.classes)
    return changes


def read_assignments(arguments: argparse.Namespace, settings: type[Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes of `--set`, `--epochs` and `--batch-size` to the recipe and to the network.

    Raises:
        SettingError: An assignment is not NAME=VALUE, its name is unknown or its value is not valid.
    """
    given = {"epochs": arguments.epochs, "batch_size": arguments.batch_size}
    recipe_changes = {name: value for name, value in given.items() if value is not None}
    network_changes: dict[str, Any] = {}
    domains = {**settings.domains(), **Recipe.domains()}
    for assignment in arguments.assignments:
        name, text = split_assignment(assignment)
        if name not in domains:
            hint = nearest(name, domains) or f" Valid names: {', '.join(domains)}."
            raise SettingError(f"--set {assignment}: neither the network nor the recipe has a setting {name!r}.{hint}")
        changes = recipe_changes if name in Recipe.domains() else network_changes
        changes[name] = parse_value(assignment, name, text, domains[name])
    return recipe_changes, network_changes


def split_assignment(assignment: str) -> tuple[str, str]:
    """Split NAME=VALUE into name and value."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise SettingError(f"--set {assignment}: write NAME=VALUE, with = between them.")
    return name, text


def parse_value(assignment: str, name: str, text: str, domain: Domain) -> Any:
    """Parse the value of a `--set` option, or raise a `SettingError` that says which values are valid."""
    return check_argument(f"--set {assignment}: {name}", domain, domain.parse(text))
