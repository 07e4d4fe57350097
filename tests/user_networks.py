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


def squeezed(input_shape: Shape, classes: int, squeeze: bool = True, pool: str = "max") -> Any:
    """Dense layers in the middle, and nested models without names."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    if squeeze:
        x = x * layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(x)[:, None, None])
    x = keras.Sequential([layers.Conv2D(5, 3), layers.ReLU()])(x)
    x = layers.Conv2D(4, 3)(x)
    pooling = layers.GlobalMaxPooling2D() if pool == "max" else layers.GlobalAveragePooling2D()
    return keras.Model(inputs, layers.Dense(classes)(pooling(x)))


def float_probabilities(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    x = head(layers.Conv2D(2, 3)(inputs), classes)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32")(x))


def softmax_twice(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Softmax()(head(layers.Conv2D(2, 3)(inputs), classes)))


def relu(input_shape: Shape, classes: int) -> Any:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.ReLU()(head(layers.Conv2D(2, 3)(inputs), classes, "linear")))


def exiting(input_shape: Shape, classes: int) -> Any:
    raise SystemExit(0)


def method(input_shape: Shape, classes: int, replace: bool = False) -> Any:
    return None


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
