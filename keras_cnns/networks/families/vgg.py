"""VGG (Simonyan, Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition").

Idea: Use small kernels only. Two 3x3 convolutions have the receptive field of one 5x5 convolution, and three that of
one 7x7 convolution, with fewer parameters and more non-linearities. The network is therefore a deep stack of 3x3
convolutions, and the number of filters doubles where pooling halves height and width.

Differences between the paper and popular implementations: In configuration C, the third convolution of a stage is 1x1
(`last_kernel_size`); A-LRN has local response normalization, which the paper found useless (`normalization`). Batch
normalization is not in the paper; torchvision keeps the biases of the convolutions before it. `keras.applications` has
D and E only, without dropout. The three dense layers hold most of the parameters; replacing the hidden ones by global
average pooling (`classifier`) is not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks import operations as op
from keras_cnns.networks.family import ICLR, SGD_RECIPE, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.layouts import KERAS, Layout, by_rules, numbered, required_epsilon, required_normalization
from keras_cnns.networks.pretrained import CAFFE, TORCH, of_keras, of_torchvision
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, Settings, TupleOf, setting


@dataclass(frozen=True, kw_only=True)
class VGGSettings(Settings):
    """Settings of a VGG network (Simonyan and Zisserman 2015, section 2).

    Attributes:
        convolutions: Number of convolutions of each stage.
        widths: Number of filters of each stage's convolutions.
        last_kernel_size: Kernel size of the third convolution of a stage: 3, or 1 in configuration C.
        normalization: "none", "batch_norm" after each convolution, or "lrn" after the first one (A-LRN).
        normalization_constants: Constants of local response normalization: those of the "paper" or of "caffe".
        classifier: Two hidden "dense" layers, or "global_average" pooling without hidden layers.
        dense_width: Number of units of each hidden dense layer.
        dropout: Dropout rate of both hidden layers, or after global average pooling.
        batch_norm_epsilon: Constant added to the variance in batch normalization.
    """

    convolutions: tuple[int, ...] = setting((2, 2, 3, 3, 3), TupleOf(IntRange(1, 64)))
    widths: tuple[int, ...] = setting((64, 128, 256, 512, 512), TupleOf(IntRange(1, 4096)))
    last_kernel_size: int = setting(3, Choice((3, 1)))
    normalization: str = setting("none", Choice(("none", "batch_norm", "lrn")))
    normalization_constants: str = setting("paper", Choice(("paper", "caffe")))
    classifier: str = setting("dense", Choice(("dense", "global_average")))
    dense_width: int = setting(4096, IntRange(1, 65536))
    dropout: float = setting(0.5, FloatRange(0.0, 0.9))
    batch_norm_epsilon: float = setting(1e-5, FloatRange(1e-7, 1e-1, log=True))

    def check_together(self) -> None:
        """Check that `convolutions` and `widths` have the same number of stages."""
        if len(self.convolutions) != len(self.widths):
            raise SettingError(
                f"convolutions has {len(self.convolutions)} stages and widths {len(self.widths)}; give both one value "
                "per stage."
            )


def convolve(x: Any, settings: VGGSettings, stage: int, number: int) -> Any:
    """Apply one convolution with its normalization and ReLU: (h, w, c) -> (h, w, width)."""
    name = f"stage{stage}_conv{number}"
    kernel_size = settings.last_kernel_size if number == 3 else 3
    x = op.convolution(x, settings.widths[stage - 1], kernel_size, bias=True, name=name)
    if settings.normalization == "batch_norm":
        x = op.batch_norm(x, settings.batch_norm_epsilon, name=f"{name}_bn")
    x = op.activation(x, "relu", name=f"{name}_relu")
    if settings.normalization == "lrn" and (stage, number) == (1, 1):
        x = op.local_response_norm(x, constants=settings.normalization_constants, name=f"{name}_lrn")
    return x


def network(images: Any, settings: VGGSettings, classes: int) -> Any:
    """Apply stages of convolutions, each followed by 2x2 max pooling, and the classifier: (h, w, c) -> (classes,)."""
    x = images
    for stage, count in enumerate(settings.convolutions, start=1):
        for number in range(1, count + 1):
            x = convolve(x, settings, stage, number)
        x = op.pool(x, "max", 2, 2, name=f"stage{stage}_pool")
    weights = op.gaussian(0.01)
    if settings.classifier == "global_average":
        x = op.dropout(op.global_average_pool(x, name="pool"), settings.dropout, name="pool_dropout")
    else:
        x = op.flatten(x, name="flatten")
        for name in ("fc6", "fc7"):
            x = op.activation(
                op.dense(x, settings.dense_width, initializer=weights, name=name), "relu", name=f"{name}_relu"
            )
            x = op.dropout(x, settings.dropout, name=f"{name}_dropout")
    return op.dense(x, classes, initializer=weights, name="logits")


CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
BATCH_NORM: dict[str, Any] = {"normalization": "batch_norm"}
SMALL_IMAGES = VGGSettings(
    convolutions=(1, 1, 2, 2), widths=(64, 128, 256, 512), classifier="global_average", **BATCH_NORM
)


def imagenet(depth: int, **settings: Any) -> Variant:
    """Return a network of table 1."""
    return Variant(VGGSettings(convolutions=CONVOLUTIONS[depth], **settings), (224, 224, 3), 1000)


FEATURES = r"stage\d+_(conv\d+(_bn|_relu)?|pool)"
NAMES = {
    "torchvision": numbered(FEATURES, fc6="classifier.0", fc7="classifier.3", logits="classifier.6"),
    "timm": numbered(FEATURES, fc6="pre_logits.fc1", fc7="pre_logits.fc2", logits="head.fc"),
    KERAS: by_rules({"stage{s}_conv{n}": "block{s}_conv{n}", "fc6": "fc1", "fc7": "fc2", "logits": "predictions"}),
}
NORMALIZATIONS = {"torchvision": ("none", "batch_norm"), "timm": ("none", "batch_norm"), KERAS: ("none",)}
LAYOUTS = tuple(
    Layout(
        libraries=(library,),
        identifying_layers=frozenset({"stage1_conv1"}),
        names=names,
        settings={
            "normalization": required_normalization(*NORMALIZATIONS[library]),
            "batch_norm_epsilon": required_epsilon(1e-5),
        },
        convolutions=("pre_logits.",),
        preprocessing=CAFFE if library == KERAS else TORCH,
        blue_first=library == KERAS,
    )
    for library, names in NAMES.items()
)

PRETRAINED = (
    *of_torchvision({
        "vgg11": ("vgg11-8a719046.pth", 69.020, 506.8),
        "vgg13": ("vgg13-19584684.pth", 69.928, 507.5),
        "vgg16": ("vgg16-397923af.pth", 71.592, 527.8),
        "vgg19": ("vgg19-dcbb9e9d.pth", 72.376, 548.1),
        "vgg11-bn": ("vgg11_bn-6002323d.pth", 70.370, 506.9),
        "vgg13-bn": ("vgg13_bn-abd245e5.pth", 71.586, 507.6),
        "vgg16-bn": ("vgg16_bn-6c64b313.pth", 73.360, 527.9),
        "vgg19-bn": ("vgg19_bn-c79401a0.pth", 74.218, 548.1),
    }),
    *of_keras(
        {
            "vgg16": ("vgg16/vgg16", "64373286793e3c8b2b4e3219cbf3544b", 71.3, 528.0),
            "vgg19": ("vgg19/vgg19", "cbe5617147190e668d6c5d5026f83318", 71.3, 549.0),
        },
        "CC BY 4.0 (Visual Geometry Group, Oxford)",
        CAFFE,
    ),
)  # fmt: skip

FAMILY = Family(
    name="vgg",
    about=__doc__,
    papers=(
        Paper(
            title="Very Deep Convolutional Networks for Large-Scale Image Recognition",
            authors="Karen Simonyan, Andrew Zisserman",
            year=2015,
            venue=ICLR,
        ),
    ),
    network=network,
    variants={
        **{f"vgg{depth}": imagenet(depth) for depth in CONVOLUTIONS},
        **{f"vgg{depth}-bn": imagenet(depth, **BATCH_NORM) for depth in CONVOLUTIONS},
        "vgg11-lrn": imagenet(11, normalization="lrn"),
        "vgg16-c": imagenet(16, last_kernel_size=1),
        "vgg16-c-bn": imagenet(16, last_kernel_size=1, **BATCH_NORM),
        "vgg-small": Variant(SMALL_IMAGES, (32, 32, 3), 10),
    },
    results=make_results(
        "ImageNet",
        "top-1 error, %",
        "Table 3, best of the single test scales",
        {"vgg11": 29.6, "vgg11-lrn": 29.7, "vgg13": 28.7, "vgg16-c": 27.3, "vgg16": 25.6, "vgg19": 25.5},
    ),
    # Section 3.1. The paper divides the learning rate by 10 three times, when the validation accuracy stops improving.
    paper_recipe=SGD_RECIPE.replace({"epochs": 74, "batch_size": 256, "learning_rate": 0.01, "weight_decay": 5e-4}),
    search=SearchSpace(
        base="vgg-small",
        domains={
            "convolutions": Choice(((1, 1, 1), (1, 1, 2), (2, 2, 2), (1, 1, 2, 2), (2, 2, 3, 3))),
            "widths": Choice(((16, 32, 64), (32, 64, 128), (16, 32, 64, 128), (32, 64, 128, 128))),
            "normalization": Choice(("none", "batch_norm")),
            "classifier": Choice(("dense", "global_average")),
            "dense_width": Choice((64, 128, 256)),
            "dropout": FloatRange(0.0, 0.6),
        },
    ),
    diagrams={"Configuration A": "vgg11"},
    layouts=LAYOUTS,
    pretrained=PRETRAINED,
)
