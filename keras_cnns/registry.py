"""Names to variants to networks: what exists, and how one is built."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keras_cnns import families
from keras_cnns.errors import ImageSizeError, ModelNameError, SettingError, nearest
from keras_cnns.family import Family, Variant
from keras_cnns.lazy import keras
from keras_cnns.settings import IntRange, Settings, checked

if TYPE_CHECKING:
    from keras import KerasTensor, Model

DEEPEST_RECURSION = 50_000
CLASSES = IntRange(1, 1_000_000)
SIDE = IntRange(1, 65_536)
CHANNELS = IntRange(1, 4_096)


@functools.cache
def all_families() -> dict[str, Family]:
    """Return every family by name: one for each file in `keras_cnns.families`."""
    modules = (module.name for module in pkgutil.iter_modules(families.__path__))
    found = (importlib.import_module(f"{families.__name__}.{name}").FAMILY for name in sorted(modules))
    return {family.name: family for family in found}


@functools.cache
def all_variants() -> dict[str, Family]:
    """Return the family of every variant, by the variant's name."""
    return {name: family for family in all_families().values() for name in family.variants}


def list_models(pattern: str = "*") -> list[str]:
    """List the names that `build` knows.

    Args:
        pattern: Wildcards as in a shell: `"resnet*"`, `"densenet-bc-*"`.

    Returns:
        The names in natural order (`resnet18` before `resnet101`).
    """
    names = fnmatch.filter(all_variants(), pattern)
    return sorted(names, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])


def find_variant(name: str) -> tuple[Family, Variant]:
    """Return a variant and its family.

    Raises:
        ModelNameError: No variant has this name; the message has the nearest ones.
    """
    family = all_variants().get(name)
    if family is None:
        if name in all_families():
            names = ", ".join(list(all_families()[name].variants)[:4])
            raise ModelNameError(f"{name!r} is a family of networks; name one of it: {names}, ...")
        hint = nearest(name, all_variants()) or " `keras-cnns models` lists all."
        raise ModelNameError(f"there is no network {name!r}.{hint}")
    return family, family.variants[name]


def network_settings(name: str, changes: Mapping[str, object]) -> Settings:
    """Return the settings of the variant `name` with some of them changed.

    Raises:
        ModelNameError: There is no such variant.
        SettingError: A setting is unknown or not legal.
    """
    _, variant = find_variant(name)
    try:
        return variant.settings.replace(changes)
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from None


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    **settings: object,
) -> Model:
    """Build a network, with fresh weights.

    Args:
        name: A variant's name, one of `list_models()`.
        input_shape: Height, width and channels of the images; the variant's own by default.
        classes: How many classes to tell apart; the variant's own by default.
        classifier_activation: What follows the logits, as in `keras.applications`: `"softmax"` for
            probabilities, None for the logits themselves.
        **settings: Free choices of the family that differ from the variant's.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to (batch, classes).

    Raises:
        ModelNameError: There is no such network.
        ImageSizeError: The images are too small for the network, or not height, width, channels.
        SettingError: A setting is unknown or not legal.

    Example:
        >>> build("densenet121", growth_rate=24, input_shape=(64, 64, 1), classes=2).output_shape
        (None, 2)
    """
    family, variant = find_variant(name)
    chosen = network_settings(name, settings)
    shape = check_image_shape(name, input_shape or variant.input_shape, family.smallest_side(chosen))
    classes = checked(f"{name}: classes", CLASSES, variant.classes if classes is None else classes)
    images = keras.Input(shape, name="images")
    outputs = family.network(images, chosen, classes)
    if classifier_activation is not None:
        outputs = activate(outputs, classifier_activation)
    with room_for_deep_graphs():
        return keras.Model(images, outputs, name=name)


@contextmanager
def room_for_deep_graphs() -> Iterator[None]:
    """Let Keras, which walks graphs recursively, walk those of more than a thousand layers."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST_RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def activate(logits: KerasTensor, activation: str) -> KerasTensor:
    """Apply a classifier's activation, in float32 whatever the precision of the network."""
    try:
        return keras.layers.Activation(activation, dtype="float32", name="predictions")(logits)
    except ValueError:
        message = f"classifier_activation must be an activation's name in Keras or None, not {activation!r}."
        raise SettingError(message) from None


def check_image_shape(name: str, input_shape: tuple[int, int, int], smallest: int) -> tuple[int, int, int]:
    """Return the shape, or say why images of this shape cannot enter the network `name`."""
    try:
        height, width, channels = input_shape
        shape = (SIDE.check(height), SIDE.check(width), CHANNELS.check(channels))
    except (TypeError, ValueError):
        message = f"{name}: input_shape must be (height, width, channels) in whole numbers, not {input_shape!r}."
        raise ImageSizeError(message) from None
    if min(height, width) < smallest:
        raise ImageSizeError(
            f"{name}: images of {height}x{width} pixels are too small; the smallest that works with these "
            f"settings is {smallest}x{smallest}; enlarge them with --image-size {smallest} (image_size={smallest})."
        )
    return shape
