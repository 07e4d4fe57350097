"""Networks of a user, good and bad ones, which tests of baselines copy and execute."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import keras
from keras import layers

Shape: TypeAlias = tuple[int, int, int]


@dataclasses.dataclass
class Options:
    factor: float = 1.0


class Scale(layers.Layer):
    def build(self, _: Any) -> None:
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x: Any) -> Any:
        return x * self.factor


def head(x: Any, classes: int, activation: str = "softmax") -> Any:
    return layers.Dense(classes, activation=activation)(layers.GlobalAveragePooling2D()(x))


def small(
    input_shape: Shape = (16, 16, 1),
    classes: int = 2,
    width: int = 4,
    rate: float = 0.0,
    deep: bool = False,
    kernels: tuple[int, ...] = (3,),
    mode: Any = None,
) -> Any:
    """A small network.

    Args:
        width: Channels of the first convolution.
    """
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(1 / 127.5, -1.0)(inputs)
    for kernel in kernels:
        x = layers.Conv2D(width, kernel, activation="relu")(x)
    if deep:
        x = layers.SeparableConv2D(2 * width, 3, strides=2)(x)
        x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
        x = layers.Dense(5)(x) + 1.0
        x = keras.Sequential([layers.BatchNormalization(), layers.ReLU()], name="inner")(x)
    return keras.Model(inputs, head(Scale()(x), classes))


def no_model(input_shape: Shape, classes: int) -> Any:
    return 5


def tanh(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, head(layers.Conv2D(2, 3)(inputs), classes, "tanh"))


def two_outputs(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(2, 3)(inputs)
    return keras.Model(inputs, [head(x, classes), head(x, classes)])


def other_classes(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, head(layers.Conv2D(2, 3)(inputs), 7))


def raising(input_shape: Shape, classes: int) -> Any:
    raise RuntimeError("this function\nfails")


def with_lambda(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, head(layers.Lambda(lambda x: x + 1)(inputs), classes))


def learning(input_shape: Shape, classes: int, learning_rate: float = 1.0) -> Any:
    return None


def needs_more(input_shape: Shape, classes: int, depth: int) -> Any:
    return None


def nothing() -> Any:
    return None


not_a_function = 3
