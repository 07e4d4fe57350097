"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition").

The idea: learn the features too. Small shared kernels look at every place of the image, subsampling makes the
maps coarser and the features more abstract, and the whole is trained by gradient descent from pixels to class.

What differs between paper and popular code: the paper's C3 sees only some of S2's maps (table I), its
subsampling has weights, its squashing function is a scaled tanh and its outputs are distances to 7x12 bitmaps.
The modern reading has a full C3, plain pooling, ReLU and a dense softmax, and pads 28x28 digits by two pixels.
Caffe's "LeNet" is another network: wider, without C5, one hidden layer of 500.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.backend import layers
from keras_cnns.networks.counting import SymbolicTensor
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import activation, convolution, dense, dropout, flatten, pool
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, Settings, TupleOf, setting

# Table I: the maps of S2 that each map of C3 sees.
C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Digits on 7x12 bitmaps in the manner of figure 3, a row of 7 pixels as a number. The figure's own pixels were
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
    """Free choices of LeNet-5 (LeCun et al. 1998, section II-B).

    Attributes:
        convolution_widths: Maps of C1, C3 and C5; Caffe's network has no C5 and two values.
        hidden_width: Units of F6, the last hidden layer.
        kernel_size: Side of the square kernels.
        first_padding: "same" pads the first convolution, which makes 28x28 images do what 32x32 did.
        connections: C3 sees the maps of table I ("partial") or all ("full").
        subsampling: The paper's "trainable" one, or plain "average" or "max" pooling.
        activation: "scaled_tanh" as in the paper's appendix A, or a modern one.
        convolution_activation: Caffe's network has "none" after its convolutions.
        output: Distances to fixed codes ("radial_basis"), or a dense layer ("dense").
        dropout: Share of F6's units that are left out in training; the paper has none.
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
        """Table I is for 6 and 16 maps."""
        if self.connections == "partial" and self.convolution_widths[:2] != (6, 16):
            raise SettingError(
                "connections='partial' is table I of the paper, for convolution_widths that begin with 6,16; "
                "with other widths use connections='full'."
            )


def class_codes(classes: int, width: int) -> list[list[int]]:
    """Return a code of -1 and +1 for each class: digits as 7x12 bitmaps, others drawn at random.

    The paper names random codes as the alternative to bitmaps; the draw is the same every time.
    """
    if classes <= len(DIGIT_BITMAPS) and width == 7 * 12:
        return [[1 if row >> 6 - x & 1 else -1 for row in rows for x in range(7)] for rows in DIGIT_BITMAPS[:classes]]
    draw = random.Random(1998)  # noqa: S311
    return [[draw.choice((-1, 1)) for _ in range(width)] for _ in range(classes)]


def fan_in_uniform(x: Any, activation: str, kernel_size: int = 1) -> Any:
    """Return the initialiser of a layer that reads `x` fully: the paper's for its squashing function, else He's."""
    if activation != "scaled_tanh":
        return "he_normal" if activation in ("relu", "gelu") else "glorot_uniform"
    return None if isinstance(x, SymbolicTensor) else layers.FanInUniform(int(x.shape[-1]) * kernel_size**2)


def partial_convolution(x: Any, kernel_size: int, *, name: str) -> Any:
    """C3 as in table I: (h, w, 6) -> (h - k + 1, w - k + 1, 16)."""
    if not isinstance(x, SymbolicTensor):
        return layers.PartiallyConnectedConv2D(C3_CONNECTIONS, kernel_size, name=name)(x)
    height, width = x.height - kernel_size + 1, x.width - kernel_size + 1
    weights = kernel_size**2 * sum(map(len, C3_CONNECTIONS))
    maps = len(C3_CONNECTIONS)
    return x.after(height, width, maps, trainable=weights + maps, macs=height * width * weights)


def convolve(x: Any, settings: LeNetSettings, index: int) -> Any:
    """C1, C3 or C5: (h, w, c) -> (h - k + 1, w - k + 1, width), or (h, w, width) where padded."""
    name, kernel_size = ("c1", "c3", "c5")[index], settings.kernel_size
    if index == 1 and settings.connections == "partial":
        x = partial_convolution(x, kernel_size, name=name)
    else:
        x = convolution(
            x,
            settings.convolution_widths[index],
            kernel_size,
            padding=kernel_size // 2 if index == 0 and settings.first_padding == "same" else 0,
            bias=True,
            initializer=fan_in_uniform(x, settings.activation, kernel_size),
            name=name,
        )
    if settings.convolution_activation == "none":
        return x
    return activation(x, settings.activation, name=f"{name}_activation")


def subsample(x: Any, settings: LeNetSettings, name: str) -> Any:
    """S2 or S4: (h, w, c) -> (h // 2, w // 2, c)."""
    if settings.subsampling != "trainable":
        return pool(x, settings.subsampling, 2, 2, name=name)
    if isinstance(x, SymbolicTensor):
        return x.after(x.height // 2, x.width // 2, x.channels, trainable=2 * x.channels)
    return activation(layers.TrainableSubsampling(name=name)(x), settings.activation, name=f"{name}_activation")


def radial_basis_output(x: Any, classes: int) -> Any:
    """Minus the squared distance to each class's code: (features,) -> (classes,)."""
    features = x.shape[-1]
    if isinstance(x, SymbolicTensor):
        return x.after(1, 1, classes, fixed=features * classes)
    return layers.RadialBasisOutput(class_codes(classes, features), dtype="float32", name="logits")(x)


def network(images: Any, settings: LeNetSettings, classes: int) -> Any:
    """C1-S2-C3-S4-C5-F6-output: (h, w, c) -> (classes,)."""
    x = subsample(convolve(images, settings, 0), settings, "s2")
    x = subsample(convolve(x, settings, 1), settings, "s4")
    if len(settings.convolution_widths) == 3:
        x = convolve(x, settings, 2)
    x = flatten(x, name="flatten")
    x = dense(x, settings.hidden_width, initializer=fan_in_uniform(x, settings.activation), name="f6")
    x = activation(x, settings.activation, name="f6_activation")
    x = dropout(x, settings.dropout, name="f6_dropout")
    if settings.output == "radial_basis":
        return radial_basis_output(x, classes)
    return dense(x, classes, name="logits")


PAPER_1998: dict[str, Any] = {
    "first_padding": "valid",
    "connections": "partial",
    "subsampling": "trainable",
    "activation": "scaled_tanh",
}

VARIANTS = {
    "lenet5": Variant(settings=LeNetSettings(), input_shape=(28, 28, 1), classes=10),
    "lenet5-32": Variant(settings=LeNetSettings(first_padding="valid"), input_shape=(32, 32, 1), classes=10),
    "lenet5-1998": Variant(
        settings=LeNetSettings(output="radial_basis", **PAPER_1998), input_shape=(32, 32, 1), classes=10
    ),
    "lenet5-1998-softmax": Variant(settings=LeNetSettings(**PAPER_1998), input_shape=(32, 32, 1), classes=10),
    "lenet-caffe": Variant(
        settings=LeNetSettings(
            convolution_widths=(20, 50),
            hidden_width=500,
            first_padding="valid",
            convolution_activation="none",
        ),
        input_shape=(28, 28, 1),
        classes=10,
    ),
}

RESULTS = (
    Result(variant="lenet5-1998", data="MNIST", measure="test error, %", value=0.95, source="Fig. 9"),
    Result(
        variant="lenet5-1998",
        data="MNIST, distorted copies added",
        measure="test error, %",
        value=0.8,
        source="Fig. 9",
    ),
)

FAMILY = Family(
    name="lenet",
    about=__doc__,
    papers=(
        Paper(
            title="Gradient-Based Learning Applied to Document Recognition",
            authors="Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner",
            year=1998,
        ),
    ),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
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
)
