"""keras-cnns: the classic convolutional networks, exact and variable, trained, searched and compared."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_cnns.data import Dataset, load
    from keras_cnns.errors import KerasCnnsError
    from keras_cnns.profiling import Profile, profile
    from keras_cnns.registry import build, list_models
    from keras_cnns.training import Recipe, train

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "keras_cnns.data",
    "KerasCnnsError": "keras_cnns.errors",
    "Profile": "keras_cnns.profiling",
    "Recipe": "keras_cnns.training",
    "build": "keras_cnns.registry",
    "list_models": "keras_cnns.registry",
    "load": "keras_cnns.data",
    "profile": "keras_cnns.profiling",
    "train": "keras_cnns.training",
}

__all__ = [
    "Dataset",
    "KerasCnnsError",
    "Profile",
    "Recipe",
    "build",
    "list_models",
    "load",
    "profile",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for: `import keras_cnns` loads no backend."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
