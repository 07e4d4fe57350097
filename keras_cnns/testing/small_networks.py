"""Small versions of networks, with few layers and channels, for tests that hold for all networks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from keras_cnns.errors import SettingError
from keras_cnns.lazy import keras
from keras_cnns.networks.family import Family
from keras_cnns.networks.registry import build, find_variant, smallest_side
from keras_cnns.networks.settings import Domain, FloatRange, IntRange, NoneOr, Settings, TupleOf

SMALL_SIDE = 35  # pixels; not a power of two
SMALL_NUMBER = 2
CLASSES = 3
RANDOM_INITIALIZERS = ("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling")


@contextmanager
def without_random_weights() -> Iterator[None]:
    """Let networks begin with zeros as weights: random numbers take most of the time in which large ones are built."""

    def zeros(self: Any, shape: Sequence[int], dtype: Any = None, **options: Any) -> Any:  # noqa: ARG001
        return keras.ops.zeros(shape, dtype)

    with ExitStack() as stack:
        for kind in RANDOM_INITIALIZERS:
            stack.enter_context(mock.patch.object(getattr(keras.initializers, kind), "__call__", zeros))
        yield


def small_settings(name: str) -> dict[str, Any]:
    """Return the settings of a small version of a network: as few layers and channels as its structure allows.

    Every number that is a width or a number of layers, which are settings of whole numbers with a maximum above 256,
    and every tuple of whole numbers is reduced to 2 if the result is legal; a width multiplier to its minimum.
    """
    found: Settings = find_variant(name)[1].settings
    changes: dict[str, Any] = {}
    for setting, value in found.as_dict().items():
        candidate = small_value(value, found.domain(setting))
        if candidate == value:
            continue
        try:
            found = found.replace({setting: candidate})
        except SettingError:
            continue
        changes[setting] = candidate
    return changes


def small_value(value: Any, domain: Domain) -> Any:
    """Return a small value of a setting, or the value itself if it is not a width or a number of layers."""
    match domain:
        case NoneOr(domain=inner) if value is not None:
            return small_value(value, inner)
        case IntRange(high=high) if high > 256:
            return min(value, SMALL_NUMBER)
        case TupleOf(item=IntRange()):
            return tuple(min(item, SMALL_NUMBER) for item in value)
        case FloatRange(low=low, high=high) if high > 1.0 and value == 1.0:
            return max(low, 0.05)
    return value


def small_side(name: str) -> int:
    """Return an image side in pixels that a small network accepts."""
    family, variant = find_variant(name)
    return max(SMALL_SIDE, smallest_side(family, variant.settings.replace(small_settings(name))))


def build_small(name: str, *, channels: int = 3, side: int | None = None, **arguments: Any) -> Any:
    """Build a small version of a network for three classes."""
    side = side or small_side(name)
    options = {"input_shape": (side, side, channels), "classes": CLASSES, **small_settings(name), **arguments}
    return build(name, **options)


@functools.lru_cache(maxsize=64)
def shared_small(name: str) -> Any:
    """Return a small version of a network that tests share; its weights must not be changed."""
    return build_small(name)


def make_images(count: int, channels: int = 3, side: int = SMALL_SIDE) -> np.ndarray:
    """Return random images, shape (count, side, side, channels), float32, with mean 0 and variance 1."""
    return np.random.default_rng(0).normal(size=(count, side, side, channels)).astype("float32")


def distinct_variants(families: Sequence[Family]) -> list[str]:
    """Return one variant of each group of variants that are the same network in their small versions."""
    distinct: dict[tuple[str, Settings], str] = {}
    for family in families:
        for name, variant in family.variants.items():
            distinct.setdefault((family.name, variant.settings.replace(small_settings(name))), name)
    return list(distinct.values())


def covering_variants(families: Sequence[Family]) -> list[str]:
    """Return variants that together have every type of layer: at least one of each family, and as few as possible."""
    covered: set[str] = set()
    chosen: list[str] = []
    for family in families:
        networks = {name: {type(layer).__name__ for layer in shared_small(name).layers} for name in
                    distinct_variants((family,))}  # fmt: skip
        first = len(chosen)
        while len(chosen) == first or set.union(*networks.values()) - covered:
            name = max(networks, key=lambda name: len(networks[name] - covered))
            chosen.append(name)
            covered |= networks[name]
    return chosen
