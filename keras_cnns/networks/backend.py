"""Modules of this package that import Keras, each imported when it is first used."""

from keras_cnns.lazy import LazyModule

auxiliary = LazyModule("keras_cnns.networks.auxiliary")
layers = LazyModule("keras_cnns.networks.layers")
weight_init = LazyModule("keras_cnns.networks.weight_init")
