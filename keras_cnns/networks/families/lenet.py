"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition").

Idea: Learn the features as well as the classifier. Small kernels share their weights over all positions of the image,
subsampling lowers the resolution while the features become more abstract, and gradient descent trains the whole
network from pixels to classes.

Differences between the paper and popular implementations: In the paper, each channel of C3 is connected to only some
channels of S2 (table I), the subsampling layers have weights, the activation function is a scaled tanh, and the
outputs are distances to 7x12 bitmaps. The modern version has a fully connected C3, ordinary pooling, ReLU and a dense
softmax layer, and zero-pads 28x28 digits by two pixels. Caffe's "LeNet" is a different network: wider, without C5, and
with a hidden layer of 500 units.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks import operations as op
from keras_cnns.networks.backend import layers
from keras_cnns.networks.counting import SymbolicTensor
from keras_cnns.networks.family import Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, Settings, TupleOf, setting

# Table I: the channels of S2 that each channel of C3 is connected to.
C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Digits as 7x12 bitmaps in the style of figure 3, with each row of 7 pixels as a number. The pixels of the figure were
# not published as data.
DIGIT_BITMAPS = (
    (0x00, 0x1C, 0x22, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x22, 0x1C, 0x00),
    (0x00, 0x08, 0x18, 0x28, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 0x3E, 0x00),
    (0x00, 0x3E, 0x41, 0x41, 0x01, 0x02, 0x0C, 0x10, 0x20, 0x40, 0x7F, 0x00),
    (0x00, 0x7F, 0x02, 0x04, 0x08, 0x1E, 0x01, 0x01, 0x01, 0x41, 0x3E, 0x00),
    (0x00, 0x02, 0x06, 0x0A, 0x12, 0x22, 0x42, 0x7F, 0x02, 0x02, 0x02, 0x00),
    (0x00, 0x7F, 0x40, 0x40, 0x5E, 0x61, 0x01, 0x01, 0x01, 0x41, 0x3E, 0x00),
    (0x00, 0x1E, 0x20, 0x40, 0x40, 0x5E, 0x61, 0x41, 0x41, 0x21, 0x1E, 0x00),
    (0x00, 0x7F, 0x01, 0x02, 0x02, 0x04, 0x04, 0x08, 0x08, 0x10, 0x10, 0x00),
    (0x00, 0x3E, 0x41, 0x41, 0x41, 0x3E, 0x41, 0x41, 0x41, 0x41, 0x3E, 0x00),
    (0x00, 0x3C, 0x42, 0x41, 0x41, 0x43, 0x3D, 0x01, 0x01, 0x02, 0x3C, 0x00),
)


@dataclass(frozen=True, kw_only=True)
class LeNetSettings(Settings):
    """Settings of LeNet-5 (LeCun et al. 1998, section II-B).

    Attributes:
        convolution_widths: Number of filters of C1, C3 and C5; Caffe's network has two values and no C5.
        hidden_width: Number of units of F6, the last hidden layer.
        kernel_size: Kernel size of all convolutions.
        first_padding: Padding of the first convolution. With "same" and 5x5 kernels, the feature maps of 28x28 images
            are as large as those of 32x32 images with "valid".
        connections: Channels of S2 that C3 is connected to: those of table I ("partial") or all ("full").
        subsampling: "trainable" subsampling as in the paper, or "average" or "max" pooling.
        activation: Activation function; "scaled_tanh" is that of the paper (appendix A).
        convolution_activation: Activation function after convolutions: that of the hidden layer ("as_hidden"), or
            "none" as in Caffe's network.
        output: Output layer: distances to fixed codes ("radial_basis") or a "dense" layer.
        dropout: Dropout rate of F6; the paper does not use dropout.
    """

    convolution_widths: tuple[int, ...] = setting((6, 16, 120), TupleOf(IntRange(1, 4096), 2, 3))
    hidden_width: int = setting(84, IntRange(1, 65536))
    kernel_size: int = setting(5, IntRange(1, 15, step=2))
    first_padding: str = setting("same", Choice(("valid", "same")))
    connections: str = setting("full", Choice(("partial", "full")))
    subsampling: str = setting("max", Choice(("trainable", "average", "max")))
    activation: str = setting("relu", Choice(("scaled_tanh", "tanh", "sigmoid", "relu", "gelu")))
    convolution_activation: str = setting("as_hidden", Choice(("as_hidden", "none")))
    output: str = setting("dense", Choice(("radial_basis", "dense")))
    dropout: float = setting(0.0, FloatRange(0.0, 0.9))

    def check_together(self) -> None:
        """Check that partial connections are used with the widths of table I."""
        if self.connections == "partial" and self.convolution_widths[:2] != (6, 16):
            raise SettingError(
                "connections='partial' is table I of the paper and needs convolution_widths that begin with 6,16; "
                "with other widths use connections='full'."
            )


def class_codes(classes: int, width: int) -> list[list[int]]:
    """Return a code of -1 and +1 for each class: 7x12 bitmaps for digits, otherwise random codes.

    The paper mentions random codes as an alternative to bitmaps. They are drawn with a fixed seed.
    """
    if classes <= len(DIGIT_BITMAPS) and width == 7 * 12:
        return [[1 if row >> 6 - x & 1 else -1 for row in rows for x in range(7)] for rows in DIGIT_BITMAPS[:classes]]
    generator = random.Random(1998)  # noqa: S311
    return [[generator.choice((-1, 1)) for _ in range(width)] for _ in range(classes)]


def make_initializer(x: Any, activation: str, kernel_size: int = 1) -> Any:
    """Return the weight initializer of a fully connected layer with input `x`.

    It is the paper's for its scaled tanh, He's for ReLU and GELU, and Glorot's for other activation functions.
    """
    if activation != "scaled_tanh":
        return "he_normal" if activation in ("relu", "gelu") else "glorot_uniform"
    return op.uniform(2.4 / (x.shape[-1] * kernel_size**2))  # appendix A


def partial_convolution(x: Any, kernel_size: int, *, name: str) -> Any:
    """Apply C3 with the connections of table I: (h, w, 6) -> (h - k + 1, w - k + 1, 16)."""

    def count(x: SymbolicTensor) -> SymbolicTensor:
        height, width, channels = x.height - kernel_size + 1, x.width - kernel_size + 1, len(C3_CONNECTIONS)
        weights = kernel_size**2 * sum(map(len, C3_CONNECTIONS))
        macs = height * width * weights
        return x.layer_output(height, width, channels, trainable=weights + channels, macs=macs, name=name)

    return op.apply_layer(
        x, lambda: layers.PartiallyConnectedConv2D(C3_CONNECTIONS, kernel_size, name=name), count=count
    )


def convolve(x: Any, settings: LeNetSettings, index: int) -> Any:
    """Apply C1, C3 or C5: (h, w, c) -> (h - k + 1, w - k + 1, width), or (h, w, width) with padding."""
    name, kernel_size = ("c1", "c3", "c5")[index], settings.kernel_size
    if index == 1 and settings.connections == "partial":
        x = partial_convolution(x, kernel_size, name=name)
    else:
        x = op.convolution(
            x,
            settings.convolution_widths[index],
            kernel_size,
            padding=kernel_size // 2 if index == 0 and settings.first_padding == "same" else 0,
            bias=True,
            initializer=make_initializer(x, settings.activation, kernel_size),
            name=name,
        )
    if settings.convolution_activation == "none":
        return x
    return op.activation(x, settings.activation, name=f"{name}_activation")


def subsample(x: Any, settings: LeNetSettings, name: str) -> Any:
    """Apply S2 or S4: (h, w, c) -> (h // 2, w // 2, c)."""
    if settings.subsampling != "trainable":
        return op.pool(x, settings.subsampling, 2, 2, name=name)
    x = op.apply_layer(
        x,
        lambda: layers.TrainableSubsampling(name=name),
        count=lambda x: x.layer_output(x.height // 2, x.width // 2, x.channels, trainable=2 * x.channels, name=name),
    )
    return op.activation(x, settings.activation, name=f"{name}_activation")


def radial_basis_output(x: Any, classes: int) -> Any:
    """Compute the negative squared distance to the code of each class: (features,) -> (classes,)."""
    features = x.shape[-1]
    return op.apply_layer(
        x,
        lambda: layers.RadialBasisOutput(class_codes(classes, features), dtype="float32", name="logits"),
        count=lambda x: x.layer_output(1, 1, classes, fixed=features * classes),
    )


def network(images: Any, settings: LeNetSettings, classes: int) -> Any:
    """Apply C1, S2, C3, S4, C5, F6 and the output layer: (h, w, c) -> (classes,)."""
    x = subsample(convolve(images, settings, 0), settings, "s2")
    x = subsample(convolve(x, settings, 1), settings, "s4")
    if len(settings.convolution_widths) == 3:
        x = convolve(x, settings, 2)
    x = op.flatten(x, name="flatten")
    x = op.dense(x, settings.hidden_width, initializer=make_initializer(x, settings.activation), name="f6")
    x = op.activation(x, settings.activation, name="f6_activation")
    x = op.dropout(x, settings.dropout, name="f6_dropout")
    if settings.output == "radial_basis":
        return radial_basis_output(x, classes)
    return op.dense(x, classes, name="logits")


SOFTMAX_1998 = LeNetSettings(
    first_padding="valid", connections="partial", subsampling="trainable", activation="scaled_tanh"
)
CAFFE = LeNetSettings(
    convolution_widths=(20, 50), hidden_width=500, first_padding="valid", convolution_activation="none"
)

FAMILY = Family(
    name="lenet",
    about=__doc__,
    papers=(
        Paper(
            title="Gradient-Based Learning Applied to Document Recognition",
            authors="Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner",
            year=1998,
            venue="Proceedings of the IEEE",
        ),
    ),
    network=network,
    variants={
        "lenet5": Variant(LeNetSettings(), (28, 28, 1), 10),
        "lenet5-32": Variant(LeNetSettings(first_padding="valid"), (32, 32, 1), 10),
        "lenet5-1998": Variant(SOFTMAX_1998.replace({"output": "radial_basis"}), (32, 32, 1), 10),
        "lenet5-1998-softmax": Variant(SOFTMAX_1998, (32, 32, 1), 10),
        "lenet-caffe": Variant(CAFFE, (28, 28, 1), 10),
    },
    results=(
        *make_results("MNIST", "test error, %", "Fig. 9", {"lenet5-1998": 0.95}),
        *make_results("MNIST, distorted copies added", "test error, %", "Fig. 9", {"lenet5-1998": 0.8}),
    ),
    paper_recipe="the paper trains with the stochastic diagonal Levenberg-Marquardt method, whose step sizes for each "
    "parameter no Keras optimizer provides",
    search=SearchSpace(
        base="lenet5",
        domains={
            "convolution_widths": Choice(((6, 16, 120), (12, 32, 120), (20, 50, 120), (32, 64, 120))),
            "hidden_width": Choice((84, 128, 256)),
            "kernel_size": Choice((3, 5)),
            "subsampling": Choice(("average", "max")),
            "activation": Choice(("tanh", "relu")),
            "dropout": FloatRange(0.0, 0.5),
        },
    ),
    diagrams={"The modern variant, for 28×28 pixels": "lenet5"},
)
