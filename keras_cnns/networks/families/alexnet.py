"""AlexNet (Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks").

Idea: A large network of five convolutions and three dense layers becomes trainable on natural photographs thanks to
ReLU instead of tanh, dropout in the dense layers, and two GPUs that share the work: some convolutions are split into
two groups of channels, one per GPU, that are not connected to each other.

Differences between the paper and popular implementations: The paper states 224x224 pixels, but only 227x227 pixels
give the 55x55 feature maps of its first convolution. `groups=1` is the network for a single GPU. Caffe's AlexNet
divides the alpha of local response normalization by the window size of five, and has k = 1 and smaller initial biases
(`normalization_constants`, `initial_bias`); CaffeNet also pools before it normalizes (`pool_first`). torchvision
implements the network of "One weird trick" (2014): narrower, zero-padded for 224x224 pixels, without normalization,
and with dropout before the dense layers (`dropout_first`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.networks import operations as op
from keras_cnns.networks.family import SGD_RECIPE, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.layouts import Layers, Layout, Required, numbered, required_normalization
from keras_cnns.networks.pretrained import of_torchvision
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, Settings, TupleOf, check_groups, setting

# Numbers of the convolutions with each property, counted from 1.
NORMALIZED = (1, 2)
POOLED = (1, 2, 5)
GROUPED = (2, 4, 5)
BIASED = (2, 4, 5)  # with `initial_bias` instead of 0


@dataclass(frozen=True, kw_only=True)
class AlexNetSettings(Settings):
    """Settings of AlexNet (Krizhevsky et al. 2012, section 3).

    Attributes:
        widths: Number of filters of each of the five convolutions.
        groups: Number of groups of the second, fourth and fifth convolution; the paper has one per GPU.
        first_kernel_size: Kernel size of the first convolution.
        first_strides: Stride of the first convolution; use 1 for small images.
        first_padding: Zero padding of the images in pixels: 0 for 227x227 images, 2 for 224x224.
        normalization: "lrn" is local response normalization after the first two convolutions (section 3.3),
            "batch_norm" is batch normalization after all five, "none" is no normalization.
        normalization_constants: Constants of local response normalization: those of the "paper" or of "caffe".
        pool_first: Pool before local response normalization, as in CaffeNet.
        dense_width: Number of units of each of the two hidden dense layers.
        dropout: Dropout rate of both hidden dense layers.
        dropout_first: Apply dropout to the inputs of the hidden dense layers ("One weird trick") instead of their
            outputs.
        initializer: Weight initialization: "normal" with a standard deviation of 0.01 (section 5), or "he".
        initial_bias: Initial bias of the second, fourth and fifth convolution and of the hidden dense layers: 1 in
            the paper, 0.1 in Caffe. All other biases start at 0.
        batch_norm_epsilon: Constant added to the variance in batch normalization.
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
        """Check that the widths can be divided into groups."""
        check_groups("widths", self.widths, self.groups)


def make_initializers(settings: AlexNetSettings, bias: float) -> dict[str, Any]:
    """Return the initializers of a layer, as arguments of `convolution` and `dense`."""
    weights = op.gaussian(0.01) if settings.initializer == "normal" else "he_normal"
    return {"initializer": weights, "bias_initializer": {"class_name": "Constant", "config": {"value": bias}}}


def convolve(x: Any, settings: AlexNetSettings, number: int) -> Any:
    """Apply one of the five convolutions, ReLU, normalization and pooling: (h, w, c) -> (h / s, w / s, width).

    The overlapping pooling of section 3.4 has 3x3 windows and a stride of 2.
    """
    name, first = f"conv{number}", number == 1
    kernel_sizes = (settings.first_kernel_size, 5, 3, 3, 3)
    x = op.convolution(
        x,
        settings.widths[number - 1],
        kernel_sizes[number - 1],
        strides=settings.first_strides if first else 1,
        padding=settings.first_padding if first else None,
        groups=settings.groups if number in GROUPED else 1,
        bias=True,
        name=name,
        **make_initializers(settings, settings.initial_bias if number in BIASED else 0.0),
    )
    if settings.normalization == "batch_norm":
        x = op.batch_norm(x, settings.batch_norm_epsilon, name=f"{name}_bn")
    x = op.activation(x, "relu", name=f"{name}_relu")
    if number in POOLED and settings.pool_first:
        x = op.pool(x, "max", 3, 2, name=f"{name}_pool")
    if number in NORMALIZED and settings.normalization == "lrn":
        x = op.local_response_norm(x, constants=settings.normalization_constants, name=f"{name}_lrn")
    if number in POOLED and not settings.pool_first:
        x = op.pool(x, "max", 3, 2, name=f"{name}_pool")
    return x


def network(images: Any, settings: AlexNetSettings, classes: int) -> Any:
    """Apply five convolutions, two hidden dense layers and the classifier: (h, w, c) -> (classes,)."""
    x = images
    for number in range(1, 6):
        x = convolve(x, settings, number)
    x = op.flatten(x, name="flatten")
    for name in ("fc6", "fc7"):
        if settings.dropout_first:
            x = op.dropout(x, settings.dropout, name=f"{name}_dropout")
        x = op.dense(x, settings.dense_width, name=name, **make_initializers(settings, settings.initial_bias))
        x = op.activation(x, "relu", name=f"{name}_relu")
        if not settings.dropout_first:
            x = op.dropout(x, settings.dropout, name=f"{name}_dropout")
    return op.dense(x, classes, name="logits", **make_initializers(settings, 0.0))


CAFFE = AlexNetSettings(normalization_constants="caffe", initial_bias=0.1)
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


def read_first_padding(layers: Layers) -> int:
    """Return the zero padding of the images in pixels."""
    return int(layers["conv1_pad"].padding[0][0]) if "conv1_pad" in layers else 0


TORCHVISION = Layout(
    libraries=("torchvision",),
    identifying_layers=frozenset({"conv5", "fc6"}),
    names=numbered(r"conv\d+(_relu|_pool)?", fc6="classifier.1", fc7="classifier.4", logits="classifier.6"),
    settings={
        "first_strides": Required(lambda layers: layers["conv1"].strides[0], (4,)),
        "first_padding": Required(read_first_padding, (2,)),
        "normalization": required_normalization("none"),
    },
)

FAMILY = Family(
    name="alexnet",
    about=__doc__,
    papers=(
        Paper(
            title="ImageNet Classification with Deep Convolutional Neural Networks",
            authors="Alex Krizhevsky, Ilya Sutskever, Geoffrey E. Hinton",
            year=2012,
            venue="Advances in Neural Information Processing Systems 25",
        ),
    ),
    network=network,
    variants={
        "alexnet": Variant(AlexNetSettings(), (227, 227, 3), 1000),
        "alexnet-ungrouped": Variant(AlexNetSettings(groups=1), (227, 227, 3), 1000),
        "alexnet-caffe": Variant(CAFFE, (227, 227, 3), 1000),
        "caffenet": Variant(CAFFE.replace({"pool_first": True}), (227, 227, 3), 1000),
        "alexnet-owt": Variant(ONE_WEIRD_TRICK, (224, 224, 3), 1000),
        "alexnet-small": Variant(SMALL_IMAGES, (32, 32, 3), 10),
    },
    results=(
        *make_results("ImageNet", "top-1 error, %, 10 crops", "Table 2", {"alexnet": 40.7}),
        *make_results("ImageNet", "top-5 error, %, 10 crops", "Table 2", {"alexnet": 18.2}),
        *make_results("ImageNet", "top-1 accuracy, %, 1 crop", "readme of BVLC's model", {"alexnet-caffe": 57.1}),
        *make_results(
            "ImageNet", "top-1 accuracy, %, 1 crop", "torchvision's table of weights", {"alexnet-owt": 56.522}
        ),
    ),
    # Section 5. The paper divides the learning rate by 10 three times, when the validation error stops improving.
    paper_recipe=SGD_RECIPE.replace({"epochs": 90, "batch_size": 128, "learning_rate": 0.01, "weight_decay": 5e-4}),
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
    diagrams={"The paper's network": "alexnet"},
    layouts=(TORCHVISION,),
    pretrained=of_torchvision({"alexnet-owt": ("alexnet-owt-7be5be79.pth", 56.522, 233.1)}),
)
