"""Entries of the registries: modules of our own packages, and objects of others, found through their entry points."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from keras_cnns.errors import first_line

Plugin = TypeVar("Plugin")


class PluginWarning(UserWarning):
    """A plugin cannot be used and is skipped."""


def import_modules(package: str, path: Iterable[str]) -> list[ModuleType]:
    """Import the modules of a package of entries, in the order of their names.

    Args:
        package: Name of the package.
        path: Its `__path__`.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(path))
    return [importlib.import_module(f"{package}.{name}") for name in names]


def load_plugins(
    group: str,
    kind: type[Plugin],
    *,
    taken: Iterable[str] = (),
    names: Callable[[Plugin], Iterable[str]] = lambda _: (),
) -> Iterator[Plugin]:
    """Yield the objects that installed packages provide for a registry, in the order of their names.

    A plugin that cannot be imported, or one of whose names is taken, must not break the commands that do not need it,
    so it is skipped with a `PluginWarning`.

    Args:
        group: The registry: "families", "sources" or "metrics". The entry point group is `keras_cnns.` and this name.
        kind: Class of the objects.
        taken: The names in the registry.
        names: Returns the names that an object would have in the registry.
    """
    known = set(taken)
    for entry in sorted(entry_points(group=f"keras_cnns.{group}"), key=lambda entry: entry.name):
        try:
            found = entry.load()
        except Exception as error:  # noqa: BLE001 - the code of another package can raise anything
            problem = first_line(error)
        else:
            problem = "" if isinstance(found, kind) else f"it is not a {kind.__name__}"
        own = set() if problem else set(names(found))
        if known & own:
            problem = f"the name {min(known & own)} is taken"
        if problem:
            message = f"the plugin {entry.value} ({group}) is skipped: {problem}."
            warnings.warn(message, PluginWarning, stacklevel=2)
        else:
            known |= own
            yield found
