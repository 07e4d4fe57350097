"""The modules of this package that need a backend, each imported at its first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.networks import auxiliary, layers, weight_init
else:
    auxiliary = LazyModule("keras_cnns.networks.auxiliary")
    layers = LazyModule("keras_cnns.networks.layers")
    weight_init = LazyModule("keras_cnns.networks.weight_init")

__all__ = ["auxiliary", "layers", "weight_init"]
