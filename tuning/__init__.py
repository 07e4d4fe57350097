"""Search for networks and recipes with Ray Tune."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.finishing.result import SweepResult
    from tuning.search import sweep

__all__ = ["SweepResult", "sweep"]


def __getattr__(name: str) -> Any:
    """Import Ray at the first use of a sweep."""
    if name in __all__:
        return getattr(importlib.import_module("tuning.search"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
