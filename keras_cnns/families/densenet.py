"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2017, "Densely Connected Convolutional Networks").

The idea: every layer sees the maps of all layers before it and adds a few (the growth rate) of its own, so that
features are reused instead of learnt again, gradients have short ways, and few parameters suffice. B networks
squeeze what a layer sees through a 1x1 bottleneck, C networks let transitions drop half of the maps.

What differs between paper and popular code: the paper's transition is batch norm, 1x1 convolution, pooling; the
authors' code and all others have a ReLU after the batch norm (`transition_relu`). The published sizes of the
CIFAR networks without B and C need the paper's 16 maps in the stem; the authors' released code makes 2k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.blocks import batch_norm_relu, convolution, imagenet_stem
from keras_cnns.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.lazy import keras
from keras_cnns.settings import BOOLEAN, Choice, Each, FloatRange, IntRange, Maybe, Settings, free


@dataclass(frozen=True, kw_only=True)
class DenseNetSettings(Settings):
    """Free choices of a densely connected network (Huang et al. 2017, section 3).

    Attributes:
        blocks: Layers of each dense block.
        growth_rate: Maps that each layer adds (k).
        bottleneck_width: Maps of the 1x1 bottleneck as a multiple of the growth rate; None: no bottleneck.
        compression: Share of its maps that a transition keeps (theta).
        stem: "imagenet" is a 7x7 convolution and a pooling, each of stride 2; "cifar" a 3x3 convolution.
        stem_width: Maps of the stem; None: twice the growth rate.
        dropout: Share of the maps that is left out after each convolution but the stem's; the paper has 0.2 on
            data without augmentation.
        transition_relu: The ReLU in transitions that code has and the paper's text has not.
        batch_norm_epsilon: Added to variances; 1e-5 in the authors' code.
    """

    blocks: tuple[int, ...] = free((6, 12, 24, 16), Each(IntRange(1, 512)))
    growth_rate: int = free(32, IntRange(1, 512))
    bottleneck_width: int | None = free(4, Maybe(IntRange(1, 64)))
    compression: float = free(0.5, FloatRange(0.05, 1.0))
    stem: str = free("imagenet", Choice(("imagenet", "cifar")))
    stem_width: int | None = free(None, Maybe(IntRange(1, 4096)))
    dropout: float = free(0.0, FloatRange(0.0, 0.9))
    transition_relu: bool = free(True, BOOLEAN)
    batch_norm_epsilon: float = free(1e-5, FloatRange(1e-7, 1e-1, log=True))


def smallest_side(settings: DenseNetSettings) -> int:
    """Return the smallest side in pixels that leaves each transition something to pool."""
    at_first_block: int = 2 ** (len(settings.blocks) - 1)
    return 4 * (at_first_block - 1) + 1 if settings.stem == "imagenet" else at_first_block


def composite(x: Any, settings: DenseNetSettings, width: int, kernel_size: int, name: str) -> Any:
    """BN - ReLU - convolution, dropout if any: (h, w, c) -> (h, w, width)."""
    x = batch_norm_relu(x, settings.batch_norm_epsilon, name=name)
    x = convolution(x, width, kernel_size, name=f"{name}_conv")
    return keras.layers.Dropout(settings.dropout, name=f"{name}_dropout")(x) if settings.dropout else x


def dense_layer(x: Any, settings: DenseNetSettings, name: str) -> Any:
    """The maps that one layer adds: (h, w, c) -> (h, w, growth_rate)."""
    if settings.bottleneck_width is not None:
        squeezed = settings.bottleneck_width * settings.growth_rate
        x = composite(x, settings, squeezed, 1, name=f"{name}_bottleneck")
    return composite(x, settings, settings.growth_rate, 3, name=name)


def dense_block(x: Any, settings: DenseNetSettings, layers: int, name: str) -> Any:
    """Each layer sees all maps before it: (h, w, c) -> (h, w, c + layers * growth_rate)."""
    for index in range(1, layers + 1):
        new_maps = dense_layer(x, settings, name=f"{name}_layer{index}")
        x = keras.layers.Concatenate(name=f"{name}_layer{index}_concat")([x, new_maps])
    return x


def transition(x: Any, settings: DenseNetSettings, name: str) -> Any:
    """Fewer maps, half as wide and high: (h, w, c) -> (h // 2, w // 2, floor(compression * c))."""
    width = max(1, int(settings.compression * x.shape[-1]))
    epsilon = settings.batch_norm_epsilon
    x = batch_norm_relu(x, epsilon, name=name, relu=settings.transition_relu)
    x = convolution(x, width, 1, name=f"{name}_conv")
    if settings.dropout:
        x = keras.layers.Dropout(settings.dropout, name=f"{name}_dropout")(x)
    return keras.layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def network(images: Any, settings: DenseNetSettings, classes: int) -> Any:
    """Stem, dense blocks with transitions between them, BN - ReLU - global average - classes."""
    stem_width = settings.stem_width or 2 * settings.growth_rate
    if settings.stem == "imagenet":
        x = imagenet_stem(images, stem_width, epsilon=settings.batch_norm_epsilon)
    else:
        x = convolution(images, stem_width, 3, name="stem_conv")
    for index, layers in enumerate(settings.blocks, start=1):
        x = dense_block(x, settings, layers, name=f"block{index}")
        if index < len(settings.blocks):
            x = transition(x, settings, name=f"transition{index}")
    x = batch_norm_relu(x, settings.batch_norm_epsilon, name="final")
    x = keras.layers.GlobalAveragePooling2D(name="average_pool")(x)
    return keras.layers.Dense(classes, name="logits")(x)


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
    papers=(
        Paper(
            title="Densely Connected Convolutional Networks",
            authors="Gao Huang, Zhuang Liu, Laurens van der Maaten, Kilian Q. Weinberger",
            year=2017,
        ),
    ),
    network=network,
    smallest_side=smallest_side,
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
