"""GoogLeNet, Inception v1 (Szegedy et al. 2015, "Going Deeper with Convolutions").

The idea: look at the maps at several scales at once. An Inception module runs 1x1, 3x3 and 5x5 convolutions and a
pooling side by side and puts what they give behind each other; 1x1 convolutions before the large kernels keep that
affordable. Auxiliary classifiers in the middle give the early layers a loss of their own while training.

What differs between paper and popular code: table 1 of the paper lists 2.7K parameters for the first convolution and
34M operations, which a plain one (9.4K, 118M) as in all code does not have. Caffe's constants of local response
normalisation are not AlexNet's (`normalization_constants`). torchvision has batch norm, 3x3 kernels where the paper has
5x5 (`large_kernel_size`; a known mistake), a 2x2 last pooling (`last_pool_size`), dropout of 0.2, and averages the maps
of auxiliary classifiers over 4x4 uneven windows instead of 5x5 ones of stride 3 (`auxiliary_pool`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks.family import Family, Paper, Result, SearchSpace, Variant
from keras_cnns.networks.operations import (
    activation,
    adaptive_average_pool,
    batch_norm_relu,
    concatenate,
    convolution,
    dense,
    dropout,
    flatten,
    global_average_pool,
    local_response_norm,
    pool,
)
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, Settings, TupleOf, setting

# Table 1: maps of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection, of each module of stages 3, 4 and 5.
MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
MULTIPLIER = FloatRange(0.05, 4.0)


@dataclass(frozen=True, kw_only=True)
class GoogLeNetSettings(Settings):
    """Free choices of GoogLeNet (Szegedy et al. 2015, sections 4 and 5).

    Attributes:
        modules: Inception modules of each of the three stages; more than the paper's repeat its last.
        module: "reduction" (figure 2b: 1x1 convolutions before the large ones and after the pooling) or "naive"
            (figure 2a: none of them).
        width_multiplier: Makes all maps more or fewer.
        bottleneck_multiplier: Makes those of the 1x1 convolutions before the large ones more or fewer beside.
        pool_projection_multiplier: The same for those of the 1x1 convolution after the pooling.
        large_kernel_size: Side of the modules' largest kernels: 5, or 3 as in torchvision.
        normalization: In the stem local response normalisation ("lrn"), after all convolutions batch norm instead of
            biases ("batch_norm"), or "none".
        normalization_constants: Of local response normalisation: AlexNet's "paper"'s or "caffe"'s.
        last_pool_size: Side of the windows of the pooling before the last stage: 3, or 2 as in torchvision.
        dropout: Share of the averages that is left out before the classes.
        auxiliary_classifiers: Train with auxiliary classifiers.
        auxiliary_after: The modules, numbered from 1, after which they stand: the third (4a) and the sixth (4d).
        auxiliary_weight: What the loss of each counts beside that of the whole.
        auxiliary_pool: Their average pooling: "paper" is 5x5 of stride 3, "adaptive" torchvision's 4x4 windows.
        auxiliary_dropout: Share of their hidden units that is left out.
        batch_norm_epsilon: Added to variances; 1e-3 in torchvision.
    """

    modules: tuple[int, ...] = setting((2, 5, 2), TupleOf(IntRange(1, 16), 3, 3))
    module: str = setting("reduction", Choice(("reduction", "naive")))
    width_multiplier: float = setting(1.0, MULTIPLIER)
    bottleneck_multiplier: float = setting(1.0, MULTIPLIER)
    pool_projection_multiplier: float = setting(1.0, MULTIPLIER)
    large_kernel_size: int = setting(5, Choice((5, 3)))
    normalization: str = setting("lrn", Choice(("lrn", "batch_norm", "none")))
    normalization_constants: str = setting("paper", Choice(("paper", "caffe")))
    last_pool_size: int = setting(3, Choice((3, 2)))
    dropout: float = setting(0.4, FloatRange(0.0, 0.9))
    auxiliary_classifiers: bool = setting(False, BOOLEAN)
    auxiliary_after: tuple[int, ...] = setting((3, 6), TupleOf(IntRange(1, 48)))
    auxiliary_weight: float = setting(0.3, FloatRange(0.0, 10.0))
    auxiliary_pool: str = setting("paper", Choice(("paper", "adaptive")))
    auxiliary_dropout: float = setting(0.7, FloatRange(0.0, 0.9))
    batch_norm_epsilon: float = setting(1e-3, FloatRange(1e-7, 1e-1, log=True))

    def check_together(self) -> None:
        """Auxiliary classifiers stand after different modules that there are."""
        if not self.auxiliary_classifiers:
            return
        if len(set(self.auxiliary_after)) < len(self.auxiliary_after):
            raise SettingError(f"auxiliary_after {self.auxiliary_after} names a module twice; name each once.")
        if max(self.auxiliary_after) > sum(self.modules):
            raise SettingError(
                f"auxiliary_after names module {max(self.auxiliary_after)}, and there are {sum(self.modules)}; use 1 "
                f"to {sum(self.modules)}."
            )

    def scaled(self, width: int, multiplier: float = 1.0) -> int:
        """Return how many maps there are instead of the paper's."""
        return max(1, round(width * self.width_multiplier * multiplier))


def unit(
    x: Any,
    width: int,
    kernel_size: int,
    *,
    strides: int = 1,
    batch_norm_epsilon: float | None = None,
    name: str,
) -> Any:
    """Convolution (with a bias, or batch norm) and ReLU: (h, w, c) -> (h / s, w / s, width)."""
    if batch_norm_epsilon is not None:
        x = convolution(x, width, kernel_size, strides=strides, name=name)
        return batch_norm_relu(x, batch_norm_epsilon, name=name)
    x = convolution(x, width, kernel_size, strides=strides, bias=True, initializer="glorot_uniform", name=name)
    return activation(x, "relu", name=f"{name}_relu")


def inception_module(
    x: Any,
    *,
    width_1x1: int = 64,
    width_3x3_reduce: int = 96,
    width_3x3: int = 128,
    width_5x5_reduce: int = 16,
    width_5x5: int = 32,
    pool_projection: int = 32,
    naive: bool = False,
    large_kernel_size: int = 5,
    batch_norm_epsilon: float | None = None,
    name: str = "inception",
) -> Any:
    """Convolutions of three sizes and a pooling side by side: (h, w, c) -> (h, w, sum of what they give).

    Args:
        x: Maps.
        width_1x1: Maps of the 1x1 convolution; the defaults are module 3a's (table 1).
        width_3x3_reduce: Maps of the 1x1 convolution before the 3x3.
        width_3x3: Maps of the 3x3 convolution.
        width_5x5_reduce: Maps of the 1x1 convolution before the 5x5.
        width_5x5: Maps of the 5x5 convolution.
        pool_projection: Maps of the 1x1 convolution after the pooling.
        naive: The naive module (figure 2a): no 1x1 convolutions before the large ones, none after the pooling.
        large_kernel_size: 3 where torchvision's mistake is wanted.
        batch_norm_epsilon: Added to the variances of batch norm, which replaces biases; None: biases.
        name: Begins the names of the layers.
    """
    options: dict[str, Any] = {"batch_norm_epsilon": batch_norm_epsilon}
    branches = [unit(x, width_1x1, 1, name=f"{name}_1x1", **options)]
    large = ((width_3x3_reduce, width_3x3, 3, "3x3"), (width_5x5_reduce, width_5x5, large_kernel_size, "5x5"))
    for reduced, width, kernel_size, branch in large:
        seen = x if naive else unit(x, reduced, 1, name=f"{name}_{branch}_reduce", **options)
        branches.append(unit(seen, width, kernel_size, name=f"{name}_{branch}", **options))
    pooled = pool(x, "max", 3, 1, padding=1, name=f"{name}_pool")
    branches.append(pooled if naive else unit(pooled, pool_projection, 1, name=f"{name}_pool_projection", **options))
    return concatenate(branches, name=f"{name}_concat")


def auxiliary_classifier(
    x: Any,
    *,
    classes: int,
    adaptive: bool = False,
    dropout_rate: float = 0.7,
    batch_norm_epsilon: float | None = None,
    name: str = "auxiliary",
) -> Any:
    """Average pooling, 1x1 convolution, a hidden dense layer, classes: (h, w, c) -> (classes,), logits.

    Args:
        x: Maps, of 5x5 at least unless `adaptive`.
        classes: How many classes.
        adaptive: Average over 4x4 windows that cover the maps, instead of 5x5 windows of stride 3.
        dropout_rate: Share of the hidden units that is left out.
        batch_norm_epsilon: Added to the variances of batch norm, which replaces biases; None: biases.
        name: Begins the names of the layers.
    """
    x = adaptive_average_pool(x, 4, name=f"{name}_pool") if adaptive else pool(x, "average", 5, 3, name=f"{name}_pool")
    x = unit(x, 128, 1, batch_norm_epsilon=batch_norm_epsilon, name=f"{name}_conv")
    x = flatten(x, name=f"{name}_flatten")
    x = activation(dense(x, 1024, name=f"{name}_fc"), "relu", name=f"{name}_fc_relu")
    x = dropout(x, dropout_rate, name=f"{name}_dropout")
    return dense(x, classes, name=f"{name}_logits")


def stem(images: Any, settings: GoogLeNetSettings, epsilon: float | None) -> Any:
    """Three convolutions and two poolings: (h, w, c) -> (h / 8, w / 8, 192)."""
    normalize: Callable[[Any, str], Any] = lambda x, name: (  # noqa: E731
        local_response_norm(x, constants=settings.normalization_constants, name=name)
        if settings.normalization == "lrn"
        else x
    )
    x = unit(images, settings.scaled(64), 7, strides=2, batch_norm_epsilon=epsilon, name="stem_conv1")
    x = normalize(pool(x, "max", 3, 2, rounding="ceil", name="stem_pool1"), "stem_lrn1")
    x = unit(x, settings.scaled(64), 1, batch_norm_epsilon=epsilon, name="stem_conv2")
    x = unit(x, settings.scaled(192), 3, batch_norm_epsilon=epsilon, name="stem_conv3")
    return pool(normalize(x, "stem_lrn2"), "max", 3, 2, rounding="ceil", name="stem_pool2")


def network(images: Any, settings: GoogLeNetSettings, classes: int) -> Any:
    """Stem, three stages of modules with pooling between them, global average, classes; and the auxiliary ones."""
    epsilon = settings.batch_norm_epsilon if settings.normalization == "batch_norm" else None
    x = stem(images, settings, epsilon)
    auxiliary: list[Any] = []
    number = 0
    for stage, count in enumerate(settings.modules):
        if stage > 0:
            size = settings.last_pool_size if stage == 2 else 3
            x = pool(x, "max", size, 2, rounding="ceil", name=f"pool{stage + 2}")
        for index in range(count):
            number += 1
            widths = MODULES[stage][min(index, len(MODULES[stage]) - 1)]
            x = inception_module(
                x,
                width_1x1=settings.scaled(widths[0]),
                width_3x3_reduce=settings.scaled(widths[1], settings.bottleneck_multiplier),
                width_3x3=settings.scaled(widths[2]),
                width_5x5_reduce=settings.scaled(widths[3], settings.bottleneck_multiplier),
                width_5x5=settings.scaled(widths[4]),
                pool_projection=settings.scaled(widths[5], settings.pool_projection_multiplier),
                naive=settings.module == "naive",
                large_kernel_size=settings.large_kernel_size,
                batch_norm_epsilon=epsilon,
                name=f"inception{stage + 3}{chr(ord('a') + index)}",
            )
            if settings.auxiliary_classifiers and number in settings.auxiliary_after:
                logits = auxiliary_classifier(
                    x,
                    classes=classes,
                    adaptive=settings.auxiliary_pool == "adaptive",
                    dropout_rate=settings.auxiliary_dropout,
                    batch_norm_epsilon=epsilon,
                    name=f"auxiliary{len(auxiliary) + 1}",
                )
                auxiliary.append(logits)
    x = dropout(global_average_pool(x, name="pool"), settings.dropout, name="pool_dropout")
    return [dense(x, classes, name="logits"), *auxiliary]


TORCHVISION = GoogLeNetSettings(
    large_kernel_size=3,
    normalization="batch_norm",
    last_pool_size=2,
    dropout=0.2,
    auxiliary_pool="adaptive",
)

VARIANTS = {
    name: Variant(settings=settings, input_shape=(224, 224, 3), classes=1000)
    for name, settings in {
        "googlenet": GoogLeNetSettings(),
        "googlenet-bn": GoogLeNetSettings(normalization="batch_norm"),
        "googlenet-caffe": GoogLeNetSettings(normalization_constants="caffe"),
        "googlenet-torchvision": TORCHVISION,
    }.items()
}

RESULTS = (
    Result(
        variant="googlenet-caffe",
        data="ImageNet",
        measure="top-1 accuracy, %, 1 crop",
        value=68.7,
        source="readme of BVLC's model",
    ),
    Result(
        variant="googlenet-torchvision",
        data="ImageNet",
        measure="top-1 accuracy, %, 1 crop",
        value=69.778,
        source="torchvision's table of weights",
    ),
)

FAMILY = Family(
    name="googlenet",
    about=__doc__,
    papers=(
        Paper(
            title="Going Deeper with Convolutions",
            authors="Christian Szegedy, Wei Liu, Yangqing Jia, Pierre Sermanet, Scott Reed, Dragomir Anguelov, "
            "Dumitru Erhan, Vincent Vanhoucke, Andrew Rabinovich",
            year=2015,
        ),
    ),
    network=network,
    variants=VARIANTS,
    results=RESULTS,
    search=SearchSpace(
        base="googlenet-bn",
        domains={
            "modules": Choice(((1, 1, 1), (1, 2, 1), (2, 3, 1), (2, 5, 2))),
            "module": Choice(("reduction", "naive")),
            "width_multiplier": Choice((0.125, 0.25, 0.375, 0.5)),
            "bottleneck_multiplier": Choice((0.5, 1.0, 1.5)),
            "pool_projection_multiplier": Choice((0.5, 1.0, 1.5)),
            "dropout": FloatRange(0.0, 0.5),
        },
    ),
)
