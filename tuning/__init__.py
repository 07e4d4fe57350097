"""Search for networks and recipes, and cross-validation, with Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_cnns.lazy import import_needed

if TYPE_CHECKING:
    from tuning.cross_validation import cross_validate
    from tuning.finishing.result import SweepResult
    from tuning.search import sweep

_MODULES = {"SweepResult": "search", "cross_validate": "cross_validation", "sweep": "search"}

__all__ = ["SweepResult", "cross_validate", "sweep"]


def __getattr__(name: str) -> Any:
    """Import Ray at the first use of a public name."""
    if name in _MODULES:
        return getattr(import_needed(f"tuning.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
