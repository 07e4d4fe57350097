"""Network in Network (Lin, Chen, Yan 2014, "Network In Network").

Idea: Replace the linear filters of a convolution by a small multilayer perceptron that slides over the feature maps:
a convolution followed by 1x1 convolutions (an "mlpconv" block). Replace the dense layers by global average pooling:
the last block computes one feature map per class, and the averages of these maps are the logits, which needs no
parameters and overfits less.

Differences between the paper and popular implementations: The paper gives only the structure. The widths are those of
the authors' configuration, which has average pooling after the second block where the paper has max pooling (`pools`),
and a ReLU after the feature maps of the classes (`final_relu`). The ImageNet network is the authors' released model;
the paper has no result for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks import operations as op
from keras_cnns.networks.family import ICLR, Block, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, NoneOr, Settings, TupleOf, setting


@dataclass(frozen=True, kw_only=True)
class NINSettings(Settings):
    """Settings of Network in Network (Lin et al. 2014, section 3).

    Attributes:
        widths: Number of filters of each block's first convolution.
        kernel_sizes: Kernel size of each block's first convolution.
        hidden_widths: Number of filters of each block's 1x1 convolutions, except the block's last one.
        output_widths: Number of filters of each block's last 1x1 convolution. The last block is not listed: it has one
            filter per class.
        pointwise_layers: Number of 1x1 convolutions in each block.
        pools: Pooling after each block except the last: "max" or "average", with 3x3 windows and a stride of 2.
        first_strides: Stride of the first convolution.
        first_padding: Zero padding of the images in pixels; None for half the kernel size.
        dropout: Dropout rate after pooling.
        dropout_after: Apply dropout after "every" pooling, or only after the "last".
        final_relu: Apply ReLU to the feature maps of the classes, as in the authors' configuration.
        batch_norm: Apply batch normalization after each convolution; not in the paper.
        batch_norm_epsilon: Constant added to the variance in batch normalization.
        initializer: Weight initialization: "normal" with a standard deviation of 0.05, or "he".
    """

    widths: tuple[int, ...] = setting((192, 192, 192), TupleOf(IntRange(1, 4096)))
    kernel_sizes: tuple[int, ...] = setting((5, 5, 3), TupleOf(IntRange(1, 15, step=2)))
    hidden_widths: tuple[int, ...] = setting((160, 192, 192), TupleOf(IntRange(1, 4096)))
    output_widths: tuple[int, ...] = setting((96, 192), TupleOf(IntRange(1, 4096), 0, 7))
    pointwise_layers: int = setting(2, IntRange(1, 8))
    pools: tuple[str, ...] = setting(("max", "average"), TupleOf(Choice(("max", "average")), 0, 7))
    first_strides: int = setting(1, IntRange(1, 4))
    first_padding: int | None = setting(None, NoneOr(IntRange(0, 7)))
    dropout: float = setting(0.5, FloatRange(0.0, 0.9))
    dropout_after: str = setting("every", Choice(("every", "last")))
    final_relu: bool = setting(True, BOOLEAN)
    batch_norm: bool = setting(False, BOOLEAN)
    batch_norm_epsilon: float = setting(1e-5, FloatRange(1e-7, 1e-1, log=True))
    initializer: str = setting("normal", Choice(("normal", "he")))

    def check_together(self) -> None:
        """Check that each tuple has one value per block, or one less where the last block has none."""
        blocks = len(self.widths)
        lengths = {"kernel_sizes": blocks, "hidden_widths": blocks, "output_widths": blocks - 1, "pools": blocks - 1}
        for name, length in lengths.items():
            if len(getattr(self, name)) != length:
                per_block = "one per block" if length == blocks else "one per block except the last"
                raise SettingError(f"widths has {blocks} blocks; give {name} {length} values, {per_block}.")


def mlpconv(
    x: Any,
    *,
    width: int,
    kernel_size: int,
    pointwise_widths: tuple[int, ...],
    strides: int = 1,
    padding: int | None = None,
    final_relu: bool = True,
    batch_norm_epsilon: float | None = None,
    initializer: str = "normal",
    name: str = "mlpconv",
) -> Any:
    """Apply a convolution and 1x1 convolutions, each with ReLU: (h, w, c) -> (h / s, w / s, pointwise_widths[-1]).

    Args:
        x: Input tensor.
        width: Number of filters of the first convolution.
        kernel_size: Kernel size of the first convolution.
        pointwise_widths: Number of filters of each 1x1 convolution.
        strides: Stride of the first convolution.
        padding: Zero padding of the first convolution in pixels; None for half the kernel size.
        final_relu: Apply ReLU after the last 1x1 convolution.
        batch_norm_epsilon: Constant added to the variance in batch normalization; None for no batch normalization.
        initializer: "normal" or "he".
        name: Prefix of the layer names.
    """
    weights = op.gaussian(0.05) if initializer == "normal" else "he_normal"
    layers: list[tuple[str, int, int, int, int | None]] = [(f"{name}_conv", width, kernel_size, strides, padding)]
    layers += [(f"{name}_mlp{index}", filters, 1, 1, None) for index, filters in enumerate(pointwise_widths, start=1)]
    for layer, filters, side, stride, pad in layers:
        x = op.convolution(x, filters, side, strides=stride, padding=pad, bias=True, initializer=weights, name=layer)
        relu = final_relu or layer != layers[-1][0]
        if batch_norm_epsilon is not None:
            x = op.batch_norm_relu(x, batch_norm_epsilon, name=layer, relu=relu)
        elif relu:
            x = op.activation(x, "relu", name=f"{layer}_relu")
    return x


def network(images: Any, settings: NINSettings, classes: int) -> Any:
    """Apply blocks with pooling between them and average the last feature maps: (h, w, c) -> (classes,)."""
    x = images
    outputs = (*settings.output_widths, classes)
    for number, output in enumerate(outputs, start=1):
        first, last = number == 1, number == len(outputs)
        x = mlpconv(
            x,
            width=settings.widths[number - 1],
            kernel_size=settings.kernel_sizes[number - 1],
            pointwise_widths=(settings.hidden_widths[number - 1],) * (settings.pointwise_layers - 1) + (output,),
            strides=settings.first_strides if first else 1,
            padding=settings.first_padding if first else None,
            final_relu=settings.final_relu or not last,
            batch_norm_epsilon=settings.batch_norm_epsilon if settings.batch_norm else None,
            initializer=settings.initializer,
            name=f"block{number}",
        )
        if not last:
            x = op.pool(x, settings.pools[number - 1], 3, 2, rounding="ceil", name=f"block{number}_pool")
            if settings.dropout_after == "every" or number == len(outputs) - 1:
                x = op.dropout(x, settings.dropout, name=f"block{number}_dropout")
    return op.global_average_pool(x, name="logits")


IMAGENET = NINSettings(
    widths=(96, 256, 384, 1024),
    kernel_sizes=(11, 5, 3, 3),
    hidden_widths=(96, 256, 384, 1024),
    output_widths=(96, 256, 384),
    pools=("max", "max", "max"),
    first_strides=4,
    first_padding=0,
    dropout_after="last",
)
MODERN = NINSettings(batch_norm=True, initializer="he", final_relu=False)

FAMILY = Family(
    name="nin",
    about=__doc__,
    papers=(
        Paper(
            title="Network In Network",
            authors="Min Lin, Qiang Chen, Shuicheng Yan",
            year=2014,
            venue=ICLR,
        ),
    ),
    network=network,
    variants={
        "nin-cifar": Variant(NINSettings(), (32, 32, 3), 10),
        "nin-cifar-bn": Variant(MODERN, (32, 32, 3), 10),
        "nin-imagenet": Variant(IMAGENET, (224, 224, 3), 1000),
    },
    results=(
        *make_results("CIFAR-10", "test error, %", "Table 1", {"nin-cifar": 10.41}),
        *make_results("CIFAR-10+", "test error, %", "Table 1", {"nin-cifar": 8.81}),
        *make_results("CIFAR-100", "test error, %", "Table 2", {"nin-cifar": 35.68}),
    ),
    paper_recipe="the paper gives neither the initial learning rate nor the number of epochs",
    search=SearchSpace(
        base="nin-cifar-bn",
        domains={
            "widths": Choice(((24, 24, 24), (48, 48, 48), (96, 96, 96), (192, 192, 192))),
            "hidden_widths": Choice(((24, 24, 24), (48, 48, 48), (96, 96, 96), (160, 192, 192))),
            "output_widths": Choice(((16, 24), (32, 48), (48, 96), (96, 192))),
            "pointwise_layers": IntRange(1, 3),
            "dropout": FloatRange(0.0, 0.6),
        },
    ),
    blocks=(mlpconv,),
    diagrams={
        "An mlpconv block": Block(mlpconv, (32, 32, 3), {"width": 192, "kernel_size": 5, "pointwise_widths": (160, 96)})
    },
)
