"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2017, "Densely Connected Convolutional Networks").

Idea: Each layer receives the feature maps of all preceding layers and adds a few channels to them (the growth rate),
so that features are reused instead of relearned, gradients have short paths, and few parameters are enough. B networks
reduce the input of each layer with a 1x1 bottleneck convolution; C networks halve the number of channels in
transitions (compression).

Differences between the paper and popular implementations: The paper's transition is batch normalization, 1x1
convolution and pooling; the authors' code and all other implementations add a ReLU after the batch normalization
(`transition_relu`). The published sizes of the CIFAR networks without B and C are those of a stem with 16 filters, as
in the paper; the authors' released code has 2k filters (`stem_width`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_cnns.networks import backend
from keras_cnns.networks import operations as op
from keras_cnns.networks.counting import repeat_layers
from keras_cnns.networks.family import CVPR, SGD_RECIPE, Block, Family, Paper, SearchSpace, Variant, make_results
from keras_cnns.networks.layouts import KERAS, Layout, Required, by_rules, required_epsilon
from keras_cnns.networks.pretrained import TORCH, of_keras, of_torchvision
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, NoneOr, Settings, TupleOf, setting


@dataclass(frozen=True, kw_only=True)
class DenseNetSettings(Settings):
    """Settings of a DenseNet (Huang et al. 2017, section 3).

    Attributes:
        blocks: Number of layers of each dense block.
        growth_rate: Number of channels that each layer adds (k).
        bottleneck_width: Number of filters of the 1x1 bottleneck convolutions, as a multiple of the growth rate;
            None for layers without a bottleneck.
        compression: Fraction of the channels that transitions keep (theta).
        stem: "imagenet" is a 7x7 convolution and max pooling, each with a stride of 2; "cifar" is a 3x3 convolution.
        stem_width: Number of filters of the stem; None for twice the growth rate.
        dropout: Dropout rate after each convolution except the stem's; the paper uses 0.2 for data without
            augmentation.
        transition_relu: Apply ReLU in transitions, as the authors' code does; the paper does not mention it.
        recompute: Recompute concatenations and batch normalization in the backward pass instead of storing their
            outputs, which saves memory and takes more time (Pleiss et al. 2017).
        batch_norm_epsilon: Constant added to the variance in batch normalization; 1e-5 in the authors' code.
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
    """Apply layers that each receive the outputs of all layers before: (h, w, c) -> (h, w, c + layers * growth_rate).

    Args:
        x: Input tensor.
        layers: Number of layers.
        growth_rate: Number of channels that each layer adds.
        bottleneck_width: Number of filters of the 1x1 bottleneck convolutions, as a multiple of the growth rate; None
            for layers without a bottleneck.
        dropout: Dropout rate after each convolution.
        recompute: Recompute concatenations and batch normalization in the backward pass, to save memory.
        batch_norm_epsilon: Constant added to the variance in batch normalization.
        name: Prefix of the layer names.
    """

    def convolve(x: Any, width: int, kernel_size: int, name: str) -> Any:
        """Apply BN - ReLU - convolution and dropout, with `recompute` to a list of tensors to concatenate."""
        if isinstance(x, list):
            epsilon = batch_norm_epsilon
            x = backend.layers.RecomputedComposite(width, kernel_size, epsilon=epsilon, name=f"{name}_recomputed")(x)
        else:
            x = op.batch_norm_relu(x, batch_norm_epsilon, name=name)
            x = op.convolution(x, width, kernel_size, name=f"{name}_conv")
        return op.dropout(x, dropout, name=f"{name}_dropout")

    def make_channels(x: Any, index: int) -> Any:
        """Return the channels that a layer adds."""
        layer = f"{name}_layer{index}"
        if bottleneck_width is None:
            return convolve(x, growth_rate, 3, layer)
        bottleneck = convolve(x, bottleneck_width * growth_rate, 1, f"{layer}_bottleneck")
        return convolve([bottleneck] if isinstance(x, list) else bottleneck, growth_rate, 3, layer)

    def add_channels(x: Any, index: int) -> Any:
        return op.concatenate([x, make_channels(x, index)], name=f"{name}_layer{index}_concat")

    def apply_layers(x: Any) -> Any:
        return repeat_layers(x, layers, add_channels)

    def apply_recomputed_layers(x: Any) -> Any:
        tensors = [x]
        for index in range(1, layers + 1):
            tensors.append(make_channels(tensors[:], index))
        return op.concatenate(tensors, name=f"{name}_layer{layers}_concat")

    return op.apply(x, count=apply_layers, build=apply_recomputed_layers if recompute else apply_layers)


def transition(x: Any, settings: DenseNetSettings, name: str) -> Any:
    """Reduce channels and resolution: (h, w, c) -> (h // 2, w // 2, floor(compression * c))."""
    width = max(1, int(settings.compression * x.shape[-1]))
    x = op.batch_norm_relu(x, settings.batch_norm_epsilon, name=name, relu=settings.transition_relu)
    x = op.convolution(x, width, 1, name=f"{name}_conv")
    x = op.dropout(x, settings.dropout, name=f"{name}_dropout")
    return op.pool(x, "average", 2, 2, name=f"{name}_pool")


def network(images: Any, settings: DenseNetSettings, classes: int) -> Any:
    """Apply stem, dense blocks with transitions, global average pooling and the classifier: (h, w, c) -> (classes,)."""
    stem_width = settings.stem_width or 2 * settings.growth_rate
    if settings.stem == "imagenet":
        x = op.imagenet_stem(images, stem_width, epsilon=settings.batch_norm_epsilon)
    else:
        x = op.convolution(images, stem_width, 3, name="stem_conv")
    for index, layers in enumerate(settings.blocks, start=1):
        if index > 1:
            x = transition(x, settings, name=f"transition{index - 1}")
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
    x = op.batch_norm_relu(x, settings.batch_norm_epsilon, name="final")
    x = op.global_average_pool(x, name="pool")
    return op.dense(x, classes, name="logits")


def imagenet(blocks: tuple[int, ...], growth_rate: int = 32) -> Variant:
    """Return a network of table 1, with bottlenecks and compression."""
    return Variant(DenseNetSettings(blocks=blocks, growth_rate=growth_rate), (224, 224, 3), 1000)


def cifar(depth: int, growth_rate: int = 12, *, bottleneck: bool) -> Variant:
    """Return a network of table 2: three blocks, `depth` layers including stem, transitions and classifier."""
    layers = (depth - 4) // (6 if bottleneck else 3)
    settings = DenseNetSettings(
        blocks=(layers,) * 3,
        growth_rate=growth_rate,
        bottleneck_width=4 if bottleneck else None,
        compression=0.5 if bottleneck else 1.0,
        stem="cifar",
        stem_width=None if bottleneck else 16,
    )
    return Variant(settings, (32, 32, 3), 10)


TABLE_2 = {
    "densenet-40": 5.24,
    "densenet-100": 4.10,
    "densenet-100-k24": 3.74,
    "densenet-bc-100": 4.51,
    "densenet-bc-250-k24": 3.62,
    "densenet-bc-190-k40": 3.46,
}
TABLE_3 = {"densenet121": 25.02, "densenet169": 23.80, "densenet201": 22.58, "densenet264": 22.15}

LAYER = "features.denseblock{b}.denselayer{n}"
PYTORCH_NAMES = {
    "stem_conv": "features.conv0",
    "stem_bn": "features.norm0",
    "block{b}_layer{n}_bottleneck_bn": f"{LAYER}.norm1",
    "block{b}_layer{n}_bottleneck_conv": f"{LAYER}.conv1",
    "block{b}_layer{n}_bn": f"{LAYER}.norm2",
    "block{b}_layer{n}_conv": f"{LAYER}.conv2",
    "transition{t}_bn": "features.transition{t}.norm",
    "transition{t}_conv": "features.transition{t}.conv",
    "final_bn": "features.norm5",
    "logits": "classifier",
}
KERAS_NAMES = {
    "stem_{kind}": "conv1_{kind}",
    "block{b}_layer{n}_bottleneck_bn": "conv{b+1}_block{n}_0_bn",
    "block{b}_layer{n}_bottleneck_conv": "conv{b+1}_block{n}_1_conv",
    "block{b}_layer{n}_bn": "conv{b+1}_block{n}_1_bn",
    "block{b}_layer{n}_conv": "conv{b+1}_block{n}_2_conv",
    "transition{t}_{kind}": "pool{t+1}_{kind}",
    "final_bn": "bn",
    "logits": "predictions",
}
OLD_NAMES = {r"(\.denselayer\d+\.(?:norm|conv))\.(\d\.)": r"\1\2"}  # in torchvision's first checkpoints
TRANSITION_RELU = Required(lambda layers: "transition1_relu" in layers if "transition1_bn" in layers else None, (True,))
LAYOUTS = tuple(
    Layout(
        libraries=libraries,
        identifying_layers=frozenset({"block1_layer1_concat"}),
        names=by_rules(names),
        settings={"transition_relu": TRANSITION_RELU, "batch_norm_epsilon": required_epsilon(epsilon)},
        old_names=OLD_NAMES,
    )
    for libraries, names, epsilon in (
        (("torchvision", "timm"), PYTORCH_NAMES, 1e-5),
        ((KERAS,), KERAS_NAMES, 1.001e-5),
    )
)

PRETRAINED = (
    *of_torchvision({
        "densenet121": ("densenet121-a639ec97.pth", 74.434, 30.8),
        "densenet161": ("densenet161-8d451a50.pth", 77.138, 110.4),
        "densenet169": ("densenet169-b2777c0a.pth", 75.600, 54.7),
        "densenet201": ("densenet201-c1103571.pth", 76.896, 77.4),
    }),
    *of_keras(
        {
            "densenet121": ("densenet/densenet121", "9d60b8095a5708f2dcce2bca79d332c7", 75.0, 33.0),
            "densenet169": ("densenet/densenet169", "d699b8f76981ab1b30698df4c175e90b", 76.2, 57.0),
            "densenet201": ("densenet/densenet201", "1ceb130c1ea1b78c3bf6114dbdfd8807", 77.3, 80.0),
        },
        "BSD-3-Clause (authors' DenseNet)",
        TORCH,
    ),
)  # fmt: skip

FAMILY = Family(
    name="densenet",
    about=__doc__,
    papers=(
        Paper(
            title="Densely Connected Convolutional Networks",
            authors="Gao Huang, Zhuang Liu, Laurens van der Maaten, Kilian Q. Weinberger",
            year=2017,
            venue=CVPR,
        ),
    ),
    network=network,
    variants={
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
    },
    results=(
        *make_results("ImageNet", "top-1 error, %, 1 crop", "Table 3", TABLE_3),
        *make_results("CIFAR-10+", "test error, %", "Table 2, as in the authors' README", TABLE_2),
    ),
    # Section 4.2, for CIFAR. The learning rate is divided by 10 at 1/2 and 3/4 of the training, as in the paper.
    paper_recipe=SGD_RECIPE.replace(
        {"epochs": 300, "batch_size": 64, "optimizer": "nesterov", "learning_rate": 0.1, "weight_decay": 1e-4}
    ),
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
    blocks=(dense_block,),
    diagrams={
        "A dense block of three layers with bottlenecks, growth rate 12": Block(
            dense_block, (32, 32, 24), {"layers": 3, "growth_rate": 12}
        )
    },
    layouts=LAYOUTS,
    pretrained=PRETRAINED,
)
