"""ResNet (He, Zhang, Ren, Sun 2016, "Deep Residual Learning ..." and "Identity Mappings ...").

Idea: Let a block of layers learn a residual that is added to its input instead of a whole new mapping. The shortcut
carries signal and gradient past the block, so that networks of more than a hundred layers can be trained. The second
paper moves batch normalization and ReLU before the convolutions (`pre_activation`), so that the shortcut carries them
unchanged.

Differences between the paper and popular implementations: In the paper's bottleneck unit, the first 1x1 convolution
has the stride; in "v1.5", the usual implementation since 2016, the 3x3 convolution has it (`stride_in`).
`keras.applications` gives the convolutions biases (`biases`), and the last unit of a stage has the stride in its V2
networks (`downsampling`). The authors' Caffe code pools the stem without padding; most other implementations pad by
one pixel (`stem_pool`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks import operations as op
from keras_cnns.networks.counting import repeat_layers
from keras_cnns.networks.family import CVPR, ECCV, SGD_RECIPE, Block, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.layouts import KERAS, Layers, Layout, Required, by_rules, matching, required_epsilon
from keras_cnns.networks.pretrained import CAFFE, SYMMETRIC, TORCH, of_keras, of_torchvision
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, Settings, TupleOf, check_groups, setting


@dataclass(frozen=True, kw_only=True)
class ResNetSettings(Settings):
    """Settings of a ResNet (He et al. 2016, section 3; pre-activation: the second paper).

    Attributes:
        units: Number of residual units of each stage.
        widths: Number of filters of each stage's 3x3 convolutions.
        unit: "basic" units have two 3x3 convolutions; "bottleneck" units have a 1x1, a 3x3 and a 1x1 convolution.
        expansion: Output channels of a bottleneck unit, as a multiple of its width.
        pre_activation: Apply batch normalization and ReLU before each convolution (v2) instead of after it.
        groups: Number of groups of each 3x3 convolution (cardinality; Xie et al. 2017).
        shortcut: Shortcut of units that change the number of channels: appended channels of zeros ("A") or a 1x1
            projection ("B"). "C" has projections in all units, "none" has no shortcuts: the paper's plain networks.
        stride_in: The convolution of a bottleneck unit that has the stride: "1x1" (paper) or "3x3" (v1.5).
        downsampling: The unit of a stage that has the stride: the "first" (paper), or the "last" in all stages but
            the last (`keras.applications`, V2).
        stem: "imagenet" is a 7x7 convolution and max pooling, each with a stride of 2; "cifar" is a 3x3 convolution.
        stem_width: Number of filters of the stem.
        stem_pool: Windows of the stem's max pooling: without padding ("ceil", the authors' Caffe code), or with one
            pixel of zero padding ("padded", the usual implementation).
        stem_activation: Apply batch normalization and ReLU after the stem's convolution. Without them
            (`keras.applications` and others, V2), the first unit applies its own.
        biases: Convolutions with a bias: "none", "all", or those without batch normalization after them
            ("unnormalized").
        batch_norm_epsilon: Constant added to the variance in batch normalization; 1e-5 in the authors' code.
    """

    units: tuple[int, ...] = setting((3, 4, 6, 3), TupleOf(IntRange(1, 512)))
    widths: tuple[int, ...] = setting((64, 128, 256, 512), TupleOf(IntRange(1, 4096)))
    unit: str = setting("bottleneck", Choice(("basic", "bottleneck")))
    expansion: int = setting(4, IntRange(1, 16))
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
        """Check the lengths of `units` and `widths`, the groups, and that the shortcut and stem can be built."""
        if len(self.units) != len(self.widths):
            raise SettingError(
                f"units has {len(self.units)} stages and widths {len(self.widths)}; give both one value per stage."
            )
        check_groups("widths", self.widths, self.groups)
        if self.unit == "basic":  # its first 3x3 convolution has the stem's output as input
            check_groups("stem_width", (self.stem_width,), self.groups)
        expansion = self.expansion if self.unit == "bottleneck" else 1
        outputs = [self.stem_width, *(expansion * width for width in self.widths)]
        if self.shortcut == "A" and outputs != sorted(outputs):
            raise SettingError("shortcut='A' appends channels, so widths cannot shrink; use shortcut='B' or 'C'.")
        if not self.stem_activation and not self.pre_activation:
            raise SettingError("stem_activation=False needs pre_activation=True, so that the first unit has its own.")


def convolution_table(
    kind: str, width: int, expansion: int, stride: int, stride_in: str, groups: int
) -> list[tuple[int, int, int, int]]:
    """Return filters, kernel size, stride and groups of each convolution of a unit."""
    if kind == "basic":
        return [(width, 3, stride, groups), (width, 3, 1, groups)]
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    return [(width, 1, first, 1), (width, 3, second, groups), (expansion * width, 1, 1, 1)]


def apply_shortcut(
    x: Any, width: int, stride: int, *, shortcut: str, bias: bool, batch_norm_epsilon: float | None, name: str
) -> Any:
    """Match the input of a unit to its output: (h, w, c) -> (h / stride, w / stride, width)."""
    if shortcut == "C" or (shortcut == "B" and x.shape[-1] != width):
        x = op.convolution(x, width, 1, strides=stride, bias=bias, name=f"{name}_conv")
        return x if batch_norm_epsilon is None else op.batch_norm(x, batch_norm_epsilon, name=f"{name}_bn")
    if stride > 1:
        x = op.subsample(x, stride, name=f"{name}_subsample")
    if missing := width - x.shape[-1]:
        x = op.zero_channels(x, missing, name=f"{name}_zeros")
    return x


def residual_unit(
    x: Any,
    *,
    width: int,
    stride: int = 1,
    kind: str = "basic",
    expansion: int = 4,
    groups: int = 1,
    pre_activation: bool = False,
    activated: bool = False,
    shortcut: str = "B",
    stride_in: str = "1x1",
    biases: str = "none",
    batch_norm_epsilon: float = 1e-5,
    name: str = "unit",
) -> Any:
    """Add the output of convolutions to their input: (h, w, c) -> (h / stride, w / stride, output width).

    The output width is `width` for basic units and `expansion * width` for bottleneck units.

    The unit of the first paper is a sequence of convolution - BN - ReLU with the last ReLU after the addition. The
    unit of the second paper (`pre_activation`) is a sequence of BN - ReLU - convolution. Its shortcut starts after the
    first BN - ReLU where it is a projection, and at the input of the unit where it is the identity.

    Args:
        x: Input tensor.
        width: Number of filters of the 3x3 convolutions.
        stride: Stride of the unit; 2 halves height and width.
        kind: "basic" or "bottleneck".
        expansion: Output channels of a bottleneck unit, as a multiple of its width.
        groups: Number of groups of the 3x3 convolutions (cardinality).
        pre_activation: Use the unit of the second paper.
        activated: `x` already has batch normalization and ReLU, so that a pre-activation unit does not apply its first.
        shortcut: "A", "B", "C", or "none" for a plain network.
        stride_in: The convolution of a bottleneck unit that has the stride, "1x1" or "3x3".
        biases: Convolutions with a bias: "none", "all" or "unnormalized".
        batch_norm_epsilon: Constant added to the variance in batch normalization.
        name: Prefix of the layer names.
    """
    convolutions = convolution_table(kind, width, expansion, stride, stride_in, groups)
    output_width = convolutions[-1][0]
    inputs = x
    if pre_activation and not activated:
        x = op.batch_norm_relu(x, batch_norm_epsilon, name=f"{name}_layer1")
    if shortcut != "none":
        changes_width = shortcut == "C" or x.shape[-1] != output_width
        inputs = apply_shortcut(
            x if changes_width else inputs,
            output_width,
            stride,
            shortcut=shortcut,
            bias=has_bias(biases, normalized=not pre_activation),
            batch_norm_epsilon=None if pre_activation else batch_norm_epsilon,
            name=f"{name}_shortcut",
        )
    for index, (filters, kernel_size, strides, parts) in enumerate(convolutions, start=1):
        layer, last = f"{name}_layer{index}", index == len(convolutions)
        if pre_activation and index > 1:
            x = op.batch_norm_relu(x, batch_norm_epsilon, name=layer)
        bias = has_bias(biases, normalized=not (pre_activation and last))
        x = op.convolution(x, filters, kernel_size, strides=strides, groups=parts, bias=bias, name=f"{layer}_conv")
        if not pre_activation:
            x = op.batch_norm_relu(x, batch_norm_epsilon, name=layer, relu=not last)
    if shortcut != "none":
        x = op.add([inputs, x], name=f"{name}_add")
    return x if pre_activation else op.activation(x, "relu", name=f"{name}_relu")


def has_bias(biases: str, *, normalized: bool) -> bool:
    """Return whether a convolution has a bias, given whether batch normalization follows it."""
    return biases == "all" or (biases == "unnormalized" and not normalized)


def stem(images: Any, settings: ResNetSettings) -> Any:
    """Apply the layers before the first unit: (h, w, c) -> (h / 4, w / 4, stem_width), or (h, w, stem_width)."""
    bias = has_bias(settings.biases, normalized=settings.stem_activation)
    if settings.stem == "imagenet":
        return op.imagenet_stem(
            images,
            settings.stem_width,
            epsilon=settings.batch_norm_epsilon,
            bias=bias,
            activated=settings.stem_activation,
            padded_pool=settings.stem_pool == "padded",
        )
    x = op.convolution(images, settings.stem_width, 3, bias=bias, name="stem_conv")
    return op.batch_norm_relu(x, settings.batch_norm_epsilon, name="stem") if settings.stem_activation else x


def residual_stage(
    x: Any, count: int, unit: Callable[..., Any], *, strides: tuple[int, int], activated: bool, name: str
) -> Any:
    """Apply `count` units; `strides` are those of the first and the last, `activated` is passed to the first."""
    first, last = strides
    x = unit(x, stride=first if count > 1 else max(strides), activated=activated, name=f"{name}1")
    x = repeat_layers(x, count - 2, lambda x, index: unit(x, name=f"{name}{index + 1}"))
    return unit(x, stride=last, name=f"{name}{count}") if count > 1 else x


def network(images: Any, settings: ResNetSettings, classes: int) -> Any:
    """Apply stem, stages of units, global average pooling and the classifier: (h, w, c) -> (classes,)."""
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
        x = residual_stage(
            x,
            count,
            functools.partial(unit, width=width),
            strides=strides,
            activated=settings.stem_activation and stage == 1,
            name=f"stage{stage}_unit",
        )
    if settings.pre_activation:
        x = op.batch_norm_relu(x, settings.batch_norm_epsilon, name="final")
    x = op.global_average_pool(x, name="pool")
    return op.dense(x, classes, name="logits")


IMAGENET_UNITS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}


def imagenet(depth: int, **settings: Any) -> Variant:
    """Return a network of table 1 (v1), or of table 5 of the second paper."""
    unit, units = IMAGENET_UNITS[depth]
    return Variant(ResNetSettings(unit=unit, units=units, **settings), (224, 224, 3), 1000)


def cifar(depth: int, *, unit: str = "basic", shortcut: str = "A", **settings: Any) -> Variant:
    """Return a network of section 4.2 with 6n + 2 layers, or 9n + 2 with the second paper's bottleneck units."""
    units = ((depth - 2) // (9 if unit == "bottleneck" else 6),) * 3
    chosen = ResNetSettings(
        units=units, widths=(16, 32, 64), unit=unit, shortcut=shortcut, stem="cifar", stem_width=16, **settings
    )
    return Variant(chosen, (32, 32, 3), 10)


V2: dict[str, Any] = {"pre_activation": True, "stride_in": "3x3"}
KERAS_SETTINGS: dict[str, Any] = {"biases": "all", "batch_norm_epsilon": 1.001e-5}
KERAS_V2 = V2 | KERAS_SETTINGS | {"downsampling": "last", "stem_activation": False, "biases": "unnormalized"}
VARIANTS: tuple[tuple[str, Callable[..., Variant], tuple[int, ...], dict[str, Any]], ...] = (
    ("resnet{}", imagenet, (18, 34, 50, 101, 152, 200), {}),
    ("resnet{}-v1.5", imagenet, (50, 101, 152, 200), {"stride_in": "3x3"}),
    ("plain{}", imagenet, (18, 34), {"shortcut": "none"}),
    ("resnet{}-v2", imagenet, (18, 34, 50, 101, 152, 200), V2),
    ("resnet{}-keras", imagenet, (50, 101, 152), KERAS_SETTINGS),
    ("resnet{}-v2-keras", imagenet, (50, 101, 152), KERAS_V2),
    ("resnet-cifar-{}", cifar, (20, 32, 44, 56, 110, 1202), {}),
    ("plain-cifar-{}", cifar, (20, 32, 44, 56), {"shortcut": "none"}),
    ("resnet-cifar-{}-v2", cifar, (20, 32, 44, 56, 110), {"pre_activation": True}),
    ("resnet-cifar-{}-v2", cifar, (164, 1001), {"pre_activation": True, "unit": "bottleneck", "shortcut": "B"}),
)
TOP_1 = "top-1 error, %, 10 crops"
TABLE_3 = {"resnet34": 24.52, "resnet50": 22.85, "resnet101": 21.75, "resnet152": 21.43}
TABLE_6_BY_DEPTH = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43, 1202: 7.93}
TABLE_6 = {f"resnet-cifar-{depth}": error for depth, error in TABLE_6_BY_DEPTH.items()}
V2_TABLE_3 = {"resnet-cifar-110-v2": 6.37, "resnet-cifar-164-v2": 5.46, "resnet-cifar-1001-v2": 4.92}

PYTORCH_NAMES = {
    "stem_{kind}": "{kind}1",
    "stage{s}_unit{u}_layer{n}_{kind}": "layer{s}.{u-1}.{kind}{n}",
    "stage{s}_unit{u}_shortcut_conv": "layer{s}.{u-1}.downsample.0",
    "stage{s}_unit{u}_shortcut_bn": "layer{s}.{u-1}.downsample.1",
    "logits": "fc",
}
KERAS_NAMES = {
    "stem_{kind}": "conv1_{kind}",
    "stage{s}_unit{u}_layer{n}_{kind}": "conv{s+1}_block{u}_{n}_{kind}",
    "stage{s}_unit{u}_shortcut_{kind}": "conv{s+1}_block{u}_0_{kind}",
    "logits": "predictions",
}
# In keras.applications, batch normalization before a convolution has the number of the preceding convolution.
KERAS_V2_NAMES = {
    "stem_conv": "conv1_conv",
    "stage{s}_unit{u}_layer1_bn": "conv{s+1}_block{u}_preact_bn",
    "stage{s}_unit{u}_layer{n}_bn": "conv{s+1}_block{u}_{n-1}_bn",
    "stage{s}_unit{u}_layer{n}_conv": "conv{s+1}_block{u}_{n}_conv",
    "stage{s}_unit{u}_shortcut_conv": "conv{s+1}_block{u}_0_conv",
    "final_bn": "post_bn",
    "logits": "predictions",
}


def read_stride_in(layers: Layers) -> str | None:
    """Return the strided convolution of bottleneck units, or None if no unit has one."""
    first, second = r".*_layer1_conv_subsample", r".*_layer2_conv_pad"
    return "1x1" if matching(layers, first) else "3x3" if matching(layers, second) else None


def read_downsampling(layers: Layers) -> str | None:
    """Return which unit of a stage is strided, or None if none is."""
    units = {int(match[1]) for match in matching(layers, r"stage\d+_unit(\d+)_layer\d_conv_(?:pad|subsample)")}
    return None if not units else "first" if units == {1} else "last"


def read_stem_pool(layers: Layers) -> str | None:
    """Return the kind of the stem's pooling, or None if there is none."""
    return ("padded" if "stem_pool_pad" in layers else "ceil") if matching(layers, r"stem_pool(_rows)?") else None


LAYOUTS = tuple(
    Layout(
        libraries=libraries,
        identifying_layers=frozenset({"stage1_unit1_layer1_conv" if strided == "last" else "stage1_unit1_relu"}),
        names=by_rules(names),
        settings={
            "stride_in": Required(read_stride_in, (stride_in,)),
            "downsampling": Required(read_downsampling, (strided,)),
            "stem_pool": Required(read_stem_pool, ("padded",)),
            "batch_norm_epsilon": required_epsilon(1.001e-5 if libraries == (KERAS,) else 1e-5),
        },
        preprocessing=preprocessing,
        blue_first=preprocessing is CAFFE,
    )
    for libraries, names, stride_in, strided, preprocessing in (
        (("torchvision", "timm"), PYTORCH_NAMES, "3x3", "first", TORCH),
        ((KERAS,), KERAS_NAMES, "1x1", "first", CAFFE),
        ((KERAS,), KERAS_V2_NAMES, "3x3", "last", SYMMETRIC),
    )
)
PRETRAINED = (
    *of_torchvision({
        "resnet18": ("resnet18-f37072fd.pth", 69.758, 44.7),
        "resnet34": ("resnet34-b627a593.pth", 73.314, 83.3),
        "resnet50-v1.5": ("resnet50-0676ba61.pth", 76.130, 97.8),
        "resnet101-v1.5": ("resnet101-63fe2227.pth", 77.374, 170.5),
        "resnet152-v1.5": ("resnet152-394f9c45.pth", 78.312, 230.4),
    }),
    *of_torchvision({
        "resnet50-v1.5": ("resnet50-11ad3fa6.pth", 80.858, 97.8),
        "resnet101-v1.5": ("resnet101-cd907fc2.pth", 81.886, 170.5),
        "resnet152-v1.5": ("resnet152-f82ba261.pth", 82.284, 230.5),
    }, "IMAGENET1K_V2"),
    *of_keras({
        "resnet50-keras": ("resnet/resnet50", "2cb95161c43110f7111970584f804107", 74.9, 98.0),
        "resnet101-keras": ("resnet/resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", 76.4, 171.0),
        "resnet152-keras": ("resnet/resnet152", "100835be76be38e30d865e96f2aaae62", 76.6, 232.0),
    }, "MIT (authors' deep-residual-networks)", CAFFE),
    *of_keras({
        "resnet50-v2-keras": ("resnet/resnet50v2", "3ef43a0b657b3be2300d5770ece849e0", 76.0, 98.0),
        "resnet101-v2-keras": ("resnet/resnet101v2", "6343647c601c52e1368623803854d971", 77.2, 171.0),
        "resnet152-v2-keras": ("resnet/resnet152v2", "a49b44d1979771252814e80f8ec446f9", 78.0, 232.0),
    }, "BSD (fb.resnet.torch)", SYMMETRIC),
)  # fmt: skip
STRIDED, BOTTLENECK = {"width": 128, "stride": 2}, {"width": 64, "kind": "bottleneck"}
AUTHORS = "Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun"
FAMILY = Family(
    name="resnet",
    about=__doc__,
    papers=(
        Paper(title="Deep Residual Learning for Image Recognition", authors=AUTHORS, year=2016, venue=CVPR),
        Paper(title="Identity Mappings in Deep Residual Networks", authors=AUTHORS, year=2016, venue=ECCV),
    ),
    network=network,
    variants={
        name.format(depth): make(depth, **settings) for name, make, depths, settings in VARIANTS for depth in depths
    },
    results=(
        *make_results("ImageNet", TOP_1, "2016a, table 2", {"plain18": 27.94, "plain34": 28.54}),
        *make_results("ImageNet", TOP_1, "2016a, table 2 (shortcut A)", {"resnet18": 27.88}),
        *make_results("ImageNet", TOP_1, "2016a, table 3", TABLE_3),
        *make_results("CIFAR-10+", "test error, %", "2016a, table 6", TABLE_6),
        *make_results("CIFAR-10+", "test error, %", "2016b, table 3", V2_TABLE_3),
    ),
    # First paper, section 4.2: 64,000 iterations with 128 of CIFAR-10's 45,000 training images, and a learning rate of
    # 0.1 that is divided by 10 after 32,000 and 48,000 iterations.
    paper_recipe=SGD_RECIPE.replace({"epochs": 182, "batch_size": 128, "learning_rate": 0.1, "weight_decay": 1e-4}),
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
    blocks=(residual_unit,),
    diagrams={
        "A residual unit of the first paper with stride 2": Block(residual_unit, (56, 56, 64), STRIDED),
        "A bottleneck unit of the first paper": Block(residual_unit, (56, 56, 256), BOTTLENECK),
        "A bottleneck unit of the second paper": Block(residual_unit, (56, 56, 256), V2 | BOTTLENECK),
    },
    layouts=LAYOUTS,
    pretrained=PRETRAINED,
)
