"""Small versions of every network, for tests that hold for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns import build, list_models
from keras_cnns.errors import SettingError
from keras_cnns.networks import families
from keras_cnns.networks.registry import all_families, all_variants, find_variant, smallest_side
from keras_cnns.networks.settings import Settings

VARIANTS = list_models()
SMALL_SIDE = 35
SHRUNK = {"growth_rate": 2, "stem_width": 2, "dense_width": 2, "width_multiplier": 0.05}


def small_settings(name: str) -> dict[str, Any]:
    """Return settings that make a network small and keep its structure: few layers and few channels."""
    _, variant = find_variant(name)
    settings: Settings = variant.settings
    changes: dict[str, Any] = {}
    for field, value in settings.as_dict().items():
        if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
            candidate = {field: tuple(min(2, item) for item in value)}
        elif field in SHRUNK and value is not None:
            candidate = {field: SHRUNK[field]}
        else:
            continue
        try:
            settings = settings.replace(candidate)
        except SettingError:
            continue
        changes |= candidate
    return changes


def small(name: str, *, channels: int = 3, side: int | None = None, **settings: Any) -> keras.Model:
    side = side or side_for(name)
    return build(name, input_shape=(side, side, channels), classes=3, **(small_settings(name) | settings))


def side_for(name: str) -> int:
    """Return an image side that is not a power of two, larger if the network needs it."""
    family, variant = find_variant(name)
    return max(SMALL_SIDE, smallest_side(family, variant.settings.replace(small_settings(name))))


def images(count: int, channels: int = 3, side: int = SMALL_SIDE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, side, side, channels)).astype("float32")


def distinct_networks() -> list[str]:
    """Return one of each group of variants that are the same network when they are small."""
    by_network: dict[Settings, str] = {}
    for name in VARIANTS:
        by_network.setdefault(find_variant(name)[1].settings.replace(small_settings(name)), name)
    return list(by_network.values())


DISTINCT = distinct_networks()


@contextmanager
def add_family(name: str, text: str, folder: Path) -> Iterator[None]:
    """Add a family the way a user does, with a file, and remove it afterwards."""
    (folder / f"{name}.py").write_text(text, "utf-8")
    families.__path__.append(str(folder))
    try:
        for cached in (all_families, all_variants):
            cached.cache_clear()
        yield
    finally:
        families.__path__.remove(str(folder))
        sys.modules.pop(f"keras_cnns.networks.families.{name}", None)
        for cached in (all_families, all_variants):
            cached.cache_clear()
