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

from dataclasses import dataclass
from typing import Any

from keras_cnns.blocks import batch_norm_relu, convolution, imagenet_stem
from keras_cnns.errors import SettingError
from keras_cnns.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.lazy import keras, layers
from keras_cnns.settings import BOOLEAN, Choice, Each, FloatRange, IntRange, Settings, free

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
        shortcut: Where the maps change in number: zeros for the new ones ("A") or a projection ("B");
            projections everywhere ("C").
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

    units: tuple[int, ...] = free((3, 4, 6, 3), Each(IntRange(1, 512)))
    widths: tuple[int, ...] = free((64, 128, 256, 512), Each(IntRange(1, 4096)))
    unit: str = free("bottleneck", Choice(("basic", "bottleneck")))
    expansion: int = free(EXPANSION, IntRange(1, 16))
    pre_activation: bool = free(False, BOOLEAN)
    shortcut: str = free("B", Choice(("A", "B", "C")))
    stride_in: str = free("1x1", Choice(("1x1", "3x3")))
    downsampling: str = free("first", Choice(("first", "last")))
    stem: str = free("imagenet", Choice(("imagenet", "cifar")))
    stem_width: int = free(64, IntRange(1, 4096))
    stem_pool: str = free("padded", Choice(("ceil", "padded")))
    stem_activation: bool = free(True, BOOLEAN)
    biases: str = free("none", Choice(("none", "all", "unnormalized")))
    batch_norm_epsilon: float = free(1e-5, FloatRange(1e-7, 1e-1, log=True))

    def check_together(self) -> None:
        """Each stage has units and a width; zeros can be added to maps, not taken away."""
        if len(self.units) != len(self.widths):
            raise SettingError(
                f"units has {len(self.units)} stages and widths {len(self.widths)}; give each stage one of both."
            )
        outputs = [self.stem_width, *map(self.output_width, range(len(self.widths)))]
        if self.shortcut == "A" and outputs != sorted(outputs):
            raise SettingError("shortcut='A' adds maps of zeros, so widths cannot shrink; use shortcut='B' or 'C'.")
        if not self.stem_activation and not self.pre_activation:
            raise SettingError("stem_activation=False is for pre_activation=True, whose units begin with their own.")

    def output_width(self, stage: int) -> int:
        """Return the maps that the units of a stage give."""
        return self.widths[stage] * (self.expansion if self.unit == "bottleneck" else 1)

    def bias(self, *, normalized: bool) -> bool:
        """Say whether a convolution has a bias, given whether batch norm follows it."""
        return self.biases == "all" or (self.biases == "unnormalized" and not normalized)


def smallest_side(settings: ResNetSettings) -> int:
    """Return 3 where the stem's pooling needs two pixels; all other strides round up and work on one."""
    return 3 if settings.stem == "imagenet" and settings.stem_pool == "ceil" else 1


def convolutions(settings: ResNetSettings, stage: int, stride: int) -> list[tuple[int, int, int]]:
    """Return width, kernel size and stride of each convolution of a unit."""
    width, output = settings.widths[stage], settings.output_width(stage)
    if settings.unit == "basic":
        return [(width, 3, stride), (output, 3, 1)]
    first, second = (stride, 1) if settings.stride_in == "1x1" else (1, stride)
    return [(width, 1, first), (width, 3, second), (output, 1, 1)]


def shortcut(x: Any, settings: ResNetSettings, width: int, stride: int, name: str) -> Any:
    """The way past the convolutions: (h, w, c) -> (h / stride, w / stride, width)."""
    if settings.shortcut == "C" or (settings.shortcut == "B" and x.shape[-1] != width):
        biased = settings.bias(normalized=not settings.pre_activation)
        x = convolution(x, width, 1, strides=stride, bias=biased, name=f"{name}_conv")
        if settings.pre_activation:
            return x
        return batch_norm_relu(x, settings.batch_norm_epsilon, name=name, relu=False)
    if stride > 1:
        x = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)
    if missing := width - x.shape[-1]:
        x = layers.ZeroMaps(missing, name=f"{name}_zeros")(x)
    return x


def residual_unit(x: Any, settings: ResNetSettings, stage: int, stride: int, name: str) -> Any:
    """Convolutions - BN, add the shortcut, ReLU: (h, w, c) -> (h / stride, w / stride, output width)."""
    epsilon = settings.batch_norm_epsilon
    steps = convolutions(settings, stage, stride)
    past = shortcut(x, settings, settings.output_width(stage), stride, name=f"{name}_shortcut")
    for index, (width, kernel_size, strides) in enumerate(steps, start=1):
        layer = f"{name}_layer{index}"
        biased = settings.bias(normalized=True)
        x = convolution(x, width, kernel_size, strides=strides, bias=biased, name=f"{layer}_conv")
        x = batch_norm_relu(x, epsilon, name=layer, relu=index < len(steps))
    x = keras.layers.Add(name=f"{name}_add")([past, x])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def pre_activated_unit(x: Any, settings: ResNetSettings, stage: int, stride: int, name: str) -> Any:
    """(BN - ReLU - convolution) each, then add the shortcut: (h, w, c) -> (h / stride, w / stride, output width).

    A shortcut that changes the maps reads the first pre-activation, an identity the unit's input. The first unit
    after a stem with its own batch norm and ReLU needs no others.
    """
    epsilon = settings.batch_norm_epsilon
    steps = convolutions(settings, stage, stride)
    activated = x
    if not (settings.stem_activation and name == "stage1_unit1"):
        activated = batch_norm_relu(x, epsilon, name=f"{name}_layer1")
    changes = settings.shortcut == "C" or x.shape[-1] != settings.output_width(stage)
    past_input = activated if changes else x
    past = shortcut(past_input, settings, settings.output_width(stage), stride, name=f"{name}_shortcut")
    x = activated
    for index, (width, kernel_size, strides) in enumerate(steps, start=1):
        layer = f"{name}_layer{index}"
        if index > 1:
            x = batch_norm_relu(x, epsilon, name=layer)
        biased = settings.bias(normalized=index < len(steps))
        x = convolution(x, width, kernel_size, strides=strides, bias=biased, name=f"{layer}_conv")
    return keras.layers.Add(name=f"{name}_add")([past, x])


def network(images: Any, settings: ResNetSettings, classes: int) -> Any:
    """Stem, stages of units, (BN - ReLU,) global average, classes."""
    epsilon = settings.batch_norm_epsilon
    biased = settings.bias(normalized=settings.stem_activation)
    if settings.stem == "imagenet":
        x = imagenet_stem(
            images,
            settings.stem_width,
            epsilon=epsilon,
            bias=biased,
            activation=settings.stem_activation,
            padded_pool=settings.stem_pool == "padded",
        )
    else:
        x = convolution(images, settings.stem_width, 3, bias=biased, name="stem_conv")
        if settings.stem_activation:
            x = batch_norm_relu(x, epsilon, name="stem")
    unit = pre_activated_unit if settings.pre_activation else residual_unit
    last_stage = len(settings.units) - 1
    for stage, count in enumerate(settings.units):
        first = settings.downsampling == "first"
        strided = (0 if stage > 0 else None) if first else (count - 1 if stage < last_stage else None)
        for index in range(count):
            stride = 2 if index == strided else 1
            x = unit(x, settings, stage, stride, name=f"stage{stage + 1}_unit{index + 1}")
    if settings.pre_activation:
        x = batch_norm_relu(x, epsilon, name="final")
    x = keras.layers.GlobalAveragePooling2D(name="average_pool")(x)
    return keras.layers.Dense(classes, name="logits")(x)


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
    {f"resnet{depth}": imagenet(depth) for depth in (18, 34, 50, 101, 152)}
    | {f"resnet{depth}-v1.5": imagenet(depth, stride_in="3x3") for depth in (50, 101, 152)}
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
    papers=(
        Paper(title="Deep Residual Learning for Image Recognition", authors=AUTHORS, year=2016),
        Paper(title="Identity Mappings in Deep Residual Networks", authors=AUTHORS, year=2016),
    ),
    network=network,
    smallest_side=smallest_side,
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
