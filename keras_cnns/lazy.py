"""Modules that are imported when they are first used.

Names, settings and counts of a network are wanted by programs that never build one: shell completion, the
driver of a sweep, `list_models`. They shall not wait for a backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class LazyModule:
    """Stands for a module until one of its attributes is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


if TYPE_CHECKING:
    import keras

    from keras_cnns import layers
else:
    keras = LazyModule("keras")
    layers = LazyModule("keras_cnns.layers")

__all__ = ["LazyModule", "keras", "layers"]
