"""Lazy imports of Keras, so that names, settings and counts of networks are available without loading a backend."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any


class LazyModule:
    """A module that is imported when one of its attributes is first read.

    Args:
        name: Full name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


def load_backend() -> None:
    """Import Keras and its backend and suppress what their native libraries print on import."""
    sys.stderr.flush()
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        importlib.import_module("keras")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


if TYPE_CHECKING:
    import keras
else:
    keras = LazyModule("keras")

__all__ = ["LazyModule", "keras", "load_backend"]
