"""SqueezeNet (Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters").

Idea: Use as few parameters as possible. A Fire module squeezes its input into few channels with 1x1 convolutions before
it expands them with parallel 1x1 and 3x3 convolutions, so that few filters are 3x3 and those have few input channels.
There are no dense layers: the averages of the last feature maps are the logits.

Differences between the paper and popular implementations: The paper states 224x224 pixels, but only 227x227 pixels give
the 111x111 feature maps of its first convolution. Version 1.1 of the authors' repository has a smaller stem and pools
earlier, which needs less than half of the multiply-accumulates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.networks import operations as op
from keras_cnns.networks.family import Block, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, Settings, TupleOf, setting


@dataclass(frozen=True, kw_only=True)
class SqueezeNetSettings(Settings):
    """Settings of SqueezeNet (Iandola et al. 2016, section 5.1).

    Attributes:
        modules: Number of Fire modules of each stage, between which is max pooling.
        expand_width: Filters of the expand layers of the first two modules (base_e).
        expand_increment: Filters by which the expand layers grow after every two modules (incr_e).
        squeeze_ratio: Filters of a squeeze layer, as a fraction of those of the expand layer (SR).
        share_3x3: Fraction of the filters of the expand layers that are 3x3 (pct_3x3).
        stem_width: Number of filters of the stem.
        stem_kernel_size: Kernel size of the stem.
        stem_strides: Stride of the stem.
        dropout: Dropout rate before the last convolution.
    """

    modules: tuple[int, ...] = setting((3, 4, 1), TupleOf(IntRange(1, 64)))
    expand_width: int = setting(128, IntRange(2, 4096))
    expand_increment: int = setting(128, IntRange(0, 4096))
    squeeze_ratio: float = setting(0.125, FloatRange(0.01, 1.0))
    share_3x3: float = setting(0.5, FloatRange(0.01, 0.99))
    stem_width: int = setting(96, IntRange(1, 4096))
    stem_kernel_size: int = setting(7, IntRange(1, 15, step=2))
    stem_strides: int = setting(2, IntRange(1, 4))
    dropout: float = setting(0.5, FloatRange(0.0, 0.9))


def convolve(x: Any, width: int, kernel_size: int, *, name: str, **options: int) -> Any:
    """Apply a convolution with a bias and ReLU: (h, w, c) -> (h / s, w / s, width)."""
    x = op.convolution(x, width, kernel_size, bias=True, initializer="glorot_uniform", name=name, **options)
    return op.activation(x, "relu", name=f"{name}_relu")


def fire_module(x: Any, *, squeeze_width: int, width_1x1: int, width_3x3: int, name: str = "fire") -> Any:
    """Squeeze the channels, then expand them: (h, w, c) -> (h, w, width_1x1 + width_3x3).

    Args:
        x: Input tensor.
        squeeze_width: Filters of the 1x1 convolution of the squeeze layer.
        width_1x1: Filters of the 1x1 convolution of the expand layer.
        width_3x3: Filters of the 3x3 convolution of the expand layer.
        name: Prefix of the layer names.
    """
    x = convolve(x, squeeze_width, 1, name=f"{name}_squeeze")
    branches = [
        convolve(x, width_1x1, 1, name=f"{name}_expand_1x1"),
        convolve(x, width_3x3, 3, name=f"{name}_expand_3x3"),
    ]
    return op.concatenate(branches, name=f"{name}_concat")


def network(images: Any, settings: SqueezeNetSettings, classes: int) -> Any:
    """Apply the stem, stages of Fire modules and the last convolution, and average: (h, w, c) -> (classes,)."""
    stem = {"strides": settings.stem_strides, "padding": 0}
    x = convolve(images, settings.stem_width, settings.stem_kernel_size, name="stem_conv", **stem)
    number = 0
    for stage, modules in enumerate(settings.modules, start=1):
        x = op.pool(x, "max", 3, 2, rounding="ceil", name=f"stage{stage}_pool")
        for _ in range(modules):
            width = settings.expand_width + settings.expand_increment * (number // 2)
            width_3x3 = max(1, round(settings.share_3x3 * width))
            number += 1
            x = fire_module(
                x,
                squeeze_width=max(1, round(settings.squeeze_ratio * width)),
                width_1x1=max(1, width - width_3x3),
                width_3x3=width_3x3,
                name=f"stage{stage}_fire{number}",
            )
    x = op.dropout(x, settings.dropout, name="dropout")
    x = convolve(x, classes, 1, name="classifier")
    return op.global_average_pool(x, name="logits")


SMALL_STEM: dict[str, int] = {"stem_width": 64, "stem_kernel_size": 3}
SMALL_IMAGES = SqueezeNetSettings(
    modules=(2, 2), expand_width=32, expand_increment=32, stem_width=16, stem_kernel_size=3, stem_strides=1, dropout=0.2
)

FAMILY = Family(
    name="squeezenet",
    about=__doc__,
    papers=(
        Paper(
            title="SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
            authors="Forrest N. Iandola, Song Han, Matthew W. Moskewicz, Khalid Ashraf, William J. Dally, Kurt Keutzer",
            year=2016,
        ),
    ),
    network=network,
    variants={
        "squeezenet": Variant(SqueezeNetSettings(), (227, 227, 3), 1000),
        "squeezenet-1.1": Variant(SqueezeNetSettings(modules=(2, 2, 4), **SMALL_STEM), (227, 227, 3), 1000),
        "squeezenet-small": Variant(SMALL_IMAGES, (32, 32, 3), 10),
    },
    results=make_results("ImageNet", "top-1 accuracy, %, 1 crop", "Table 2", {"squeezenet": 57.5}),
    paper_recipe="the paper refers to its repository for the number of epochs and the batch size",
    search=SearchSpace(
        base="squeezenet-small",
        domains={
            "modules": Choice(((1, 1), (2, 2), (2, 4))),
            "expand_width": Choice((16, 32, 64)),
            "squeeze_ratio": FloatRange(0.1, 0.75),
            "share_3x3": FloatRange(0.1, 0.9),
        },
    ),
    blocks=(fire_module,),
    diagrams={
        "The second Fire module": Block(
            fire_module, (55, 55, 96), {"squeeze_width": 16, "width_1x1": 64, "width_3x3": 64}
        )
    },
)
