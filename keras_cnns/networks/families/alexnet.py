"""AlexNet (Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks").

The idea: a large network of five convolutions and three dense layers, made trainable on real photographs by ReLU
instead of tanh, dropout in the dense layers, and two GPUs that share the work: the maps of some convolutions are split
into two groups that do not see each other.

What differs between paper and popular code: the paper says 224x224 pixels, but its first convolution gives 55x55 maps
of 227x227 only. Without groups there is a network for one GPU (`groups=1`). Caffe's AlexNet divides the alpha of the
local response normalisation by its five maps, has k = 1 and smaller biases (`normalization_constants`,
`initial_bias`); CaffeNet also pools before it normalises (`pool_first`). torchvision's is that of "One weird trick"
(2014): narrower, padded for 224x224 pixels, without normalisation, dropout before the dense layers
(`dropout_first`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.networks.counting import SymbolicTensor
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import (
    activation,
    batch_norm,
    convolution,
    dense,
    dropout,
    flatten,
    gaussian,
    local_response_norm,
    pool,
)
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, Settings, TupleOf, check_groups, setting

KERNEL_SIZES = (None, 5, 3, 3, 3)  # the first is a setting
NORMALIZED = (1, 2)
POOLED = (1, 2, 5)
GROUPED = (2, 4, 5)
BIASED = (2, 4, 5)


@dataclass(frozen=True, kw_only=True)
class AlexNetSettings(Settings):
    """Free choices of AlexNet (Krizhevsky et al. 2012, section 3).

    Attributes:
        widths: Maps of the five convolutions.
        groups: Parts of the second, fourth and fifth convolution that do not see each other; the paper's GPUs.
        first_kernel_size: Side of the first convolution's kernels.
        first_strides: Step of the first convolution; with small images 1 leaves something to pool.
        first_padding: Pixels of zeros around the images: none for 227x227 pixels, 2 for 224x224.
        normalization: After the first two convolutions local response normalisation ("lrn", section 3.3), batch norm
            after all five ("batch_norm"), or "none".
        normalization_constants: Of local response normalisation: the "paper"'s or "caffe"'s.
        pool_first: Pool before local response normalisation, as CaffeNet does.
        dense_width: Units of each of the two hidden dense layers.
        dropout: Share of the units that is left out in training, in both hidden dense layers.
        dropout_first: Drop out what the dense layers read ("One weird trick") instead of what they give.
        initializer: Weights start "normal" with a standard deviation of 0.01 (section 5), or as "he" draws them.
        initial_bias: What the biases of the second, fourth and fifth convolution and of the hidden dense layers start
            as: 1 in the paper, 0.1 in Caffe; all others start as 0.
        batch_norm_epsilon: Added to variances.
    """

    widths: tuple[int, ...] = setting((96, 256, 384, 384, 256), TupleOf(IntRange(1, 4096), 5, 5))
    groups: int = setting(2, IntRange(1, 64))
    first_kernel_size: int = setting(11, IntRange(1, 15, step=2))
    first_strides: int = setting(4, IntRange(1, 4))
    first_padding: int = setting(0, IntRange(0, 7))
    normalization: str = setting("lrn", Choice(("lrn", "batch_norm", "none")))
    normalization_constants: str = setting("paper", Choice(("paper", "caffe")))
    pool_first: bool = setting(False, BOOLEAN)
    dense_width: int = setting(4096, IntRange(1, 65536))
    dropout: float = setting(0.5, FloatRange(0.0, 0.9))
    dropout_first: bool = setting(False, BOOLEAN)
    initializer: str = setting("normal", Choice(("normal", "he")))
    initial_bias: float = setting(1.0, FloatRange(0.0, 1.0))
    batch_norm_epsilon: float = setting(1e-5, FloatRange(1e-7, 1e-1, log=True))

    def check_together(self) -> None:
        """What is split into groups has to be a multiple of them."""
        check_groups("widths", self.widths, self.groups)


def initializer(x: Any, settings: AlexNetSettings) -> Any:
    """Return how the weights of a layer that reads `x` start."""
    return gaussian(x, 0.01) if settings.initializer == "normal" else "he_normal"


def constant(x: Any, value: float) -> Any:
    """Return how the biases of a layer that reads `x` start."""
    return None if isinstance(x, SymbolicTensor) else keras.initializers.Constant(value)


def convolve(x: Any, settings: AlexNetSettings, number: int) -> Any:
    """One of the five convolutions with its ReLU, normalisation and pooling: (h, w, c) -> (h / s, w / s, width)."""
    name, first = f"conv{number}", number == 1
    x = convolution(
        x,
        settings.widths[number - 1],
        KERNEL_SIZES[number - 1] or settings.first_kernel_size,
        strides=settings.first_strides if first else 1,
        padding=settings.first_padding if first else None,
        groups=settings.groups if number in GROUPED else 1,
        bias=True,
        initializer=initializer(x, settings),
        bias_initializer=constant(x, settings.initial_bias if number in BIASED else 0.0),
        name=name,
    )
    if settings.normalization == "batch_norm":
        x = batch_norm(x, settings.batch_norm_epsilon, name=f"{name}_bn")
    x = activation(x, "relu", name=f"{name}_relu")
    steps = [normalize, max_pool] if not settings.pool_first else [max_pool, normalize]
    for step in steps:
        x = step(x, settings, number, name)
    return x


def normalize(x: Any, settings: AlexNetSettings, number: int, name: str) -> Any:
    """Local response normalisation where there is one. Shape unchanged."""
    if settings.normalization != "lrn" or number not in NORMALIZED:
        return x
    return local_response_norm(x, constants=settings.normalization_constants, name=f"{name}_lrn")


def max_pool(x: Any, settings: AlexNetSettings, number: int, name: str) -> Any:  # noqa: ARG001 - a step like the other
    """Overlapping 3x3 pooling of stride 2 where there is one (section 3.4)."""
    return pool(x, "max", 3, 2, name=f"{name}_pool") if number in POOLED else x


def network(images: Any, settings: AlexNetSettings, classes: int) -> Any:
    """Five convolutions, two hidden dense layers, classes."""
    x = images
    for number in range(1, 6):
        x = convolve(x, settings, number)
    x = flatten(x, name="flatten")
    for name in ("fc6", "fc7"):
        if settings.dropout_first:
            x = dropout(x, settings.dropout, name=f"{name}_dropout")
        start = {"initializer": initializer(x, settings), "bias_initializer": constant(x, settings.initial_bias)}
        x = activation(dense(x, settings.dense_width, name=name, **start), "relu", name=f"{name}_relu")
        if not settings.dropout_first:
            x = dropout(x, settings.dropout, name=f"{name}_dropout")
    return dense(x, classes, initializer=initializer(x, settings), name="logits")


CAFFE: dict[str, Any] = {"normalization_constants": "caffe", "initial_bias": 0.1}
ONE_WEIRD_TRICK = AlexNetSettings(
    widths=(64, 192, 384, 256, 256),
    groups=1,
    first_padding=2,
    normalization="none",
    dropout_first=True,
    initial_bias=0.0,
)
SMALL_IMAGES = AlexNetSettings(
    groups=1,
    first_kernel_size=5,
    first_strides=1,
    first_padding=2,
    normalization="batch_norm",
    dense_width=1024,
    initializer="he",
    initial_bias=0.0,
)

VARIANTS = {
    "alexnet": Variant(settings=AlexNetSettings(), input_shape=(227, 227, 3), classes=1000),
    "alexnet-ungrouped": Variant(settings=AlexNetSettings(groups=1), input_shape=(227, 227, 3), classes=1000),
    "alexnet-caffe": Variant(settings=AlexNetSettings(**CAFFE), input_shape=(227, 227, 3), classes=1000),
    "caffenet": Variant(settings=AlexNetSettings(pool_first=True, **CAFFE), input_shape=(227, 227, 3), classes=1000),
    "alexnet-owt": Variant(settings=ONE_WEIRD_TRICK, input_shape=(224, 224, 3), classes=1000),
    "alexnet-small": Variant(settings=SMALL_IMAGES, input_shape=(32, 32, 3), classes=10),
}

RESULTS = (
    Result(variant="alexnet", data="ImageNet", measure="top-1 error, %, 10 crops", value=40.7, source="Table 2"),
    Result(variant="alexnet", data="ImageNet", measure="top-5 error, %, 10 crops", value=18.2, source="Table 2"),
    Result(
        variant="alexnet-caffe",
        data="ImageNet",
        measure="top-1 accuracy, %, 1 crop",
        value=57.1,
        source="readme of BVLC's model",
    ),
    Result(
        variant="alexnet-owt",
        data="ImageNet",
        measure="top-1 accuracy, %, 1 crop",
        value=56.522,
        source="torchvision's table of weights",
    ),
)

FAMILY = Family(
    name="alexnet",
    about=__doc__,
    papers=(
        Paper(
            title="ImageNet Classification with Deep Convolutional Neural Networks",
            authors="Alex Krizhevsky, Ilya Sutskever, Geoffrey E. Hinton",
            year=2012,
        ),
    ),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
    search=SearchSpace(
        base="alexnet-small",
        domains={
            "widths": Choice(((16, 32, 48, 48, 32), (24, 64, 96, 96, 64), (48, 128, 192, 192, 128))),
            "groups": Choice((1, 2)),
            "normalization": Choice(("lrn", "batch_norm", "none")),
            "dense_width": Choice((128, 256, 512)),
            "dropout": FloatRange(0.0, 0.6),
        },
    ),
)
