"""Registry of families and variants, and `build`, which turns a name into a network."""

from __future__ import annotations

import bisect
import fnmatch
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import CountError, ImageSizeError, ModelNameError, SettingError, nearest, nearest_or_all
from keras_cnns.lazy import keras
from keras_cnns.networks import families
from keras_cnns.networks.backend import auxiliary, weight_init
from keras_cnns.networks.baselines.families import find_baseline
from keras_cnns.networks.baselines.names import KERAS, is_baseline, list_keras_networks, to_file_name
from keras_cnns.networks.counting import CostCounter, Counts, SymbolicTensor, TooSmallError
from keras_cnns.networks.family import Family, Variant
from keras_cnns.networks.graph import raised_recursion_limit
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.settings import IntRange, Settings, check_argument
from keras_cnns.plugins import import_modules, load_plugins

if TYPE_CHECKING:
    from keras import KerasTensor, Model

CLASSES = IntRange(1, 1_000_000)
SIDE = IntRange(1, 65_536)
CHANNELS = IntRange(1, 4_096)

WEIGHTS = "it is an argument of keras_cnns.build and of training, and does not change the costs"
FEATURES = "use keras_cnns.features(model, [...]) for the outputs of layers before the classifier"
HINTS = {
    "weights": WEIGHTS,
    "pretrained": "use weights='imagenet' for published weights",
    "num_classes": "use classes",
    "include_top": FEATURES,
    "features_only": FEATURES,
    "pooling": FEATURES + " and add a pooling layer",
    "input_tensor": "call the network on the tensor: build(...)(tensor)",
    "in_chans": "use input_shape, which is (height, width, channels)",
    "data_format": "networks take images as (height, width, channels)",
    "drop_rate": "use dropout for networks that have this setting",
    "aux_logits": "use auxiliary_classifiers for networks that have this setting",
    "classifier_activation": "it is an argument of build only and does not change the counts",
}
"""Arguments of Keras, timm and torchvision that are not settings, and what to use instead."""


@functools.cache
def all_families() -> dict[str, Family]:
    """Return all families by name: those of the modules in `keras_cnns.networks.families`, and plugins."""

    def names(family: Family) -> tuple[str, ...]:
        return (family.name, *family.variants)

    ours = [module.FAMILY for module in import_modules(families.__name__, families.__path__)]
    taken = (name for family in ours for name in names(family))
    return {family.name: family for family in (*ours, *load_plugins("families", Family, taken=taken, names=names))}


def all_blocks() -> dict[str, Callable[..., Any]]:
    """Return the public blocks of all families by name."""
    return {block.__name__: block for family in all_families().values() for block in family.blocks}


@functools.cache
def all_variants() -> dict[str, Family]:
    """Return the family of each variant by the variant's name."""
    return {name: family for family in all_families().values() for name in family.variants}


def list_models(
    pattern: str = "*",
    *,
    family: str | None = None,
    min_parameters: int | None = None,
    max_parameters: int | None = None,
    year: int | None = None,
) -> list[str]:
    """List the names of networks that `build` accepts.

    Args:
        pattern: Shell-style wildcards, such as `"resnet*"` or `"densenet-bc-*"`.
        family: Only networks of this family.
        min_parameters: Only networks with at least this many parameters, for their default images and classes.
        max_parameters: Only networks with at most this many parameters.
        year: Only networks of families published in this year.

    Returns:
        The names in natural order (`resnet18` before `resnet101`).

    Raises:
        ModelNameError: There is no such family; the message suggests similar names.

    Example:
        >>> list_models("resnet*", max_parameters=300_000)
        ['resnet-cifar-20', 'resnet-cifar-20-v2']
    """
    if family is not None and family not in all_families():
        raise ModelNameError(f"unknown family {family!r}.{nearest_or_all(family, all_families())}")

    def matches(name: str) -> bool:
        found = all_variants()[name]
        if family not in (None, found.name) or year not in (None, *(paper.year for paper in found.papers)):
            return False
        if min_parameters is None and max_parameters is None:
            return True
        parameters = count(name).total_parameters
        return (min_parameters or 0) <= parameters <= (math.inf if max_parameters is None else max_parameters)

    names = filter(matches, fnmatch.filter(all_variants(), pattern))
    return sorted(names, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])


def find_variant(name: str) -> tuple[Family, Variant]:
    """Return a variant and its family, or a baseline: `keras:NAME`, `FILE.py:FUNCTION` or `MODULE:FUNCTION`.

    Raises:
        ModelNameError: There is no variant with this name; the message suggests similar names.
        SettingError: The function of a baseline cannot be used.
    """
    if is_baseline(name):
        family = find_baseline(name)
        return family, family.variants[name]
    found = all_variants().get(name)
    if found is None:
        if name in all_families():
            names = ", ".join(list(all_families()[name].variants)[:4])
            raise ModelNameError(f"{name!r} is a family of networks; choose one of its networks: {names}, ...")
        hint = nearest(name, all_variants()) or " `keras-cnns models` lists all networks."
        if f"{KERAS}:{name}" in list_keras_networks():
            hint = f" Did you mean '{KERAS}:{name}'?"
        raise ModelNameError(f"unknown network {name!r}.{hint}")
    return found, found.variants[name]


def network_settings(name: str, changes: Mapping[str, object]) -> Settings:
    """Return the settings of a variant with some of them changed.

    Raises:
        ModelNameError: There is no such variant.
        SettingError: A setting is unknown or not legal.
    """
    _, variant = find_variant(name)
    for argument in changes:
        if argument in HINTS and argument not in variant.settings.domains():
            raise SettingError(f"{name}: {argument} is not a setting: {HINTS[argument]}.")
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
    """Build a network with random initial weights.

    Args:
        name: Name of a variant, one of `list_models()`.
        input_shape: Height, width and channels of the images; by default those of the variant.
        classes: Number of classes; by default that of the variant.
        classifier_activation: Activation of the classifier, as in `keras.applications`: `"softmax"` for probabilities,
            None for logits.
        **settings: Settings of the family that differ from the variant's.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to (batch, classes).

    Raises:
        ModelNameError: There is no such network.
        ImageSizeError: The images are too small for the network, or `input_shape` is not (height, width, channels).
        SettingError: A setting is unknown or not legal.

    Example:
        >>> build("densenet121", growth_rate=24, input_shape=(64, 64, 1), classes=2).output_shape
        (None, 2)
    """
    plan = make_plan(name, input_shape=input_shape, classes=classes, settings=settings)
    images = keras.Input(plan.input_shape, name="images")
    return build_model(plan, images, images, classifier_activation)


def count(
    name: str, *, input_shape: tuple[int, int, int] | None = None, classes: int | None = None, **settings: object
) -> Counts:
    """Count the parameters and multiply-accumulates of a network without building it, in about a millisecond.

    Takes the arguments of `build`, except `classifier_activation`, and raises the same errors. The counts equal those
    of `profile`.

    Example:
        >>> count("densenet121").trainable_parameters
        7978856
    """
    return make_plan(name, input_shape=input_shape, classes=classes, settings=settings).counts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network that can be built: the checked arguments of `build`, with defaults filled in, and its cost."""

    name: str
    family: Family
    settings: Any
    input_shape: tuple[int, int, int]
    classes: int
    counts: Counts


def make_plan(
    name: str, *, input_shape: tuple[int, int, int] | None, classes: int | None, settings: Mapping[str, object]
) -> Plan:
    """Check the arguments of `build`, with its errors, before a backend is loaded."""
    family, variant = find_variant(name)
    chosen = network_settings(name, settings)
    shape = check_image_shape(name, input_shape or variant.input_shape)
    classes = check_argument(f"{name}: classes", CLASSES, variant.classes if classes is None else classes)
    try:
        counts = count_network(family, chosen, shape, classes)
    except TooSmallError:
        smallest = smallest_side(family, chosen)
        raise ImageSizeError(
            f"{name}: images of {shape[0]}x{shape[1]} pixels are too small; the smallest that works with these "
            f"settings is {smallest}x{smallest}; enlarge them with --image-size {smallest} (image_size={smallest})."
        ) from None
    return Plan(name=name, family=family, settings=chosen, input_shape=shape, classes=classes, counts=counts)


def count_network(family: Family, settings: Settings, shape: tuple[int, int, int], classes: int) -> Counts:
    """Return the cost of a network.

    Raises:
        TooSmallError: The images are too small for the network.
    """
    counter = CostCounter()
    family.network(SymbolicTensor(*shape, counter), settings, classes)
    return counter.counts()


def smallest_side(family: Family, settings: Settings) -> int:
    """Return the side in pixels of the smallest square images that a network accepts."""

    def works(side: int) -> bool:
        try:
            count_network(family, settings, (side, side, 1), 1)
        except TooSmallError:
            return False
        return True

    high = 1
    while high < SIDE.high and not works(high):
        high *= 2
    return bisect.bisect_left(range(high), x=True, lo=high // 2 + 1, key=works)


def build_model(plan: Plan, inputs: KerasTensor, images: KerasTensor, classifier_activation: str | None) -> Model:
    """Build a network on a tensor of images and return the model from `inputs` to its classifier."""
    with weight_init.sampling_ahead(plan.counts.trainable_parameters):
        outputs = plan.family.network(images, plan.settings, plan.classes)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    if classifier_activation is not None:
        names = ["predictions", *(f"auxiliary{head}_predictions" for head in range(1, len(outputs)))]
        outputs = [activate(logits, classifier_activation, name) for logits, name in zip(outputs, names, strict=True)]
    with raised_recursion_limit():
        if len(outputs) == 1:
            model = keras.Model(inputs, outputs[0], name=to_file_name(plan.name))
        else:
            main = auxiliary.MainOutput(plan.settings.auxiliary_weight, dtype="float32", name="main_output")(outputs)
            model = auxiliary.AuxiliaryModel(inputs, main, name=to_file_name(plan.name))
    check_counts(plan, model)
    return model


def build_for_pixels(
    name: str,
    preprocessing: Preprocessing,
    shape: tuple[int, int, int],
    *,
    classes: int | None,
    classifier_activation: str | None,
    settings: Mapping[str, object],
) -> Model:
    """Build a network that begins with a preprocessing, for images of this shape with pixel values from 0 to 255."""
    input_shape = (*shape[:2], preprocessing.input_channels)
    plan = make_plan(name, input_shape=input_shape, classes=classes, settings=settings)
    pixels = keras.Input(shape, name="pixels")
    return build_model(plan, pixels, preprocessing.apply(pixels), classifier_activation)


def check_counts(plan: Plan, model: Model) -> None:
    """Check that a network has the parameters that its operations count.

    Raises:
        CountError: It has not, so an operation of the family counts its layer incorrectly.
    """
    built = (sum(math.prod(weight.shape) for weight in model.trainable_weights), model.count_params())
    counted = (plan.counts.trainable_parameters, plan.counts.total_parameters)
    if built != counted:
        raise CountError(
            f"{plan.name}: the built network has {built[1]:,} parameters ({built[0]:,} trainable), but the operations "
            f"of the family {plan.family.name} count {counted[1]:,} ({counted[0]:,} trainable); correct their `count`."
        )


def activate(logits: KerasTensor, activation: str, name: str) -> KerasTensor:
    """Apply the activation of a classifier, in float32 even in mixed precision."""
    try:
        return keras.layers.Activation(activation, dtype="float32", name=name)(logits)
    except ValueError:
        message = f"classifier_activation must be the name of a Keras activation or None, not {activation!r}."
        raise SettingError(message) from None


def check_image_shape(name: str, input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of images, or raise an `ImageSizeError` if it is not (height, width, channels)."""
    try:
        height, width, channels = input_shape
        return SIDE.check(height), SIDE.check(width), CHANNELS.check(channels)
    except (TypeError, ValueError):
        message = f"{name}: input_shape must be (height, width, channels) in whole numbers, not {input_shape!r}."
        raise ImageSizeError(message) from None
