"""Modules that are imported when they are first used.

Names, settings and counts of a network are wanted by programs that never build one: shell completion, the
driver of a sweep, `list_models`. They shall not wait for a backend.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any


class LazyModule:
    """Stands for a module until one of its attributes is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


def load_backend() -> None:
    """Import the backend without what its native libraries say of the machine; errors are raised as ever."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        importlib.import_module("keras")
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


if TYPE_CHECKING:
    import keras

    from keras_cnns import drawing, layers
else:
    keras = LazyModule("keras")
    drawing = LazyModule("keras_cnns.drawing")
    layers = LazyModule("keras_cnns.layers")

__all__ = ["LazyModule", "drawing", "keras", "layers", "load_backend"]
