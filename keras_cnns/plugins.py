"""Families, data sources and metrics of other packages, found through their entry points."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TypeVar

from keras_cnns.errors import first_line

Plugin = TypeVar("Plugin")


class PluginWarning(UserWarning):
    """A plugin cannot be used and is skipped."""


def load_plugins(group: str, kind: type[Plugin]) -> Iterator[Plugin]:
    """Yield the objects that installed packages provide for a registry, in the order of their names.

    A plugin that cannot be imported must not break the commands that do not need it, so it is skipped with a
    `PluginWarning`.

    Args:
        group: The registry: "families", "sources" or "metrics". The entry point group is `keras_cnns.` and this name.
        kind: Class of the objects.
    """
    for entry in sorted(entry_points(group=f"keras_cnns.{group}"), key=lambda entry: entry.name):
        plugin = f"{entry.value} ({group})"
        try:
            found = entry.load()
        except Exception as error:  # noqa: BLE001 - the code of another package can raise anything
            warn_skipped(plugin, first_line(error))
            continue
        if isinstance(found, kind):
            yield found
        else:
            warn_skipped(plugin, f"it is not a {kind.__name__}")


def warn_skipped(plugin: str, reason: str) -> None:
    """Warn that a plugin is skipped."""
    warnings.warn(f"the plugin {plugin} is skipped: {reason}.", PluginWarning, stacklevel=3)
