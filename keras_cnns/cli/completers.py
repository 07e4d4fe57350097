"""Values that shells complete: names of networks, and settings with their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_cnns.errors import KerasCnnsError
from keras_cnns.networks.settings import Choice, format_value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from keras_cnns.networks.settings import Domain

    Completer = Callable[..., Iterable[str]]


def complete_with(completer: Completer, action: argparse.Action) -> None:
    """Let shells complete the values of an argument."""
    action.completer = completer  # type: ignore[attr-defined]


def complete_models(prefix: str, **_: Any) -> list[str]:
    """Return the names of networks; those of Keras if the text begins with a part of "keras:"."""
    from keras_cnns.networks.baselines.names import KERAS, list_keras_networks  # noqa: PLC0415 - only for completion
    from keras_cnns.networks.registry import list_models  # noqa: PLC0415 - imports all families

    of_keras = list_keras_networks() if prefix and prefix[: len(KERAS)] == KERAS[: len(prefix)] else ()
    return [*list_models(), *of_keras]


def complete_searches(prefix: str, **_: Any) -> list[str]:
    """Return what a sweep can search: all families, a family, or variations of a network."""
    from keras_cnns.networks.registry import all_families  # noqa: PLC0415 - imports all families

    return ["all", *all_families(), *complete_models(prefix)]


def complete_assignments(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return NAME= for each setting or, after the name, NAME=VALUE for each value of a choice."""
    name, equals = prefix.partition("=")[:2]
    domains = find_domains(parsed_args)
    if not equals:
        return [f"{name}=" for name in domains]
    domain = domains.get(name)
    return [f"{name}={format_value(value)}" for value in domain.values] if isinstance(domain, Choice) else []


def find_domains(arguments: argparse.Namespace) -> dict[str, Domain]:
    """Return the settings of the network of a command, of all families if it is not known, and those of a recipe."""
    from keras_cnns.networks.recipe import Recipe  # noqa: PLC0415 - only for completion
    from keras_cnns.networks.registry import all_families, find_variant  # noqa: PLC0415 - imports all families

    families = all_families()
    name = getattr(arguments, "model", None) or ""
    try:
        found = [families[name]] if name in families else [find_variant(name)[0]]
    except KerasCnnsError:
        found = list(families.values())
    domains = Recipe.domains() if hasattr(arguments, "recipe") else {}
    for family in found:
        domains |= next(iter(family.variants.values())).settings.domains()
    return domains
