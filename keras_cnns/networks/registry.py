"""Registry of families and variants, and `build`, which turns a name into a network."""

from __future__ import annotations

import bisect
import contextlib
import fnmatch
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
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
from keras_cnns.networks.heads import Head, ImageShape, read_image_shape
from keras_cnns.networks.operations import LeftOut, VariableSizeError, without_classifier
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.settings import IntRange, Settings, check_argument
from keras_cnns.plugins import import_modules, load_plugins

if TYPE_CHECKING:
    from keras import KerasTensor, Model

CLASSES = IntRange(1, 1_000_000)
SIDE = IntRange(1, 65_536)
CHANNELS = IntRange(1, 4_096)

WEIGHTS = "it is an argument of keras_cnns.build and of training, and does not change the costs"
OF_BUILD = "it is an argument of keras_cnns.build only; keras_cnns.profile counts the network that this returns"
HINTS = {
    "weights": WEIGHTS,
    "pretrained": "use weights='imagenet' for published weights",
    "num_classes": "use classes",
    "include_top": OF_BUILD,
    "features_only": "use keras_cnns.features(model, strides=(4, 8, 16, 32)), or build(..., include_top=False)",
    "pooling": OF_BUILD,
    "input_tensor": OF_BUILD,
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
    input_shape: ImageShape | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    include_top: bool = True,
    pooling: str | None = None,
    input_tensor: KerasTensor | None = None,
    **settings: object,
) -> Model:
    """Build a network with random initial weights.

    Takes the arguments of `keras_cnns.build`, except those of weights, and raises the same errors.

    Example:
        >>> build("densenet121", growth_rate=24, input_shape=(64, 64, 1), classes=2).output_shape
        (None, 2)
    """
    head = Head(activation=classifier_activation, include_top=include_top, pooling=pooling)
    shape = read_image_shape(name, input_shape, input_tensor)
    plan = make_plan(name, input_shape=choose_fixed_shape(name, shape), classes=classes, settings=settings)
    images = keras.Input(shape or plan.input_shape, name="images") if input_tensor is None else input_tensor
    return build_model(plan, images, images, head)


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


def choose_fixed_shape(name: str, input_shape: ImageShape | None) -> tuple[int, int, int] | None:
    """Return a shape of images whose height and width are those of the variant where they are None."""
    if not isinstance(input_shape, list | tuple) or len(input_shape) != 3:
        return input_shape
    defaults = find_variant(name)[1].input_shape
    height, width = (
        own if own is not None else default for own, default in zip(input_shape[:2], defaults, strict=False)
    )
    return height, width, input_shape[2]


def build_model(plan: Plan, inputs: KerasTensor, images: KerasTensor, head: Head) -> Model:
    """Build a network on a tensor of images.

    Args:
        plan: The network.
        inputs: The tensor of which `images` was computed. The model begins with the inputs of its graph.
        images: The tensor that the network receives.
        head: What the network ends in.

    Raises:
        VariableSizeError: The size of the images is not fixed, and the network needs that.
        SettingError: The network has no features without its classifier.
    """
    sources = keras.utils.get_source_inputs(inputs)
    sources = sources[0] if len(sources) == 1 else sources
    context = contextlib.nullcontext() if head.include_top else without_classifier()
    try:
        with weight_init.sampling_ahead(plan.counts.trainable_parameters), context:
            outputs = plan.family.network(images, plan.settings, plan.classes)
    except VariableSizeError as error:
        raise VariableSizeError(f"{plan.name}: images of any size do not work: {error}.") from None
    outputs = outputs if isinstance(outputs, list) else [outputs]
    if not isinstance(outputs[0], LeftOut):
        check_counts(plan, inputs, outputs)
    if not head.include_top:
        features = head.select_features(plan.name, sources, outputs[0])
        with raised_recursion_limit():
            return keras.Model(sources, features, name=to_file_name(plan.name))
    if head.activation is not None:
        names = ["predictions", *(f"auxiliary{number}_predictions" for number in range(1, len(outputs)))]
        outputs = [activate(logits, head.activation, name) for logits, name in zip(outputs, names, strict=True)]
    with raised_recursion_limit():
        if len(outputs) == 1:
            return keras.Model(sources, outputs[0], name=to_file_name(plan.name))
        main = auxiliary.MainOutput(plan.settings.auxiliary_weight, dtype="float32", name="main_output")(outputs)
        return auxiliary.AuxiliaryModel(sources, main, name=to_file_name(plan.name))


def build_for_pixels(
    name: str,
    preprocessing: Preprocessing,
    shape: ImageShape,
    *,
    classes: int | None,
    head: Head,
    settings: Mapping[str, object],
    pixels: KerasTensor | None = None,
) -> Model:
    """Build a network that begins with a preprocessing, for images of this shape with pixel values from 0 to 255.

    Takes the arguments of `build`; `pixels` is its `input_tensor`.
    """
    input_shape = choose_fixed_shape(name, (*shape[:2], preprocessing.input_channels))
    plan = make_plan(name, input_shape=input_shape, classes=classes, settings=settings)
    if pixels is None:
        pixels = keras.Input(shape, name="pixels")
    return build_model(plan, pixels, preprocessing.apply(pixels), head)


def check_counts(plan: Plan, inputs: KerasTensor, outputs: Sequence[KerasTensor]) -> None:
    """Check that a network has the parameters that its operations count.

    Raises:
        VariableSizeError: It has not, and the size of the images is not fixed, so the layers depend on that.
        CountError: It has not, so an operation of the family counts its layer incorrectly.
    """
    with raised_recursion_limit():
        model = keras.Model(inputs, outputs)
    built = (sum(math.prod(weight.shape) for weight in model.trainable_weights), model.count_params())
    counted = (plan.counts.trainable_parameters, plan.counts.total_parameters)
    if built != counted and None in inputs.shape[1:]:
        raise VariableSizeError(
            f"{plan.name}: images of any size do not work: its layers depend on the size; give a height and a width."
        )
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
    if isinstance(input_shape, list | tuple) and None in input_shape[:2]:
        message = (
            f"{name}: costs and training need a fixed height and width; {input_shape} is for keras_cnns.build only."
        )
        raise ImageSizeError(message)
    try:
        height, width, channels = input_shape
        return SIDE.check(height), SIDE.check(width), CHANNELS.check(channels)
    except (TypeError, ValueError):
        message = f"{name}: input_shape must be (height, width, channels) in whole numbers, not {input_shape!r}."
        raise ImageSizeError(message) from None
