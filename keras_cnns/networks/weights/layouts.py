"""How other libraries name the weights of each kind of network, by rule from the names of our layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KERAS = "keras.applications"
HEADS = re.compile(r"aux\d+\.")  # in state dicts the entries of auxiliary classifiers begin so
FIELD = re.compile(r"\{(\w+)([+-]1)?\}")

Places = Callable[[Iterable[str]], dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a library keeps the weights of one kind of network.

    Attributes:
        places: From the names of our layers, in the network's order, to the names of theirs; without those that have
            no counterpart.
        settings: What all its networks of this kind have and shapes do not show: values that fit, by setting.
    """

    places: Places
    settings: Mapping[str, tuple[Any, ...]]


def by_table(table: Mapping[str, str]) -> Places:
    """Make `places` of a table from our names to theirs; the first row that fits a name counts."""
    rows = [(re.compile(FIELD.sub(r"(?P<\1>[0-9a-z]+)", ours)), theirs) for ours, theirs in table.items()]

    def places(names: Iterable[str]) -> dict[str, str]:
        matches = ((name, row.fullmatch(name), theirs) for name in names for row, theirs in reversed(rows))
        return {name: fill(theirs, found) for name, found, theirs in matches if found}

    return places


def fill(template: str, found: re.Match[str]) -> str:
    """Put what a name has in its fields into a template: `{unit}`, or one more or less, `{unit-1}`."""
    return FIELD.sub(lambda field: str(int(found[field[1]]) + int(field[2])) if field[2] else found[field[1]], template)


def numbered(**dense: str) -> Places:
    """Make `places` for AlexNet and VGG: their features are numbered through, their dense layers are these.

    Convolutions, batch norms, ReLUs and poolings have a number each; padding is no step of its own there.
    """
    step = re.compile(r"(?:stage\d+_)?(?:conv\d+(?:_bn|_relu|_pool)?|pool)")

    def places(names: Iterable[str]) -> dict[str, str]:
        return {name: f"features.{index}" for index, name in enumerate(filter(step.fullmatch, names))} | dense

    return places


RESNET = {
    "stem_conv": "conv1",
    "stem_bn": "bn1",
    "stage{s}_unit{u}_layer{n}_conv": "layer{s}.{u-1}.conv{n}",
    "stage{s}_unit{u}_layer{n}_bn": "layer{s}.{u-1}.bn{n}",
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
GOOGLENET = {
    "stem_conv{n}": "conv{n}.conv",
    "stem_conv{n}_bn": "conv{n}.bn",
    "inception{m}_1x1": "inception{m}.branch1.conv",
    "inception{m}_1x1_bn": "inception{m}.branch1.bn",
    "inception{m}_3x3_reduce": "inception{m}.branch2.0.conv",
    "inception{m}_3x3_reduce_bn": "inception{m}.branch2.0.bn",
    "inception{m}_3x3": "inception{m}.branch2.1.conv",
    "inception{m}_3x3_bn": "inception{m}.branch2.1.bn",
    "inception{m}_5x5_reduce": "inception{m}.branch3.0.conv",
    "inception{m}_5x5_reduce_bn": "inception{m}.branch3.0.bn",
    "inception{m}_5x5": "inception{m}.branch3.1.conv",
    "inception{m}_5x5_bn": "inception{m}.branch3.1.bn",
    "inception{m}_pool_projection": "inception{m}.branch4.1.conv",
    "inception{m}_pool_projection_bn": "inception{m}.branch4.1.bn",
    "auxiliary{a}_conv": "aux{a}.conv.conv",
    "auxiliary{a}_conv_bn": "aux{a}.conv.bn",
    "auxiliary{a}_fc": "aux{a}.fc1",
    "auxiliary{a}_logits": "aux{a}.fc2",
    "logits": "fc",
}
# In keras.applications a batch norm that stands before its convolution has the number of the one before.
RESNET_KERAS = {
    "stem_conv": "conv1_conv",
    "stem_bn": "conv1_bn",
    "stage{s}_unit{u}_layer{n}_conv": "conv{s+1}_block{u}_{n}_conv",
    "stage{s}_unit{u}_layer{n}_bn": "conv{s+1}_block{u}_{n}_bn",
    "stage{s}_unit{u}_shortcut_conv": "conv{s+1}_block{u}_0_conv",
    "stage{s}_unit{u}_shortcut_bn": "conv{s+1}_block{u}_0_bn",
    "logits": "predictions",
}
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
    "stem_conv": "conv1_conv",
    "stem_bn": "conv1_bn",
    "block{b}_layer{n}_bottleneck_bn": "conv{b+1}_block{n}_0_bn",
    "block{b}_layer{n}_bottleneck_conv": "conv{b+1}_block{n}_1_conv",
    "block{b}_layer{n}_bn": "conv{b+1}_block{n}_1_bn",
    "block{b}_layer{n}_conv": "conv{b+1}_block{n}_2_conv",
    "transition{t}_bn": "pool{t+1}_bn",
    "transition{t}_conv": "pool{t+1}_conv",
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
VGG_SETTINGS = {"normalization": ("none", "batch_norm")}

TIMM = {
    "densenet": Layout(places=by_table(DENSENET), settings=DENSENET_SETTINGS | EPSILON),
    "resnet": Layout(places=by_table(RESNET), settings=RESNET_SETTINGS | EPSILON),
    "vgg": Layout(
        places=numbered(fc6="pre_logits.fc1", fc7="pre_logits.fc2", logits="head.fc"), settings=VGG_SETTINGS | EPSILON
    ),
}
TORCHVISION = {
    "alexnet": Layout(
        places=numbered(fc6="classifier.1", fc7="classifier.4", logits="classifier.6"), settings=ALEXNET_SETTINGS
    ),
    "densenet": TIMM["densenet"],
    "googlenet": Layout(places=by_table(GOOGLENET), settings=GOOGLENET_SETTINGS),
    "resnet": TIMM["resnet"],
    "vgg": Layout(
        places=numbered(fc6="classifier.0", fc7="classifier.3", logits="classifier.6"), settings=VGG_SETTINGS | EPSILON
    ),
}
KERAS_APPLICATIONS = {
    "densenet": Layout(places=by_table(DENSENET_KERAS), settings=DENSENET_SETTINGS | EPSILON_KERAS),
    "resnet": Layout(places=by_table(RESNET_KERAS), settings=RESNET_SETTINGS | EPSILON_KERAS | {"stride_in": ("1x1",)}),
    "resnet v2": Layout(
        places=by_table(RESNET_V2_KERAS), settings=RESNET_SETTINGS | EPSILON_KERAS | {"downsampling": ("last",)}
    ),
    "vgg": Layout(places=by_table(VGG_KERAS), settings={"normalization": ("none",)}),
}
LAYOUTS: dict[str, dict[str, Layout]] = {"torchvision": TORCHVISION, "timm": TIMM, KERAS: KERAS_APPLICATIONS}
STATE_DICTS = ("torchvision", "timm")
