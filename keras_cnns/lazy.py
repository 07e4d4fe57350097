"""Import a module at its first use.

Programs that never build a network read names, settings and counts of networks: shell completion, the driver of a
sweep, `list_models`. They must not wait for a backend.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any


class LazyModule:
    """Stands for a module and imports it when one of its attributes is read.

    Args:
        name: The module's full name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


def load_backend() -> None:
    """Import the backend without the start-up messages of its native libraries; errors are raised as usual."""
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
else:
    keras = LazyModule("keras")

__all__ = ["LazyModule", "keras", "load_backend"]
