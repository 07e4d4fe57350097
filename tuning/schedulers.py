"""Who stops the trials that fall behind."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler


def make_scheduler(name: str, epochs: int) -> Any:
    """Return what stops trials early."""
    if name == "asha" and epochs > 1:
        return ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=max(1, epochs // 4), reduction_factor=3)
    return FIFOScheduler()
