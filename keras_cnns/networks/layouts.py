"""The layer names that other libraries give to the layers of a family, and what else their networks have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.pretrained import TORCH

KERAS = "keras.applications"
FIELD = re.compile(r"\{(\w+)([+-]1)?\}")

Layers = Mapping[str, Any]
NameMap = Callable[[Iterable[str]], dict[str, str]]


@dataclass(frozen=True)
class Required:
    """The values that a setting must have for equal weights to give equal outputs.

    Attributes:
        read: Returns the value of the setting from a network's layers by name, or None if the network has no layer that
            depends on it. A saved network has its layers, but not its settings.
        values: The accepted values.
    """

    read: Callable[[Layers], Any]
    values: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        """Return whether a value gives the outputs of the library; epsilons of 1e-5 and 1.001e-5 do."""
        return any(
            math.isclose(value, other, rel_tol=0.01) if isinstance(other, float) else bool(value == other)
            for other in self.values
        )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The counterpart of a family's networks in other libraries.

    Attributes:
        libraries: The libraries that use these names: `"keras.applications"`, or those whose state dicts have them.
        identifying_layers: Names of layers that the family's networks of this kind have, and no others.
        names: Maps the names of our layers, in the network's order, to those of the library; layers without a
            counterpart are left out.
        settings: Settings of all of the library's networks of this kind that shapes do not show.
        old_names: Names in old state dicts, as regular expressions, and their replacements.
        convolutions: Prefixes of the names of dense layers that the library implements as convolutions.
        preprocessing: How images are standardized for the weights that the library publishes.
        blue_first: Whether the library's networks receive the colours as blue, green, red.
    """

    libraries: tuple[str, ...]
    identifying_layers: frozenset[str]
    names: NameMap
    settings: Mapping[str, Required]
    old_names: Mapping[str, str] = field(default_factory=dict)
    convolutions: tuple[str, ...] = ()
    preprocessing: Preprocessing = TORCH
    blue_first: bool = False

    def find_differences(self, layers: Layers) -> Iterator[tuple[str, Any]]:
        """Yield the name and value of each setting of a network whose value is not accepted."""
        for name, required in self.settings.items():
            value = required.read(layers)
            if value is not None and not required.accepts(value):
                yield name, value

    def rename_old(self, name: str) -> str:
        """Return the current name of an entry of a state dict."""
        for old, new in self.old_names.items():
            name = re.sub(old, new, name)
        return name


def by_rules(rules: Mapping[str, str]) -> NameMap:
    """Return a name map from rules such as `"block{b}_conv"` to `"features.{b-1}.conv"`; the first match counts."""
    rows = [(re.compile(FIELD.sub(r"(?P<\1>[0-9a-z]+)", ours)), theirs) for ours, theirs in rules.items()]

    def names(layers: Iterable[str]) -> dict[str, str]:
        matches = ((layer, row.fullmatch(layer), theirs) for layer in layers for row, theirs in reversed(rows))
        return {layer: fill(theirs, match) for layer, match, theirs in matches if match}

    return names


def fill(template: str, match: re.Match[str]) -> str:
    """Insert the fields of a matched name into a template: `{unit}`, or a number plus or minus one, `{unit-1}`."""
    return FIELD.sub(lambda field: str(int(match[field[1]]) + int(field[2])) if field[2] else match[field[1]], template)


def numbered(features: str, **dense: str) -> NameMap:
    """Return a name map for networks whose feature layers are numbered consecutively in PyTorch.

    Convolutions, batch normalizations, ReLUs and poolings each have a number; padding is not a separate layer there.

    Args:
        features: Regular expression of the names of our feature layers.
        **dense: Names of the dense layers.
    """

    def names(layers: Iterable[str]) -> dict[str, str]:
        numbers = enumerate(filter(re.compile(features).fullmatch, layers))
        return {layer: f"features.{index}" for index, layer in numbers} | dense

    return names


def matching(layers: Layers, pattern: str) -> list[re.Match[str]]:
    """Return the matches of layer names that match a pattern completely."""
    return [match for name in layers if (match := re.fullmatch(pattern, name))]


def required_normalization(*kinds: str) -> Required:
    """Require one of these kinds of normalization: "lrn", "batch_norm" or "none"."""

    def read(layers: Layers) -> str:
        if matching(layers, r".*_lrn\d?"):
            return "lrn"
        return "batch_norm" if matching(layers, r".*_bn") else "none"

    return Required(read, kinds)


def required_epsilon(epsilon: float) -> Required:
    """Require this epsilon of batch normalization."""
    return Required(
        lambda layers: next((layers[name].epsilon for name in layers if name.endswith("_bn")), None), (epsilon,)
    )
