"""The kind and settings of a network, read from its layers, because equal weights alone do not give equal outputs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

# Layers that identify a kind of network; a kind later in the table may have some of them, but not all.
IDENTIFYING_LAYERS = {
    "alexnet": {"conv5", "fc6"},
    "densenet": {"block1_layer1_concat"},
    "googlenet": {"inception3a_concat"},
    "resnet": {"stage1_unit1_relu"},
    "resnet v2": {"stage1_unit1_layer1_conv"},
    "vgg": {"stage1_conv1"},
}

Layers = Mapping[str, Any]


def kind_of(layers: Collection[str]) -> str | None:
    """Return the kind of network that has layers with these names, or None if it is not known."""
    return next((kind for kind, names in IDENTIFYING_LAYERS.items() if names <= set(layers)), None)


def find_differences(layers: Layers, settings: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each setting of a network whose value is not accepted.

    Args:
        layers: The network's layers by name.
        settings: Accepted values by setting.
    """
    for name, accepted in settings.items():
        value = READERS[name](layers)
        if value is not None and not any(is_equivalent(value, other) for other in accepted):
            yield name, value


def is_equivalent(value: Any, other: Any) -> bool:
    """Return whether two values of a setting give equal outputs; epsilons of 1e-5 and 1.001e-5 do."""
    return math.isclose(value, other, rel_tol=0.01) if isinstance(other, float) else bool(value == other)


def matching(layers: Layers, pattern: str) -> list[re.Match[str]]:
    """Return the matches of layer names that match a pattern completely."""
    return [match for name in layers if (match := re.fullmatch(pattern, name))]


def read_normalization(layers: Layers) -> str:
    """Return the kind of normalization."""
    if matching(layers, r".*_lrn\d?"):
        return "lrn"
    return "batch_norm" if matching(layers, r".*_bn") else "none"


def read_stride_in(layers: Layers) -> str | None:
    """Return the strided convolution of bottleneck units, or None if no unit has one."""
    if matching(layers, r".*_layer1_conv_subsample"):
        return "1x1"
    return "3x3" if matching(layers, r".*_layer2_conv_pad") else None


def read_downsampling(layers: Layers) -> str | None:
    """Return which unit of a stage is strided, or None if none is."""
    units = {int(match[1]) for match in matching(layers, r"stage\d+_unit(\d+)_layer\d_conv_(?:pad|subsample)")}
    return None if not units else "first" if units == {1} else "last"


def read_stem_pool(layers: Layers) -> str | None:
    """Return the kind of the stem's pooling, or None if there is none."""
    if not matching(layers, r"stem_pool(_rows)?"):
        return None
    return "padded" if "stem_pool_pad" in layers else "ceil"


def read_auxiliary_pool(layers: Layers) -> str | None:
    """Return the pooling of auxiliary classifiers, or None if there are none."""
    if "auxiliary1_pool" not in layers:
        return None
    return "adaptive" if type(layers["auxiliary1_pool"]).__name__.startswith("Adaptive") else "paper"


READERS: dict[str, Callable[[Layers], Any]] = {
    "auxiliary_pool": read_auxiliary_pool,
    "batch_norm_epsilon": lambda layers: next((layers[name].epsilon for name in layers if name.endswith("_bn")), None),
    "downsampling": read_downsampling,
    "first_padding": lambda layers: int(layers["conv1_pad"].padding[0][0]) if "conv1_pad" in layers else 0,
    "first_strides": lambda layers: layers["conv1"].strides[0],
    "last_pool_size": lambda layers: int(max(layers["pool4" if "pool4" in layers else "pool4_rows"].pool_size)),
    "normalization": read_normalization,
    "stem_pool": read_stem_pool,
    "stride_in": read_stride_in,
    "transition_relu": lambda layers: "transition1_relu" in layers if "transition1_bn" in layers else None,
}
"""Functions that return the value of a setting, or None if the network has no layer that depends on it."""
