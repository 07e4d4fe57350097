"""What a network is, read off its layers: equal weights give equal outputs only where these settings are equal too."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

# Of each kind layers that no kind below it has.
SIGNS = {
    "alexnet": {"conv5", "fc6"},
    "densenet": {"block1_layer1_concat"},
    "googlenet": {"inception3a_concat"},
    "resnet": {"stage1_unit1_relu"},
    "resnet v2": {"stage1_unit1_layer1_conv"},
    "vgg": {"stage1_conv1"},
}

Layers = Mapping[str, Any]
Reader = Callable[[Layers], Any]


def kind_of(layers: Collection[str]) -> str | None:
    """Return the kind of network that has layers of these names, or None."""
    return next((kind for kind, signs in SIGNS.items() if signs <= set(layers)), None)


def differences(kind: str, layers: Layers, wanted: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a network, with their values, that are none of those wanted.

    Args:
        kind: As `kind_of` says it.
        layers: The network's layers by name.
        wanted: The values that fit, by the names of settings.
    """
    for name, values in wanted.items():
        value = READERS[kind][name](layers)
        if value is not None and not any(same(value, fit) for fit in values):
            yield name, value


def same(value: Any, other: Any) -> bool:
    """Compare two values of a setting; epsilons of 1e-5 and 1.001e-5 make no difference to outputs."""
    return math.isclose(value, other, rel_tol=0.01) if isinstance(other, float) else bool(value == other)


def matching(layers: Layers, pattern: str) -> list[re.Match[str]]:
    """Return the matches of those names that match as a whole."""
    return [found for name in layers if (found := re.fullmatch(pattern, name))]


def batch_norm_epsilon(layers: Layers) -> float | None:
    """Return what the first batch norm adds to variances, or None where there is none."""
    return next((layers[name].epsilon for name in layers if name.endswith("_bn")), None)


def normalization(layers: Layers) -> str:
    """Return the kind of normalisation."""
    if matching(layers, r".*_lrn\d?"):
        return "lrn"
    return "batch_norm" if matching(layers, r".*_bn") else "none"


def first_padding(layers: Layers) -> int:
    """Return the pixels of zeros around AlexNet's images."""
    return int(layers["conv1_pad"].padding[0][0]) if "conv1_pad" in layers else 0


def stride_in(layers: Layers) -> str | None:
    """Return the convolution of bottleneck units that has the stride, or None where there is no such unit."""
    if matching(layers, r".*_layer1_conv_subsample"):
        return "1x1"
    return "3x3" if matching(layers, r".*_layer2_conv_pad") else None


def downsampling(layers: Layers) -> str | None:
    """Return the unit of a stage that has the stride, or None where none has."""
    units = {int(found[1]) for found in matching(layers, r"stage\d+_unit(\d+)_layer\d_conv_(?:pad|subsample)")}
    return None if not units else "first" if units == {1} else "last"


def stem_pool(layers: Layers) -> str | None:
    """Return the kind of the stem's pooling, or None where there is none."""
    if not matching(layers, r"stem_pool(_rows)?"):
        return None
    return "padded" if "stem_pool_pad" in layers else "ceil"


def transition_relu(layers: Layers) -> bool | None:
    """Say whether DenseNet's transitions have a ReLU; None where there is no transition."""
    return "transition1_relu" in layers if "transition1_bn" in layers else None


def last_pool_size(layers: Layers) -> int:
    """Return the side of the windows before GoogLeNet's last stage."""
    return int(max(layers["pool4" if "pool4" in layers else "pool4_rows"].pool_size))


def auxiliary_pool(layers: Layers) -> str | None:
    """Return how auxiliary classifiers average, or None where there are none."""
    if "auxiliary1_pool" not in layers:
        return None
    return "adaptive" if type(layers["auxiliary1_pool"]).__name__.startswith("Adaptive") else "paper"


RESNET: dict[str, Reader] = {
    "stride_in": stride_in,
    "downsampling": downsampling,
    "stem_pool": stem_pool,
    "batch_norm_epsilon": batch_norm_epsilon,
}
READERS: dict[str, dict[str, Reader]] = {
    "alexnet": {
        "first_strides": lambda layers: layers["conv1"].strides[0],
        "first_padding": first_padding,
        "normalization": normalization,
    },
    "densenet": {"transition_relu": transition_relu, "batch_norm_epsilon": batch_norm_epsilon},
    "googlenet": {
        "normalization": normalization,
        "last_pool_size": last_pool_size,
        "auxiliary_pool": auxiliary_pool,
        "batch_norm_epsilon": batch_norm_epsilon,
    },
    "resnet": RESNET,
    "resnet v2": RESNET,
    "vgg": {"normalization": normalization, "batch_norm_epsilon": batch_norm_epsilon},
}
