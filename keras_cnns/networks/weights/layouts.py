"""The layer names of other libraries, as rules on the names of our layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KERAS = "keras.applications"
HEADS = re.compile(r"aux\d+\.")  # prefix of auxiliary classifiers in state dicts
FIELD = re.compile(r"\{(\w+)([+-]1)?\}")

NameMap = Callable[[Iterable[str]], dict[str, str]]


@dataclass(frozen=True)
class Layout:
    """The names and settings of one kind of network in a library.

    Attributes:
        names: Maps the names of our layers, in the network's order, to those of the library; layers without a
            counterpart are left out.
        settings: Settings of all of the library's networks of this kind that shapes do not show: accepted values by
            setting.
    """

    names: NameMap
    settings: Mapping[str, tuple[Any, ...]]


def by_rules(rules: Mapping[str, str]) -> NameMap:
    """Return a name map from rules such as `"block{b}_conv"` to `"features.{b-1}.conv"`; the first match counts."""
    rows = [(re.compile(FIELD.sub(r"(?P<\1>[0-9a-z]+)", ours)), theirs) for ours, theirs in rules.items()]

    def names(layers: Iterable[str]) -> dict[str, str]:
        matches = ((layer, row.fullmatch(layer), theirs) for layer in layers for row, theirs in reversed(rows))
        return {layer: fill(theirs, match) for layer, match, theirs in matches if match}

    return names


def fill(template: str, match: re.Match[str]) -> str:
    """Insert the fields of a matched name into a template: `{unit}`, or a number plus or minus one, `{unit-1}`."""
    return FIELD.sub(lambda field: str(int(match[field[1]]) + int(field[2])) if field[2] else match[field[1]], template)


def numbered(**dense: str) -> NameMap:
    """Return a name map for AlexNet and VGG, whose feature layers are numbered consecutively in PyTorch.

    Convolutions, batch normalizations, ReLUs and poolings each have a number; padding is not a separate layer there.

    Args:
        **dense: Names of the dense layers.
    """
    feature = re.compile(r"(?:stage\d+_)?(?:conv\d+(?:_bn|_relu|_pool)?|pool)")

    def names(layers: Iterable[str]) -> dict[str, str]:
        return {layer: f"features.{index}" for index, layer in enumerate(filter(feature.fullmatch, layers))} | dense

    return names


RESNET = {
    "stem_{kind}": "{kind}1",
    "stage{s}_unit{u}_layer{n}_{kind}": "layer{s}.{u-1}.{kind}{n}",
    "stage{s}_unit{u}_shortcut_conv": "layer{s}.{u-1}.downsample.0",
    "stage{s}_unit{u}_shortcut_bn": "layer{s}.{u-1}.downsample.1",
    "logits": "fc",
}
DENSENET = {
    "stem_conv": "features.conv0",
    "stem_bn": "features.norm0",
    "block{b}_layer{n}_bottleneck_bn": "features.denseblock{b}.denselayer{n}.norm1",
    "block{b}_layer{n}_bottleneck_conv": "features.denseblock{b}.denselayer{n}.conv1",
    "block{b}_layer{n}_bn": "features.denseblock{b}.denselayer{n}.norm2",
    "block{b}_layer{n}_conv": "features.denseblock{b}.denselayer{n}.conv2",
    "transition{t}_bn": "features.transition{t}.norm",
    "transition{t}_conv": "features.transition{t}.conv",
    "final_bn": "features.norm5",
    "logits": "classifier",
}
GOOGLENET_UNITS = {
    "stem_conv{n}": "conv{n}",
    "inception{m}_1x1": "inception{m}.branch1",
    "inception{m}_3x3_reduce": "inception{m}.branch2.0",
    "inception{m}_3x3": "inception{m}.branch2.1",
    "inception{m}_5x5_reduce": "inception{m}.branch3.0",
    "inception{m}_5x5": "inception{m}.branch3.1",
    "inception{m}_pool_projection": "inception{m}.branch4.1",
    "auxiliary{a}_conv": "aux{a}.conv",
}
GOOGLENET = (
    {ours: f"{theirs}.conv" for ours, theirs in GOOGLENET_UNITS.items()}
    | {f"{ours}_bn": f"{theirs}.bn" for ours, theirs in GOOGLENET_UNITS.items()}
    | {"auxiliary{a}_fc": "aux{a}.fc1", "auxiliary{a}_logits": "aux{a}.fc2", "logits": "fc"}
)
RESNET_KERAS = {
    "stem_{kind}": "conv1_{kind}",
    "stage{s}_unit{u}_layer{n}_{kind}": "conv{s+1}_block{u}_{n}_{kind}",
    "stage{s}_unit{u}_shortcut_{kind}": "conv{s+1}_block{u}_0_{kind}",
    "logits": "predictions",
}
# In keras.applications, batch normalization before a convolution has the number of the preceding convolution.
RESNET_V2_KERAS = {
    "stem_conv": "conv1_conv",
    "stage{s}_unit{u}_layer1_bn": "conv{s+1}_block{u}_preact_bn",
    "stage{s}_unit{u}_layer{n}_bn": "conv{s+1}_block{u}_{n-1}_bn",
    "stage{s}_unit{u}_layer{n}_conv": "conv{s+1}_block{u}_{n}_conv",
    "stage{s}_unit{u}_shortcut_conv": "conv{s+1}_block{u}_0_conv",
    "final_bn": "post_bn",
    "logits": "predictions",
}
DENSENET_KERAS = {
    "stem_{kind}": "conv1_{kind}",
    "block{b}_layer{n}_bottleneck_bn": "conv{b+1}_block{n}_0_bn",
    "block{b}_layer{n}_bottleneck_conv": "conv{b+1}_block{n}_1_conv",
    "block{b}_layer{n}_bn": "conv{b+1}_block{n}_1_bn",
    "block{b}_layer{n}_conv": "conv{b+1}_block{n}_2_conv",
    "transition{t}_{kind}": "pool{t+1}_{kind}",
    "final_bn": "bn",
    "logits": "predictions",
}
VGG_KERAS = {"stage{s}_conv{n}": "block{s}_conv{n}", "fc6": "fc1", "fc7": "fc2", "logits": "predictions"}

EPSILON = {"batch_norm_epsilon": (1e-5,)}
EPSILON_KERAS = {"batch_norm_epsilon": (1.001e-5,)}
ALEXNET_SETTINGS = {"first_strides": (4,), "first_padding": (2,), "normalization": ("none",)}
DENSENET_SETTINGS = {"transition_relu": (True,)}
GOOGLENET_SETTINGS = {
    "normalization": ("batch_norm",),
    "last_pool_size": (2,),
    "auxiliary_pool": ("adaptive",),
    "batch_norm_epsilon": (1e-3,),
}
RESNET_SETTINGS = {"stride_in": ("3x3",), "downsampling": ("first",), "stem_pool": ("padded",)}
VGG_SETTINGS = {"normalization": ("none", "batch_norm")} | EPSILON

STATE_DICTS = ("torchvision", "timm")
SHARED = {
    "densenet": Layout(by_rules(DENSENET), DENSENET_SETTINGS | EPSILON),
    "resnet": Layout(by_rules(RESNET), RESNET_SETTINGS | EPSILON),
}
LAYOUTS: dict[str, dict[str, Layout]] = {
    "torchvision": {
        "alexnet": Layout(numbered(fc6="classifier.1", fc7="classifier.4", logits="classifier.6"), ALEXNET_SETTINGS),
        "densenet": SHARED["densenet"],
        "googlenet": Layout(by_rules(GOOGLENET), GOOGLENET_SETTINGS),
        "resnet": SHARED["resnet"],
        "vgg": Layout(numbered(fc6="classifier.0", fc7="classifier.3", logits="classifier.6"), VGG_SETTINGS),
    },
    "timm": {
        **SHARED,
        "vgg": Layout(numbered(fc6="pre_logits.fc1", fc7="pre_logits.fc2", logits="head.fc"), VGG_SETTINGS),
    },
    KERAS: {
        "densenet": Layout(by_rules(DENSENET_KERAS), DENSENET_SETTINGS | EPSILON_KERAS),
        "resnet": Layout(by_rules(RESNET_KERAS), RESNET_SETTINGS | EPSILON_KERAS | {"stride_in": ("1x1",)}),
        "resnet v2": Layout(by_rules(RESNET_V2_KERAS), RESNET_SETTINGS | EPSILON_KERAS | {"downsampling": ("last",)}),
        "vgg": Layout(by_rules(VGG_KERAS), {"normalization": ("none",)}),
    },
}
