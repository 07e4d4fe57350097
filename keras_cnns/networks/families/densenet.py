"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2017, "Densely Connected Convolutional Networks").

The idea: every layer sees the maps of all layers before it and adds a few (the growth rate) of its own, so that
features are reused instead of learnt again, gradients have short ways, and few parameters suffice. B networks
squeeze what a layer sees through a 1x1 bottleneck, C networks let transitions drop half of the maps.

What differs between paper and popular code: the paper's transition is batch norm, 1x1 convolution, pooling; the
authors' code and all others have a ReLU after the batch norm (`transition_relu`). The published sizes of the
CIFAR networks without B and C need the paper's 16 maps in the stem; the authors' released code makes 2k.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_cnns.networks import backend, operations
from keras_cnns.networks.counting import SymbolicTensor, stack
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import (
    batch_norm_relu,
    concatenate,
    convolution,
    dense,
    global_average_pool,
    imagenet_stem,
    pool,
)
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, NoneOr, Settings, TupleOf, setting


@dataclass(frozen=True, kw_only=True)
class DenseNetSettings(Settings):
    """Free choices of a densely connected network (Huang et al. 2017, section 3).

    Attributes:
        blocks: Layers of each dense block.
        growth_rate: SymbolicTensor that each layer adds (k).
        bottleneck_width: SymbolicTensor of the 1x1 bottleneck as a multiple of the growth rate; None: no bottleneck.
        compression: Share of its maps that a transition keeps (theta).
        stem: "imagenet" is a 7x7 convolution and a pooling, each of stride 2; "cifar" a 3x3 convolution.
        stem_width: SymbolicTensor of the stem; None: twice the growth rate.
        dropout: Share of the maps that is left out after each convolution but the stem's; the paper has 0.2 on
            data without augmentation.
        transition_relu: The ReLU in transitions that code has and the paper's text has not.
        recompute: Compute what layers concatenate and normalise again for the gradient instead of keeping it, which
            saves memory and takes time (Pleiss et al. 2017).
        batch_norm_epsilon: Added to variances; 1e-5 in the authors' code.
    """

    blocks: tuple[int, ...] = setting((6, 12, 24, 16), TupleOf(IntRange(1, 512)))
    growth_rate: int = setting(32, IntRange(1, 512))
    bottleneck_width: int | None = setting(4, NoneOr(IntRange(1, 64)))
    compression: float = setting(0.5, FloatRange(0.05, 1.0))
    stem: str = setting("imagenet", Choice(("imagenet", "cifar")))
    stem_width: int | None = setting(None, NoneOr(IntRange(1, 4096)))
    dropout: float = setting(0.0, FloatRange(0.0, 0.9))
    transition_relu: bool = setting(True, BOOLEAN)
    recompute: bool = setting(False, BOOLEAN)
    batch_norm_epsilon: float = setting(1e-5, FloatRange(1e-7, 1e-1, log=True))


def composite(
    maps: Sequence[Any],
    width: int,
    kernel_size: int,
    *,
    dropout: float,
    batch_norm_epsilon: float,
    recompute: bool,
    name: str,
) -> Any:
    """BN - ReLU - convolution, dropout if any: [(h, w, c)] -> (h, w, width); several maps where recomputed."""
    if recompute:
        layer = backend.layers.RecomputedComposite(
            width, kernel_size, epsilon=batch_norm_epsilon, name=f"{name}_recomputed"
        )
        x = layer(list(maps))
    else:
        (x,) = maps
        x = batch_norm_relu(x, batch_norm_epsilon, name=name)
        x = convolution(x, width, kernel_size, name=f"{name}_conv")
    return operations.dropout(x, dropout, name=f"{name}_dropout")


def new_maps(maps: Sequence[Any], *, growth_rate: int, bottleneck_width: int | None, name: str, **options: Any) -> Any:
    """The maps that one layer adds: [(h, w, c)] -> (h, w, growth_rate)."""
    if bottleneck_width is not None:
        maps = [composite(maps, bottleneck_width * growth_rate, 1, name=f"{name}_bottleneck", **options)]
    return composite(maps, growth_rate, 3, name=name, **options)


def dense_block(
    x: Any,
    *,
    layers: int,
    growth_rate: int,
    bottleneck_width: int | None = 4,
    dropout: float = 0.0,
    recompute: bool = False,
    batch_norm_epsilon: float = 1e-5,
    name: str = "block",
) -> Any:
    """Each layer sees all maps before it: (h, w, c) -> (h, w, c + layers * growth_rate).

    Args:
        x: SymbolicTensor.
        layers: How many layers.
        growth_rate: SymbolicTensor that each layer adds.
        bottleneck_width: SymbolicTensor of the 1x1 bottleneck as a multiple of the growth rate; None: no bottleneck.
        dropout: Share of the maps that is left out after each convolution.
        recompute: Compute what layers concatenate and normalise again for the gradient, to save memory.
        batch_norm_epsilon: Added to variances.
        name: Begins the names of the layers.
    """
    recompute = recompute and not isinstance(x, SymbolicTensor)  # it changes no count
    added = functools.partial(
        new_maps,
        growth_rate=growth_rate,
        bottleneck_width=bottleneck_width,
        dropout=dropout,
        recompute=recompute,
        batch_norm_epsilon=batch_norm_epsilon,
    )
    if recompute:
        maps = [x]
        for index in range(1, layers + 1):
            maps.append(added(maps, name=f"{name}_layer{index}"))
        return concatenate(maps, name=f"{name}_layer{layers}_concat")

    def layer(x: Any, index: int) -> Any:
        layer_name = f"{name}_layer{index}"
        return concatenate([x, added([x], name=layer_name)], name=f"{layer_name}_concat")

    return stack(x, layers, layer)


def transition(x: Any, settings: DenseNetSettings, name: str) -> Any:
    """Fewer maps, half as wide and high: (h, w, c) -> (h // 2, w // 2, floor(compression * c))."""
    width = max(1, int(settings.compression * x.shape[-1]))
    x = batch_norm_relu(x, settings.batch_norm_epsilon, name=name, relu=settings.transition_relu)
    x = convolution(x, width, 1, name=f"{name}_conv")
    x = operations.dropout(x, settings.dropout, name=f"{name}_dropout")
    return pool(x, "average", 2, 2, name=f"{name}_pool")


def network(images: Any, settings: DenseNetSettings, classes: int) -> Any:
    """Stem, dense blocks with transitions between them, BN - ReLU - global average - classes."""
    stem_width = settings.stem_width or 2 * settings.growth_rate
    if settings.stem == "imagenet":
        x = imagenet_stem(images, stem_width, epsilon=settings.batch_norm_epsilon)
    else:
        x = convolution(images, stem_width, 3, name="stem_conv")
    for index, layers in enumerate(settings.blocks, start=1):
        x = dense_block(
            x,
            layers=layers,
            growth_rate=settings.growth_rate,
            bottleneck_width=settings.bottleneck_width,
            dropout=settings.dropout,
            recompute=settings.recompute,
            batch_norm_epsilon=settings.batch_norm_epsilon,
            name=f"block{index}",
        )
        if index < len(settings.blocks):
            x = transition(x, settings, name=f"transition{index}")
    x = batch_norm_relu(x, settings.batch_norm_epsilon, name="final")
    x = global_average_pool(x, name="pool")
    return dense(x, classes, name="logits")


def imagenet(blocks: tuple[int, ...], growth_rate: int = 32) -> Variant:
    """A network of table 1: B and C, 224x224 pixels, 1,000 classes."""
    settings = DenseNetSettings(blocks=blocks, growth_rate=growth_rate)
    return Variant(settings=settings, input_shape=(224, 224, 3), classes=1000)


def cifar(depth: int, growth_rate: int = 12, *, bottleneck: bool) -> Variant:
    """A network of table 2: three blocks that together with stem, transitions and classifier are L deep."""
    layers = (depth - 4) // (6 if bottleneck else 3)
    settings = DenseNetSettings(
        blocks=(layers,) * 3,
        growth_rate=growth_rate,
        bottleneck_width=4 if bottleneck else None,
        compression=0.5 if bottleneck else 1.0,
        stem="cifar",
        stem_width=None if bottleneck else 16,
    )
    return Variant(settings=settings, input_shape=(32, 32, 3), classes=10)


VARIANTS = {
    "densenet121": imagenet((6, 12, 24, 16)),
    "densenet169": imagenet((6, 12, 32, 32)),
    "densenet201": imagenet((6, 12, 48, 32)),
    "densenet161": imagenet((6, 12, 36, 24), growth_rate=48),
    "densenet264": imagenet((6, 12, 64, 48)),
    "densenet-40": cifar(40, bottleneck=False),
    "densenet-100": cifar(100, bottleneck=False),
    "densenet-100-k24": cifar(100, 24, bottleneck=False),
    "densenet-bc-40": cifar(40, bottleneck=True),
    "densenet-bc-100": cifar(100, bottleneck=True),
    "densenet-bc-250-k24": cifar(250, 24, bottleneck=True),
    "densenet-bc-190-k40": cifar(190, 40, bottleneck=True),
}

TABLE_2 = "Table 2, as in the authors' README"
RESULTS = (
    Result(
        variant="densenet121",
        data="ImageNet",
        measure="top-1 error, %, 1 crop",
        value=25.02,
        source="Table 3",
    ),
    Result(
        variant="densenet169",
        data="ImageNet",
        measure="top-1 error, %, 1 crop",
        value=23.80,
        source="Table 3",
    ),
    Result(
        variant="densenet201",
        data="ImageNet",
        measure="top-1 error, %, 1 crop",
        value=22.58,
        source="Table 3",
    ),
    Result(
        variant="densenet264",
        data="ImageNet",
        measure="top-1 error, %, 1 crop",
        value=22.15,
        source="Table 3",
    ),
    Result(variant="densenet-40", data="CIFAR-10+", measure="test error, %", value=5.24, source=TABLE_2),
    Result(variant="densenet-100", data="CIFAR-10+", measure="test error, %", value=4.10, source=TABLE_2),
    Result(variant="densenet-100-k24", data="CIFAR-10+", measure="test error, %", value=3.74, source=TABLE_2),
    Result(variant="densenet-bc-100", data="CIFAR-10+", measure="test error, %", value=4.51, source=TABLE_2),
    Result(variant="densenet-bc-250-k24", data="CIFAR-10+", measure="test error, %", value=3.62, source=TABLE_2),
    Result(variant="densenet-bc-190-k40", data="CIFAR-10+", measure="test error, %", value=3.46, source=TABLE_2),
)

FAMILY = Family(
    name="densenet",
    about=__doc__,
    papers=(
        Paper(
            title="Densely Connected Convolutional Networks",
            authors="Gao Huang, Zhuang Liu, Laurens van der Maaten, Kilian Q. Weinberger",
            year=2017,
        ),
    ),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
    search=SearchSpace(
        base="densenet-bc-40",
        domains={
            "blocks": Choice(((2, 2, 2), (3, 3, 3), (4, 4, 4), (6, 6, 6), (4, 4), (6, 6), (2, 4, 6))),
            "growth_rate": IntRange(4, 24, step=4),
            "bottleneck_width": Choice((None, 2, 4)),
            "compression": Choice((0.5, 0.75, 1.0)),
            "dropout": Choice((0.0, 0.1, 0.2)),
        },
    ),
)
