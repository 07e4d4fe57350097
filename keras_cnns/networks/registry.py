"""Names to variants to networks: what exists, and how one is built."""

from __future__ import annotations

import bisect
import fnmatch
import functools
import importlib
import math
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import ImageSizeError, ModelNameError, SettingError, nearest
from keras_cnns.lazy import keras
from keras_cnns.networks import families
from keras_cnns.networks.backend import auxiliary, weight_init
from keras_cnns.networks.counting import Counts, SymbolicTensor, Tally, TooSmallError
from keras_cnns.networks.family import Family, Variant
from keras_cnns.networks.graph import room_for_deep_graphs
from keras_cnns.networks.settings import IntRange, Settings, checked

if TYPE_CHECKING:
    from keras import KerasTensor, Model

CLASSES = IntRange(1, 1_000_000)
SIDE = IntRange(1, 65_536)
CHANNELS = IntRange(1, 4_096)


@functools.cache
def all_families() -> dict[str, Family]:
    """Return every family by name: one for each file in `keras_cnns.networks.families`."""
    modules = (module.name for module in pkgutil.iter_modules(families.__path__))
    found = (importlib.import_module(f"{families.__name__}.{name}").FAMILY for name in sorted(modules))
    return {family.name: family for family in found}


@functools.cache
def all_variants() -> dict[str, Family]:
    """Return the family of every variant, by the variant's name."""
    return {name: family for family in all_families().values() for name in family.variants}


def list_models(
    pattern: str = "*",
    *,
    family: str | None = None,
    min_parameters: int | None = None,
    max_parameters: int | None = None,
    year: int | None = None,
) -> list[str]:
    """List the names that `build` knows.

    Args:
        pattern: Wildcards as in a shell: `"resnet*"`, `"densenet-bc-*"`.
        family: Only networks of this family.
        min_parameters: Only networks of as many parameters at least, for the images and classes they were made for.
        max_parameters: Only networks of as many parameters at most.
        year: Only networks whose family was published in this year.

    Returns:
        The names in natural order (`resnet18` before `resnet101`).

    Raises:
        ModelNameError: There is no such family; the message has the nearest ones.

    Example:
        >>> list_models("resnet*", max_parameters=300_000)
        ['resnet-cifar-20', 'resnet-cifar-20-v2']
    """
    if family is not None and family not in all_families():
        hint = nearest(family, all_families()) or f" There are: {', '.join(all_families())}."
        raise ModelNameError(f"there is no family {family!r}.{hint}")

    def fits(name: str) -> bool:
        found = all_variants()[name]
        if family not in (None, found.name) or year not in (None, *(paper.year for paper in found.papers)):
            return False
        if min_parameters is None and max_parameters is None:
            return True
        parameters = count(name).total_parameters
        return (min_parameters or 0) <= parameters <= (math.inf if max_parameters is None else max_parameters)

    names = filter(fits, fnmatch.filter(all_variants(), pattern))
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
    plan = make_plan(name, input_shape=input_shape, classes=classes, settings=settings)
    images = keras.Input(plan.input_shape, name="images")
    return connect(plan, images, images, classifier_activation)


def count(
    name: str, *, input_shape: tuple[int, int, int] | None = None, classes: int | None = None, **settings: object
) -> Counts:
    """Count what a network costs from its settings alone, in about a millisecond: nothing is built.

    The arguments are those of `build`, and so are the errors. The counts equal those of `profile`.

    Example:
        >>> count("densenet121").trainable_parameters
        7978856
    """
    plan = make_plan(name, input_shape=input_shape, classes=classes, settings=settings)
    return plan.tally.counts()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network that can be built: all that `build` settles before it loads a backend."""

    name: str
    family: Family
    settings: Any
    input_shape: tuple[int, int, int]
    classes: int
    tally: Tally


def make_plan(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None,
    classes: int | None,
    settings: Mapping[str, object],
) -> Plan:
    """Settle the arguments of `build`, with its errors."""
    family, variant = find_variant(name)
    chosen = network_settings(name, settings)
    shape = check_image_shape(name, input_shape or variant.input_shape)
    classes = checked(f"{name}: classes", CLASSES, variant.classes if classes is None else classes)
    try:
        tally = tally_network(family, chosen, shape, classes)
    except TooSmallError:
        smallest = smallest_side(family, chosen)
        raise ImageSizeError(
            f"{name}: images of {shape[0]}x{shape[1]} pixels are too small; the smallest that works with these "
            f"settings is {smallest}x{smallest}; enlarge them with --image-size {smallest} (image_size={smallest})."
        ) from None
    return Plan(name=name, family=family, settings=chosen, input_shape=shape, classes=classes, tally=tally)


def tally_network(family: Family, settings: Settings, shape: tuple[int, int, int], classes: int) -> Tally:
    """Count what a network costs.

    Raises:
        TooSmallError: The images are too small for it.
    """
    tally = Tally()
    family.network(SymbolicTensor(*shape, tally), settings, classes)
    return tally


def smallest_side(family: Family, settings: Settings) -> int:
    """Return the side in pixels of the smallest square images that a network can take."""

    def works(side: int) -> bool:
        try:
            tally_network(family, settings, (side, side, 1), 1)
        except TooSmallError:
            return False
        return True

    return bisect.bisect_left(range(SIDE.high), x=True, key=lambda side: side > 0 and works(side))


def connect(plan: Plan, inputs: KerasTensor, images: KerasTensor, classifier_activation: str | None) -> Model:
    """Build a planned network on a tensor of images, into a model from `inputs`."""
    with weight_init.drawing_ahead(plan.tally.trainable):
        outputs = plan.family.network(images, plan.settings, plan.classes)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    if classifier_activation is not None:
        names = ["predictions", *(f"auxiliary{head}_predictions" for head in range(1, len(outputs)))]
        outputs = [activate(logits, classifier_activation, name) for logits, name in zip(outputs, names, strict=True)]
    main, *heads = outputs
    with room_for_deep_graphs():
        weight = plan.settings.auxiliary_weight if heads else 0.0
        return auxiliary.connect(inputs, main, heads, weight=weight, name=plan.name)


def activate(logits: KerasTensor, activation: str, name: str) -> KerasTensor:
    """Apply a classifier's activation, in float32 whatever the precision of the network."""
    try:
        return keras.layers.Activation(activation, dtype="float32", name=name)(logits)
    except ValueError:
        message = f"classifier_activation must be an activation's name in Keras or None, not {activation!r}."
        raise SettingError(message) from None


def check_image_shape(name: str, input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape, or say why it is none of images."""
    try:
        height, width, channels = input_shape
        return SIDE.check(height), SIDE.check(width), CHANNELS.check(channels)
    except (TypeError, ValueError):
        message = f"{name}: input_shape must be (height, width, channels) in whole numbers, not {input_shape!r}."
        raise ImageSizeError(message) from None
