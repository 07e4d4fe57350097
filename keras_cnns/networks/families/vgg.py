"""VGG (Simonyan, Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition").

The idea: nothing but small kernels. Two 3x3 convolutions see as far as one of 5x5, three as far as one of 7x7, with
fewer parameters and more non-linearities; so make the network deep with 3x3 convolutions alone, doubling the maps each
time that pooling halves them.

What differs between paper and popular code: configuration C has 1x1 convolutions as the third of a stage
(`last_kernel_size`), A-LRN a local response normalisation that the paper found useless (`normalization`). Batch norm
is not in the paper; torchvision keeps the convolutions' biases beside it. `keras.applications` has D and E only, and
no dropout. Three dense layers hold most of the parameters; a global average instead (`classifier`) is in no VGG paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import (
    activation,
    batch_norm,
    convolution,
    dense,
    dropout,
    flatten,
    gaussian,
    global_average_pool,
    local_response_norm,
    pool,
)
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, Settings, TupleOf, setting


@dataclass(frozen=True, kw_only=True)
class VGGSettings(Settings):
    """Free choices of a VGG network (Simonyan and Zisserman 2015, section 2).

    Attributes:
        convolutions: Convolutions of each stage.
        widths: Maps of each stage's convolutions.
        last_kernel_size: Side of the third convolution of stages that have three: 3, or 1 in configuration C.
        normalization: "none"; "batch_norm" after each convolution; "lrn" after the first one (A-LRN).
        normalization_constants: Of local response normalisation: the "paper"'s or "caffe"'s.
        classifier: Two hidden "dense" layers, or a "global_average" and none.
        dense_width: Units of each hidden dense layer.
        dropout: Share of the units that is left out in training, in both hidden layers or after the global average.
        batch_norm_epsilon: Added to variances.
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
        """Each stage has convolutions and a width."""
        if len(self.convolutions) != len(self.widths):
            raise SettingError(
                f"convolutions has {len(self.convolutions)} stages and widths {len(self.widths)}; give each stage one "
                f"of both."
            )


def convolve(x: Any, settings: VGGSettings, stage: int, number: int) -> Any:
    """One convolution with its normalisation and ReLU: (h, w, c) -> (h, w, width)."""
    name = f"stage{stage}_conv{number}"
    kernel_size = settings.last_kernel_size if number == 3 else 3
    x = convolution(x, settings.widths[stage - 1], kernel_size, bias=True, name=name)
    if settings.normalization == "batch_norm":
        x = batch_norm(x, settings.batch_norm_epsilon, name=f"{name}_bn")
    x = activation(x, "relu", name=f"{name}_relu")
    if settings.normalization == "lrn" and (stage, number) == (1, 1):
        x = local_response_norm(x, constants=settings.normalization_constants, name=f"{name}_lrn")
    return x


def network(images: Any, settings: VGGSettings, classes: int) -> Any:
    """Stages of convolutions, each ending in 2x2 pooling, then the classifier."""
    x = images
    for stage, count in enumerate(settings.convolutions, start=1):
        for number in range(1, count + 1):
            x = convolve(x, settings, stage, number)
        x = pool(x, "max", 2, 2, name=f"stage{stage}_pool")
    start = gaussian(x, 0.01)
    if settings.classifier == "global_average":
        x = dropout(global_average_pool(x, name="pool"), settings.dropout, name="pool_dropout")
    else:
        x = flatten(x, name="flatten")
        for name in ("fc6", "fc7"):
            x = activation(dense(x, settings.dense_width, initializer=start, name=name), "relu", name=f"{name}_relu")
            x = dropout(x, settings.dropout, name=f"{name}_dropout")
    return dense(x, classes, initializer=start, name="logits")


CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def configuration(depth: int, **settings: Any) -> Variant:
    """A column of table 1."""
    chosen = VGGSettings(convolutions=CONVOLUTIONS[depth], **settings)
    return Variant(settings=chosen, input_shape=(224, 224, 3), classes=1000)


BATCH_NORM: dict[str, Any] = {"normalization": "batch_norm"}
SMALL_IMAGES = VGGSettings(
    convolutions=(1, 1, 2, 2), widths=(64, 128, 256, 512), classifier="global_average", **BATCH_NORM
)

VARIANTS = (
    {f"vgg{depth}": configuration(depth) for depth in CONVOLUTIONS}
    | {f"vgg{depth}-bn": configuration(depth, **BATCH_NORM) for depth in CONVOLUTIONS}
    | {
        "vgg11-lrn": configuration(11, normalization="lrn"),
        "vgg16-c": configuration(16, last_kernel_size=1),
        "vgg16-c-bn": configuration(16, last_kernel_size=1, **BATCH_NORM),
        "vgg-small": Variant(settings=SMALL_IMAGES, input_shape=(32, 32, 3), classes=10),
    }
)

TABLE_3 = "Table 3, best of the single test scales"
ERRORS = {"vgg11": 29.6, "vgg11-lrn": 29.7, "vgg13": 28.7, "vgg16-c": 27.3, "vgg16": 25.6, "vgg19": 25.5}
RESULTS = tuple(
    Result(variant=name, data="ImageNet", measure="top-1 error, %", value=error, source=TABLE_3)
    for name, error in ERRORS.items()
)

FAMILY = Family(
    name="vgg",
    about=__doc__,
    papers=(
        Paper(
            title="Very Deep Convolutional Networks for Large-Scale Image Recognition",
            authors="Karen Simonyan, Andrew Zisserman",
            year=2015,
        ),
    ),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
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
)
