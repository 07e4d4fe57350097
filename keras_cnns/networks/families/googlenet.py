"""GoogLeNet, Inception v1 (Szegedy et al. 2015, "Going Deeper with Convolutions").

Idea: Process the feature maps at several scales at once. An Inception module runs 1x1, 3x3 and 5x5 convolutions and
pooling in parallel and concatenates their outputs; 1x1 convolutions before the larger kernels keep the cost low.
Auxiliary classifiers in the middle of the network give the early layers an additional loss during training.

Differences between the paper and popular implementations: Table 1 of the paper lists 2.7K parameters and 34M
operations for the first convolution, whereas an ordinary convolution, which all implementations use, has 9.4K and
118M. Caffe's constants of local response normalization differ from AlexNet's (`normalization_constants`). torchvision
uses batch normalization, 3x3 kernels where the paper has 5x5 (`large_kernel_size`; a known mistake), 2x2 windows in
the last max pooling (`last_pool_size`), a dropout rate of 0.2, and adaptive average pooling to 4x4 in the auxiliary
classifiers instead of 5x5 windows with a stride of 3 (`auxiliary_pool`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.networks import operations as op
from keras_cnns.networks.family import CVPR, Block, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.layouts import (
    Layers,
    Layout,
    Required,
    by_rules,
    required_epsilon,
    required_normalization,
)
from keras_cnns.networks.pretrained import SYMMETRIC, of_torchvision
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, Settings, TupleOf, setting

# Table 1: the number of filters of each convolution of the modules of stages 3, 4 and 5.
WIDTHS = ("width_1x1", "width_3x3_reduce", "width_3x3", "width_5x5_reduce", "width_5x5", "pool_projection")
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
    """Settings of GoogLeNet (Szegedy et al. 2015, sections 4 and 5).

    Attributes:
        modules: Number of Inception modules of each of the three stages; further modules than in the paper repeat the
            last one of their stage.
        module: "reduction" modules (figure 2b) have 1x1 convolutions before the large kernels and after the pooling,
            "naive" modules (figure 2a) do not.
        width_multiplier: Multiplier of the number of filters in the stem and in all modules.
        bottleneck_multiplier: Additional multiplier for the 1x1 convolutions before the large kernels.
        pool_projection_multiplier: Additional multiplier for the 1x1 convolutions after the pooling.
        large_kernel_size: Size of the modules' largest kernels: 5, or 3 as in torchvision.
        normalization: "lrn" is local response normalization in the stem, "batch_norm" is batch normalization instead
            of biases after all convolutions, "none" is no normalization.
        normalization_constants: Constants of local response normalization: those of AlexNet's "paper" or of "caffe".
        last_pool_size: Window size of the max pooling before the last stage: 3, or 2 as in torchvision.
        dropout: Dropout rate before the classifier.
        auxiliary_classifiers: Train with auxiliary classifiers.
        auxiliary_after: Modules that auxiliary classifiers follow, numbered from 1: the third (4a) and sixth (4d) in
            the paper.
        auxiliary_weight: Weight of the loss of each auxiliary classifier, relative to the main loss.
        auxiliary_pool: Average pooling of the auxiliary classifiers: "paper" has 5x5 windows with a stride of 3,
            "adaptive" pools to 4x4 as in torchvision.
        auxiliary_dropout: Dropout rate of the auxiliary classifiers.
        batch_norm_epsilon: Constant added to the variance in batch normalization; 1e-3 in torchvision.
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
        """Check that auxiliary classifiers follow different, existing modules."""
        if not self.auxiliary_classifiers:
            return
        last, count = max(self.auxiliary_after), sum(self.modules)
        if len(set(self.auxiliary_after)) < len(self.auxiliary_after):
            raise SettingError(f"auxiliary_after {self.auxiliary_after} names a module twice; name each once.")
        if last > count:
            raise SettingError(f"auxiliary_after names module {last}, but there are only {count}; use 1 to {count}.")

    def scale_width(self, width: int, multiplier: float = 1.0) -> int:
        """Return a number of filters of the paper, scaled by the multipliers."""
        return max(1, round(width * self.width_multiplier * multiplier))

    def scale_module(self, stage: int, index: int) -> dict[str, int]:
        """Return the scaled numbers of filters of a module, as arguments of `inception_module`."""
        widths = MODULES[stage][min(index, len(MODULES[stage]) - 1)]
        bottleneck = self.bottleneck_multiplier
        multipliers = (1.0, bottleneck, 1.0, bottleneck, 1.0, self.pool_projection_multiplier)
        return dict(zip(WIDTHS, map(self.scale_width, widths, multipliers), strict=True))


def unit(
    x: Any, width: int, kernel_size: int, *, strides: int = 1, batch_norm_epsilon: float | None = None, name: str
) -> Any:
    """Apply a convolution with a bias or batch normalization, and ReLU: (h, w, c) -> (h / s, w / s, width)."""
    if batch_norm_epsilon is not None:
        x = op.convolution(x, width, kernel_size, strides=strides, name=name)
        return op.batch_norm_relu(x, batch_norm_epsilon, name=name)
    x = op.convolution(x, width, kernel_size, strides=strides, bias=True, initializer="glorot_uniform", name=name)
    return op.activation(x, "relu", name=f"{name}_relu")


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
    """Concatenate convolutions of three sizes and max pooling: (h, w, c) -> (h, w, channels of all branches).

    Args:
        x: Input tensor.
        width_1x1: Filters of the 1x1 convolution. The defaults are those of module 3a (table 1).
        width_3x3_reduce: Filters of the 1x1 convolution before the 3x3 convolution.
        width_3x3: Filters of the 3x3 convolution.
        width_5x5_reduce: Filters of the 1x1 convolution before the 5x5 convolution.
        width_5x5: Filters of the 5x5 convolution.
        pool_projection: Filters of the 1x1 convolution after the pooling.
        naive: Leave out the 1x1 convolutions before the large kernels and after the pooling (figure 2a).
        large_kernel_size: Kernel size of the 5x5 convolution; 3 reproduces torchvision's mistake.
        batch_norm_epsilon: Constant added to the variance in batch normalization, which replaces the biases; None for
            biases and no batch normalization.
        name: Prefix of the layer names.
    """
    options: dict[str, Any] = {"batch_norm_epsilon": batch_norm_epsilon}
    branches = [unit(x, width_1x1, 1, name=f"{name}_1x1", **options)]
    large = ((width_3x3_reduce, width_3x3, 3, "3x3"), (width_5x5_reduce, width_5x5, large_kernel_size, "5x5"))
    for reduced, width, kernel_size, branch in large:
        inputs = x if naive else unit(x, reduced, 1, name=f"{name}_{branch}_reduce", **options)
        branches.append(unit(inputs, width, kernel_size, name=f"{name}_{branch}", **options))
    pooled = op.pool(x, "max", 3, 1, padding=1, name=f"{name}_pool")
    branches.append(pooled if naive else unit(pooled, pool_projection, 1, name=f"{name}_pool_projection", **options))
    return op.concatenate(branches, name=f"{name}_concat")


def auxiliary_classifier(
    x: Any,
    *,
    classes: int,
    adaptive: bool = False,
    dropout_rate: float = 0.7,
    batch_norm_epsilon: float | None = None,
    name: str = "auxiliary",
) -> Any:
    """Apply average pooling, a 1x1 convolution and two dense layers: (h, w, c) -> (classes,), logits.

    Args:
        x: Input tensor, with a height and width of at least 5 unless `adaptive`.
        classes: Number of classes.
        adaptive: Pool adaptively to 4x4 instead of over 5x5 windows with a stride of 3.
        dropout_rate: Dropout rate of the hidden layer.
        batch_norm_epsilon: Constant added to the variance in batch normalization, which replaces the biases; None for
            biases and no batch normalization.
        name: Prefix of the layer names.
    """
    x = (
        op.adaptive_average_pool(x, 4, name=f"{name}_pool")
        if adaptive
        else op.pool(x, "average", 5, 3, name=f"{name}_pool")
    )
    x = unit(x, 128, 1, batch_norm_epsilon=batch_norm_epsilon, name=f"{name}_conv")
    x = op.flatten(x, name=f"{name}_flatten")
    x = op.activation(op.dense(x, 1024, name=f"{name}_fc"), "relu", name=f"{name}_fc_relu")
    x = op.dropout(x, dropout_rate, name=f"{name}_dropout")
    return op.dense(x, classes, name=f"{name}_logits")


def stem(images: Any, settings: GoogLeNetSettings, epsilon: float | None) -> Any:
    """Apply three convolutions and two poolings: (h, w, c) -> (h / 8, w / 8, 192)."""
    x = unit(images, settings.scale_width(64), 7, strides=2, batch_norm_epsilon=epsilon, name="stem_conv1")
    x = op.pool(x, "max", 3, 2, rounding="ceil", name="stem_pool1")
    if settings.normalization == "lrn":
        x = op.local_response_norm(x, constants=settings.normalization_constants, name="stem_lrn1")
    x = unit(x, settings.scale_width(64), 1, batch_norm_epsilon=epsilon, name="stem_conv2")
    x = unit(x, settings.scale_width(192), 3, batch_norm_epsilon=epsilon, name="stem_conv3")
    if settings.normalization == "lrn":
        x = op.local_response_norm(x, constants=settings.normalization_constants, name="stem_lrn2")
    return op.pool(x, "max", 3, 2, rounding="ceil", name="stem_pool2")


def network(images: Any, settings: GoogLeNetSettings, classes: int) -> Any:
    """Apply stem, modules, average pooling and classifiers: (h, w, c) -> [(classes,), ...], main logits first."""
    epsilon = settings.batch_norm_epsilon if settings.normalization == "batch_norm" else None
    x = stem(images, settings, epsilon)
    auxiliary: list[Any] = []
    number = 0
    for stage, count in enumerate(settings.modules):
        if stage > 0:
            size = settings.last_pool_size if stage == 2 else 3
            x = op.pool(x, "max", size, 2, rounding="ceil", name=f"pool{stage + 2}")
        for index in range(count):
            number += 1
            x = inception_module(
                x,
                **settings.scale_module(stage, index),
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
    x = op.dropout(op.global_average_pool(x, name="pool"), settings.dropout, name="pool_dropout")
    return [op.dense(x, classes, name="logits"), *auxiliary]


TORCHVISION = GoogLeNetSettings(
    large_kernel_size=3, normalization="batch_norm", last_pool_size=2, dropout=0.2, auxiliary_pool="adaptive"
)
TORCHVISION_UNITS = {
    "stem_conv{n}": "conv{n}",
    "inception{m}_1x1": "inception{m}.branch1",
    "inception{m}_3x3_reduce": "inception{m}.branch2.0",
    "inception{m}_3x3": "inception{m}.branch2.1",
    "inception{m}_5x5_reduce": "inception{m}.branch3.0",
    "inception{m}_5x5": "inception{m}.branch3.1",
    "inception{m}_pool_projection": "inception{m}.branch4.1",
    "auxiliary{a}_conv": "aux{a}.conv",
}
TORCHVISION_NAMES = (
    {ours: f"{theirs}.conv" for ours, theirs in TORCHVISION_UNITS.items()}
    | {f"{ours}_bn": f"{theirs}.bn" for ours, theirs in TORCHVISION_UNITS.items()}
    | {"auxiliary{a}_fc": "aux{a}.fc1", "auxiliary{a}_logits": "aux{a}.fc2", "logits": "fc"}
)


def read_last_pool_size(layers: Layers) -> int:
    """Return the window size of the max pooling before the last stage."""
    return int(max(layers["pool4" if "pool4" in layers else "pool4_rows"].pool_size))


def read_auxiliary_pool(layers: Layers) -> str | None:
    """Return the pooling of auxiliary classifiers, or None if there are none."""
    if "auxiliary1_pool" not in layers:
        return None
    return "adaptive" if type(layers["auxiliary1_pool"]).__name__.startswith("Adaptive") else "paper"


LAYOUT = Layout(
    libraries=("torchvision",),
    identifying_layers=frozenset({"inception3a_concat"}),
    names=by_rules(TORCHVISION_NAMES),
    settings={
        "normalization": required_normalization("batch_norm"),
        "last_pool_size": Required(read_last_pool_size, (2,)),
        "auxiliary_pool": Required(read_auxiliary_pool, ("adaptive",)),
        "batch_norm_epsilon": required_epsilon(1e-3),
    },
    preprocessing=SYMMETRIC,
)
TOP_1 = "top-1 accuracy, %, 1 crop"

FAMILY = Family(
    name="googlenet",
    about=__doc__,
    papers=(
        Paper(
            title="Going Deeper with Convolutions",
            authors="Christian Szegedy, Wei Liu, Yangqing Jia, Pierre Sermanet, Scott Reed, Dragomir Anguelov, "
            "Dumitru Erhan, Vincent Vanhoucke, Andrew Rabinovich",
            year=2015,
            venue=CVPR,
        ),
    ),
    network=network,
    variants={
        "googlenet": Variant(GoogLeNetSettings(), (224, 224, 3), 1000),
        "googlenet-bn": Variant(GoogLeNetSettings(normalization="batch_norm"), (224, 224, 3), 1000),
        "googlenet-caffe": Variant(GoogLeNetSettings(normalization_constants="caffe"), (224, 224, 3), 1000),
        "googlenet-torchvision": Variant(TORCHVISION, (224, 224, 3), 1000),
    },
    results=(
        *make_results("ImageNet", TOP_1, "readme of BVLC's model", {"googlenet-caffe": 68.7}),
        *make_results("ImageNet", TOP_1, "torchvision's table of weights", {"googlenet-torchvision": 69.778}),
    ),
    paper_recipe="the paper trains with asynchronous SGD and lowers the learning rate by 4 % every 8 epochs, but does "
    "not give the initial learning rate, the batch size or the number of epochs",
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
    blocks=(auxiliary_classifier, inception_module),
    diagrams={
        "Inception module 3a": Block(inception_module, (28, 28, 192)),
        "The naive module with the same widths": Block(inception_module, (28, 28, 192), {"naive": True}),
        "The first auxiliary classifier": Block(auxiliary_classifier, (14, 14, 512), {"classes": 1000}),
    },
    layouts=(LAYOUT,),
    # torchvision's network turns images that are standardized as usual into values from -1 to 1 (`transform_input`).
    pretrained=of_torchvision(
        {"googlenet-torchvision": ("googlenet-1378be20.pth", 69.778, 49.7)}, preprocessing=SYMMETRIC
    ),
)
