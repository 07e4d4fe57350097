"""Network in Network (Lin, Chen, Yan 2014, "Network In Network").

The idea: instead of a linear filter slide a small multilayer perceptron over the maps, which is a convolution followed
by 1x1 convolutions (an "mlpconv" block). And instead of dense layers let the last block make one map for each class,
whose averages are the logits: no parameters, less overfitting.

What differs between paper and popular code: the paper's text gives the structure only; widths are those of the
authors' configuration, which also pools averages after the second block where the text says maxima (`pools`), and has
a ReLU after the maps of the classes (`final_relu`). The ImageNet network is the authors' released one; the paper has
no result for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import (
    activation,
    batch_norm_relu,
    convolution,
    dropout,
    gaussian,
    global_average_pool,
    pool,
)
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, NoneOr, Settings, TupleOf, setting

POOLS = Choice(("max", "average"))


@dataclass(frozen=True, kw_only=True)
class NINSettings(Settings):
    """Free choices of Network in Network (Lin et al. 2014, section 3).

    Attributes:
        widths: Maps of each block's convolution.
        kernel_sizes: Side of each block's convolution.
        hidden_widths: Maps of each block's 1x1 convolutions but its last.
        output_widths: Maps of the last 1x1 convolution of each block but the last, whose maps are the classes'.
        pointwise_layers: 1x1 convolutions of each block.
        pools: What follows each block but the last: "max" or "average" pooling, 3x3 of stride 2.
        first_strides: Step of the first convolution.
        first_padding: Pixels of zeros around the images; None: half the kernel, which keeps their size.
        dropout: Share of the values that is left out after a pooling.
        dropout_after: After "every" pooling, or only the "last".
        final_relu: The ReLU after the maps of the classes that the authors' configuration has.
        batch_norm: Batch norm after each convolution, in no paper.
        batch_norm_epsilon: Added to variances.
        initializer: Weights start "normal" with a standard deviation of 0.05, or as "he" draws them.
    """

    widths: tuple[int, ...] = setting((192, 192, 192), TupleOf(IntRange(1, 4096)))
    kernel_sizes: tuple[int, ...] = setting((5, 5, 3), TupleOf(IntRange(1, 15, step=2)))
    hidden_widths: tuple[int, ...] = setting((160, 192, 192), TupleOf(IntRange(1, 4096)))
    output_widths: tuple[int, ...] = setting((96, 192), TupleOf(IntRange(1, 4096), 0, 7))
    pointwise_layers: int = setting(2, IntRange(1, 8))
    pools: tuple[str, ...] = setting(("max", "average"), TupleOf(POOLS, 0, 7))
    first_strides: int = setting(1, IntRange(1, 4))
    first_padding: int | None = setting(None, NoneOr(IntRange(0, 7)))
    dropout: float = setting(0.5, FloatRange(0.0, 0.9))
    dropout_after: str = setting("every", Choice(("every", "last")))
    final_relu: bool = setting(True, BOOLEAN)
    batch_norm: bool = setting(False, BOOLEAN)
    batch_norm_epsilon: float = setting(1e-5, FloatRange(1e-7, 1e-1, log=True))
    initializer: str = setting("normal", Choice(("normal", "he")))

    def check_together(self) -> None:
        """Each block has a width, a kernel and a hidden width; all but the last have an output and a pooling."""
        blocks = len(self.widths)
        for name, wanted in (("kernel_sizes", blocks), ("hidden_widths", blocks)):
            if len(getattr(self, name)) != wanted:
                raise SettingError(f"widths has {blocks} blocks; give {name} as many values, one a block.")
        for name in ("output_widths", "pools"):
            if len(getattr(self, name)) != blocks - 1:
                raise SettingError(f"widths has {blocks} blocks; give {name} {blocks - 1} values, the last needs none.")


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
    """A convolution and 1x1 convolutions, each with a ReLU: (h, w, c) -> (h / s, w / s, last of the widths).

    Args:
        x: Maps.
        width: Maps of the convolution.
        kernel_size: Its kernels' side.
        pointwise_widths: Maps of each 1x1 convolution.
        strides: Step of the convolution.
        padding: Pixels of zeros on each side; half the kernel by default.
        final_relu: A ReLU after the last 1x1 convolution too.
        batch_norm_epsilon: Added to the variances of batch norm after each convolution; None: no batch norm.
        initializer: "normal" or "he".
        name: Begins the names of the layers.
    """
    start = gaussian(x, 0.05) if initializer == "normal" else "he_normal"
    layers = [(f"{name}_conv", width, kernel_size)]
    layers += [(f"{name}_mlp{index}", maps, 1) for index, maps in enumerate(pointwise_widths, start=1)]
    for layer, maps, side in layers:
        first, last = layer == layers[0][0], layer == layers[-1][0]
        x = convolution(
            x,
            maps,
            side,
            strides=strides if first else 1,
            padding=padding if first else None,
            bias=True,
            initializer=start,
            name=layer,
        )
        relu = final_relu or not last
        if batch_norm_epsilon is not None:
            x = batch_norm_relu(x, batch_norm_epsilon, name=layer, relu=relu)
        elif relu:
            x = activation(x, "relu", name=f"{layer}_relu")
    return x


def network(images: Any, settings: NINSettings, classes: int) -> Any:
    """Blocks with pooling between them; the averages of the last one's maps are the logits."""
    x = images
    outputs = (*settings.output_widths, classes)
    for number, output in enumerate(outputs, start=1):
        first, last = number == 1, number == len(outputs)
        hidden = settings.hidden_widths[number - 1]
        x = mlpconv(
            x,
            width=settings.widths[number - 1],
            kernel_size=settings.kernel_sizes[number - 1],
            pointwise_widths=(hidden,) * (settings.pointwise_layers - 1) + (output,),
            strides=settings.first_strides if first else 1,
            padding=settings.first_padding if first else None,
            final_relu=settings.final_relu or not last,
            batch_norm_epsilon=settings.batch_norm_epsilon if settings.batch_norm else None,
            initializer=settings.initializer,
            name=f"block{number}",
        )
        if not last:
            x = pool(x, settings.pools[number - 1], 3, 2, rounding="ceil", name=f"block{number}_pool")
            if settings.dropout_after == "every" or number == len(outputs) - 1:
                x = dropout(x, settings.dropout, name=f"block{number}_dropout")
    return global_average_pool(x, name="logits")


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

VARIANTS = {
    "nin-cifar": Variant(settings=NINSettings(), input_shape=(32, 32, 3), classes=10),
    "nin-cifar-bn": Variant(settings=MODERN, input_shape=(32, 32, 3), classes=10),
    "nin-imagenet": Variant(settings=IMAGENET, input_shape=(224, 224, 3), classes=1000),
}

RESULTS = (
    Result(variant="nin-cifar", data="CIFAR-10", measure="test error, %", value=10.41, source="Table 1"),
    Result(variant="nin-cifar", data="CIFAR-10+", measure="test error, %", value=8.81, source="Table 1"),
    Result(variant="nin-cifar", data="CIFAR-100", measure="test error, %", value=35.68, source="Table 2"),
)

FAMILY = Family(
    name="nin",
    about=__doc__,
    papers=(Paper(title="Network In Network", authors="Min Lin, Qiang Chen, Shuicheng Yan", year=2014),),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
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
)
