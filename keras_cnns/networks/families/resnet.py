"""ResNet (He, Zhang, Ren, Sun 2016, "Deep Residual Learning ..." and "Identity Mappings ...").

The idea: let a stack of layers learn what to add to its input instead of a whole new mapping. The shortcut
carries signal and gradient past the stack, so networks of a hundred layers train. The second paper moves batch
norm and ReLU before the convolutions (`pre_activation`), so that the shortcut carries them unchanged.

What differs between paper and popular code: the paper's bottleneck has its stride in the first 1x1 convolution,
"v1.5" (the usual code since 2016) in the 3x3 (`stride_in`). `keras.applications` gives convolutions biases, and
in its V2 networks the last unit of a stage has the stride (`downsampling`). The authors' Caffe pools the stem
without padding, most others with one pixel (`stem_pool`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.counting import stack
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import (
    activation,
    add,
    batch_norm,
    batch_norm_relu,
    convolution,
    dense,
    global_average_pool,
    imagenet_stem,
    subsample,
    zero_maps,
)
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, Settings, TupleOf, check_groups, setting

EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class ResNetSettings(Settings):
    """Free choices of a residual network (He et al. 2016, section 3; pre-activation: the second paper).

    Attributes:
        units: Residual units of each stage.
        widths: Maps of each stage's 3x3 convolutions.
        unit: "basic" is two 3x3 convolutions; "bottleneck" 1x1, 3x3, 1x1.
        expansion: Maps that a bottleneck unit gives, as a multiple of its width.
        pre_activation: Batch norm and ReLU before each convolution instead of after it (v2).
        groups: Parts that each 3x3 convolution is split into (cardinality; Xie et al. 2017).
        shortcut: Where the maps change in number: zeros for the new ones ("A") or a projection ("B");
            projections everywhere ("C"). "none" leaves all shortcuts out: the paper's plain networks.
        stride_in: The convolution of a bottleneck unit that has the stride: "1x1" (paper) or "3x3" (v1.5).
        downsampling: The unit of a stage that has the stride: the "first" (paper), or the "last" of each stage
            but the last stage's (`keras.applications`, V2).
        stem: "imagenet" is a 7x7 convolution and a pooling, each of stride 2; "cifar" a 3x3 convolution.
        stem_width: Maps of the stem.
        stem_pool: The stem's pooling: over windows that begin at the edge ("ceil", the authors' Caffe) or one
            pixel outside ("padded", usual code).
        stem_activation: Batch norm and ReLU after the stem's convolution. Without them (`keras.applications`
            and others, V2) the first unit has its own.
        biases: Convolutions with a bias: "none", "all", or those that no batch norm follows ("unnormalized").
        batch_norm_epsilon: Added to variances; 1e-5 in the authors' code.
    """

    units: tuple[int, ...] = setting((3, 4, 6, 3), TupleOf(IntRange(1, 512)))
    widths: tuple[int, ...] = setting((64, 128, 256, 512), TupleOf(IntRange(1, 4096)))
    unit: str = setting("bottleneck", Choice(("basic", "bottleneck")))
    expansion: int = setting(EXPANSION, IntRange(1, 16))
    groups: int = setting(1, IntRange(1, 4096))
    pre_activation: bool = setting(False, BOOLEAN)
    shortcut: str = setting("B", Choice(("A", "B", "C", "none")))
    stride_in: str = setting("1x1", Choice(("1x1", "3x3")))
    downsampling: str = setting("first", Choice(("first", "last")))
    stem: str = setting("imagenet", Choice(("imagenet", "cifar")))
    stem_width: int = setting(64, IntRange(1, 4096))
    stem_pool: str = setting("padded", Choice(("ceil", "padded")))
    stem_activation: bool = setting(True, BOOLEAN)
    biases: str = setting("none", Choice(("none", "all", "unnormalized")))
    batch_norm_epsilon: float = setting(1e-5, FloatRange(1e-7, 1e-1, log=True))

    def check_together(self) -> None:
        """Each stage has units and a width; zeros can be added to maps, not taken away."""
        if len(self.units) != len(self.widths):
            raise SettingError(
                f"units has {len(self.units)} stages and widths {len(self.widths)}; give each stage one of both."
            )
        check_groups("widths", self.widths, self.groups)
        if self.unit == "basic":  # whose first 3x3 convolution reads the stem's maps
            check_groups("stem_width", (self.stem_width,), self.groups)
        outputs = [self.stem_width, *map(self.output_width, range(len(self.widths)))]
        if self.shortcut == "A" and outputs != sorted(outputs):
            raise SettingError("shortcut='A' adds maps of zeros, so widths cannot shrink; use shortcut='B' or 'C'.")
        if not self.stem_activation and not self.pre_activation:
            raise SettingError("stem_activation=False is for pre_activation=True, whose units begin with their own.")

    def output_width(self, stage: int) -> int:
        """Return the maps that the units of a stage give."""
        return self.widths[stage] * (self.expansion if self.unit == "bottleneck" else 1)


def convolutions(
    kind: str, width: int, expansion: int, stride: int, stride_in: str, groups: int
) -> list[tuple[int, int, int, int]]:
    """Return width, kernel size, stride and groups of each convolution of a unit."""
    if kind == "basic":
        return [(width, 3, stride, groups), (width, 3, 1, groups)]
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    return [(width, 1, first, 1), (width, 3, second, groups), (expansion * width, 1, 1, 1)]


def shortcut_path(
    x: Any, width: int, stride: int, *, shortcut: str, bias: bool, batch_norm_epsilon: float | None, name: str
) -> Any:
    """The way past the convolutions: (h, w, c) -> (h / stride, w / stride, width)."""
    if shortcut == "C" or (shortcut == "B" and x.shape[-1] != width):
        x = convolution(x, width, 1, strides=stride, bias=bias, name=f"{name}_conv")
        return x if batch_norm_epsilon is None else batch_norm(x, batch_norm_epsilon, name=f"{name}_bn")
    if stride > 1:
        x = subsample(x, stride, name=f"{name}_subsample")
    if missing := width - x.shape[-1]:
        x = zero_maps(x, missing, name=f"{name}_zeros")
    return x


def residual_unit(
    x: Any,
    *,
    width: int,
    stride: int = 1,
    kind: str = "basic",
    expansion: int = EXPANSION,
    groups: int = 1,
    pre_activation: bool = False,
    activated: bool = False,
    shortcut: str = "B",
    stride_in: str = "1x1",
    biases: str = "none",
    batch_norm_epsilon: float = 1e-5,
    name: str = "unit",
) -> Any:
    """What the convolutions add to their input: (h, w, c) -> (h / stride, w / stride, width or expansion * width).

    The first paper's unit is (convolution - BN - ReLU) each, the last ReLU after the addition. The second paper's
    (`pre_activation`) is (BN - ReLU - convolution) each and nothing after the addition; its shortcut reads the first
    pre-activation where it changes the maps, and the unit's input where it is the identity.

    Args:
        x: Maps.
        width: Maps of the 3x3 convolutions.
        stride: 2 halves height and width.
        kind: "basic" or "bottleneck".
        expansion: Maps that a bottleneck unit gives, as a multiple of its width.
        groups: Parts of the 3x3 convolutions (cardinality).
        pre_activation: The second paper's unit.
        activated: `x` is activated already, so that a pre-activation unit needs no first BN - ReLU.
        shortcut: "A", "B", "C", or "none" for a plain network's layers.
        stride_in: The bottleneck's convolution that has the stride, "1x1" or "3x3".
        biases: "none", "all", or "unnormalized".
        batch_norm_epsilon: Added to variances.
        name: Begins the names of the layers.
    """
    steps = convolutions(kind, width, expansion, stride, stride_in, groups)
    normalized = has_bias(biases, normalized=True)
    output_width = steps[-1][0]
    past = x
    if pre_activation and not activated:
        x = batch_norm_relu(x, batch_norm_epsilon, name=f"{name}_layer1")
    if shortcut != "none":
        changes = shortcut == "C" or x.shape[-1] != output_width
        past = shortcut_path(
            x if changes else past,
            output_width,
            stride,
            shortcut=shortcut,
            bias=has_bias(biases, normalized=not pre_activation),
            batch_norm_epsilon=None if pre_activation else batch_norm_epsilon,
            name=f"{name}_shortcut",
        )
    for index, (maps, kernel_size, strides, parts) in enumerate(steps, start=1):
        layer, last = f"{name}_layer{index}", index == len(steps)
        if pre_activation and index > 1:
            x = batch_norm_relu(x, batch_norm_epsilon, name=layer)
        bias = has_bias(biases, normalized=False) if pre_activation and last else normalized
        x = convolution(x, maps, kernel_size, strides=strides, groups=parts, bias=bias, name=f"{layer}_conv")
        if not pre_activation:
            x = batch_norm_relu(x, batch_norm_epsilon, name=layer, relu=not last)
    if shortcut != "none":
        x = add([past, x], name=f"{name}_add")
    return x if pre_activation else activation(x, "relu", name=f"{name}_relu")


def has_bias(biases: str, *, normalized: bool) -> bool:
    """Say whether a convolution has a bias, given whether batch norm follows it."""
    return biases == "all" or (biases == "unnormalized" and not normalized)


def stem(images: Any, settings: ResNetSettings) -> Any:
    """The layers before the first unit."""
    bias = has_bias(settings.biases, normalized=settings.stem_activation)
    if settings.stem == "imagenet":
        return imagenet_stem(
            images,
            settings.stem_width,
            epsilon=settings.batch_norm_epsilon,
            bias=bias,
            activated=settings.stem_activation,
            padded_pool=settings.stem_pool == "padded",
        )
    x = convolution(images, settings.stem_width, 3, bias=bias, name="stem_conv")
    return batch_norm_relu(x, settings.batch_norm_epsilon, name="stem") if settings.stem_activation else x


def units(x: Any, count: int, unit: Callable[..., Any], *, strides: tuple[int, int], activated: bool, name: str) -> Any:
    """A stage: `count` units, the first and the last with strides of their own."""
    first, last = strides
    x = unit(x, stride=first if count > 1 else max(strides), activated=activated, name=f"{name}1")
    x = stack(x, count - 2, lambda x, index: unit(x, name=f"{name}{index + 1}"))
    return unit(x, stride=last, name=f"{name}{count}") if count > 1 else x


def network(images: Any, settings: ResNetSettings, classes: int) -> Any:
    """Stem, stages of units, (BN - ReLU,) global average, classes."""
    unit = functools.partial(
        residual_unit,
        kind=settings.unit,
        expansion=settings.expansion,
        groups=settings.groups,
        pre_activation=settings.pre_activation,
        shortcut=settings.shortcut,
        stride_in=settings.stride_in,
        biases=settings.biases,
        batch_norm_epsilon=settings.batch_norm_epsilon,
    )
    x = stem(images, settings)
    last = len(settings.units)
    for stage, (count, width) in enumerate(zip(settings.units, settings.widths, strict=True), start=1):
        strides = (1 if stage == 1 else 2, 1) if settings.downsampling == "first" else (1, 1 if stage == last else 2)
        x = units(
            x,
            count,
            functools.partial(unit, width=width),
            strides=strides,
            activated=settings.stem_activation and stage == 1,
            name=f"stage{stage}_unit",
        )
    if settings.pre_activation:
        x = batch_norm_relu(x, settings.batch_norm_epsilon, name="final")
    x = global_average_pool(x, name="pool")
    return dense(x, classes, name="logits")


IMAGENET_UNITS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
KERAS_APPLICATIONS = {"batch_norm_epsilon": 1.001e-5}


def imagenet(depth: int, **settings: Any) -> Variant:
    """A network of table 1 (v1), or table 5 of the second paper: 224x224 pixels, 1,000 classes."""
    unit, units = IMAGENET_UNITS[depth]
    chosen = ResNetSettings(unit=unit, units=units, **settings)
    return Variant(settings=chosen, input_shape=(224, 224, 3), classes=1000)


def cifar(depth: int, **settings: Any) -> Variant:
    """A network of section 4.2: 6n + 2 layers; the second paper's bottleneck networks have 9n + 2."""
    bottleneck = settings.get("unit") == "bottleneck"
    count = (depth - 2) // (9 if bottleneck else 6)
    basic = {"unit": "basic", "shortcut": "A"}
    chosen = ResNetSettings(units=(count,) * 3, widths=(16, 32, 64), stem="cifar", stem_width=16, **(basic | settings))
    return Variant(settings=chosen, input_shape=(32, 32, 3), classes=10)


V2_CIFAR = {"unit": "bottleneck", "shortcut": "B", "pre_activation": True}
VARIANTS = (
    {f"resnet{depth}": imagenet(depth) for depth in (18, 34, 50, 101, 152, 200)}
    | {f"resnet{depth}-v1.5": imagenet(depth, stride_in="3x3") for depth in (50, 101, 152, 200)}
    | {f"plain{depth}": imagenet(depth, shortcut="none") for depth in (18, 34)}
    | {
        f"resnet{depth}-v2": imagenet(depth, pre_activation=True, stride_in="3x3")
        for depth in (18, 34, 50, 101, 152, 200)
    }
    | {f"resnet{depth}-keras": imagenet(depth, biases="all", **KERAS_APPLICATIONS) for depth in (50, 101, 152)}
    | {
        f"resnet{depth}-v2-keras": imagenet(
            depth,
            pre_activation=True,
            stride_in="3x3",
            downsampling="last",
            stem_activation=False,
            biases="unnormalized",
            **KERAS_APPLICATIONS,
        )
        for depth in (50, 101, 152)
    }
    | {f"resnet-cifar-{depth}": cifar(depth) for depth in (20, 32, 44, 56, 110, 1202)}
    | {f"plain-cifar-{depth}": cifar(depth, shortcut="none") for depth in (20, 32, 44, 56)}
    | {f"resnet-cifar-{depth}-v2": cifar(depth, pre_activation=True) for depth in (20, 32, 44, 56, 110)}
    | {f"resnet-cifar-{depth}-v2": cifar(depth, **V2_CIFAR) for depth in (164, 1001)}
)

TOP_1 = "top-1 error, %, 10 crops"
CIFAR_ERRORS = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43, 1202: 7.93}
CIFAR_V2_ERRORS = {110: 6.37, 164: 5.46, 1001: 4.92}


def cifar_results(errors: dict[str, float], source: str) -> tuple[Result, ...]:
    """Test errors on CIFAR-10 with translations and flips."""
    return tuple(
        Result(variant=name, data="CIFAR-10+", measure="test error, %", value=error, source=source)
        for name, error in errors.items()
    )


RESULTS = (
    Result(variant="plain18", data="ImageNet", measure=TOP_1, value=27.94, source="2016a, table 2"),
    Result(variant="plain34", data="ImageNet", measure=TOP_1, value=28.54, source="2016a, table 2"),
    Result(variant="resnet18", data="ImageNet", measure=TOP_1, value=27.88, source="2016a, table 2 (shortcut A)"),
    Result(variant="resnet34", data="ImageNet", measure=TOP_1, value=24.52, source="2016a, table 3"),
    Result(variant="resnet50", data="ImageNet", measure=TOP_1, value=22.85, source="2016a, table 3"),
    Result(variant="resnet101", data="ImageNet", measure=TOP_1, value=21.75, source="2016a, table 3"),
    Result(variant="resnet152", data="ImageNet", measure=TOP_1, value=21.43, source="2016a, table 3"),
    *cifar_results({f"resnet-cifar-{depth}": error for depth, error in CIFAR_ERRORS.items()}, "2016a, table 6"),
    *cifar_results({f"resnet-cifar-{depth}-v2": error for depth, error in CIFAR_V2_ERRORS.items()}, "2016b, table 3"),
)

AUTHORS = "Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun"
FAMILY = Family(
    name="resnet",
    about=__doc__,
    papers=(
        Paper(title="Deep Residual Learning for Image Recognition", authors=AUTHORS, year=2016),
        Paper(title="Identity Mappings in Deep Residual Networks", authors=AUTHORS, year=2016),
    ),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
    search=SearchSpace(
        base="resnet-cifar-20",
        domains={
            "units": Choice(((1, 1, 1), (2, 2, 2), (3, 3, 3), (5, 5, 5))),
            "widths": Choice(((8, 16, 32), (16, 32, 64), (24, 48, 96))),
            "stem_width": Choice((8, 16)),
            "unit": Choice(("basic", "bottleneck")),
            "expansion": Choice((2, 4)),
            "pre_activation": BOOLEAN,
            "shortcut": Choice(("A", "B")),
        },
    ),
)
