"""The operations that builders are written in: each adds a layer to a tensor, or its cost to `Maps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.networks.backend import layers, weight_init
from keras_cnns.networks.counting import SymbolicTensor


def convolution(
    x: Any,
    width: int,
    kernel_size: int,
    *,
    name: str,
    strides: int = 1,
    padding: int | None = None,
    bias: bool = False,
    groups: int = 1,
    initializer: Any = None,
    bias_initializer: Any = "zeros",
) -> Any:
    """Convolve with symmetric zero padding, as Caffe and PyTorch do: (h, w, c) -> (ceil(h / s), ..., width).

    Keras's "same" pads a strided convolution on the right only; there the padding is a layer of its own.
    A strided 1x1 convolution is every s-th pixel and then a dense one, which is the same: the gradient of the strided
    one writes beyond its memory on CPUs for maps of 16x16x8, say (TensorFlow 2.21 with oneDNN).

    Args:
        x: Maps.
        width: How many maps to make.
        kernel_size: Side k of the square kernels.
        name: The layer's name.
        strides: Step s of the kernels in both directions.
        padding: Pixels of zeros on each side; k // 2 by default.
        bias: Add a bias to each map.
        groups: Parts of the maps, each convolved on its own.
        initializer: How weights start; by default as He et al. 2015 draw them, with the fan-out.
        bias_initializer: How biases start.
    """
    pad = kernel_size // 2 if padding is None else padding
    if isinstance(x, SymbolicTensor):
        height, across = ((side + 2 * pad - kernel_size) // strides + 1 for side in (x.height, x.width))
        weights = kernel_size * kernel_size * (x.channels // groups) * width
        macs = height * across * weights
        return x.after(height, across, width, trainable=weights + (width if bias else 0), macs=macs)
    same = strides == 1 and pad == kernel_size // 2
    if pad and not same:
        x = keras.layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
    if strides > 1 and kernel_size == 1:
        x = subsample(x, strides, name=f"{name}_subsample")
        strides = 1
    layer = keras.layers.Conv2D(
        width,
        kernel_size,
        strides=strides,
        padding="same" if same else "valid",
        groups=groups,
        use_bias=bias,
        kernel_initializer=initializer or keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bias_initializer=bias_initializer,
        name=name,
    )
    return layer(x) if initializer else weight_init.call_he_normal(layer, x)


def gaussian(x: Any, deviation: float) -> Any:
    """Return how the weights of a layer that reads `x` start: Gaussian; nothing where they are only counted."""
    return None if isinstance(x, SymbolicTensor) else keras.initializers.RandomNormal(stddev=deviation)


def dense(
    x: Any, units: int, *, name: str, initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros"
) -> Any:
    """Connect every unit to every value: (features,) -> (units,)."""
    if isinstance(x, SymbolicTensor):
        weights = x.channels * units
        return x.after(1, 1, units, trainable=weights + units, macs=weights)
    return keras.layers.Dense(units, kernel_initializer=initializer, bias_initializer=bias_initializer, name=name)(x)


def batch_norm(x: Any, epsilon: float, *, name: str) -> Any:
    """Batch norm with the running average of the papers' code. Shape unchanged."""
    if isinstance(x, SymbolicTensor):
        return x.after(x.height, x.width, x.channels, trainable=2 * x.channels, fixed=2 * x.channels)
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def activation(x: Any, function: str, *, name: str) -> Any:
    """Apply an activation to every value; "scaled_tanh" is that of LeCun et al. 1998. Shape unchanged."""
    if isinstance(x, SymbolicTensor):
        return x
    if function == "relu":
        return keras.layers.ReLU(name=name)(x)
    return keras.layers.Activation(layers.scaled_tanh if function == "scaled_tanh" else function, name=name)(x)


def batch_norm_relu(x: Any, epsilon: float, *, name: str, relu: bool = True) -> Any:
    """Batch norm, then ReLU if wanted. Shape unchanged."""
    x = batch_norm(x, epsilon, name=f"{name}_bn")
    return activation(x, "relu", name=f"{name}_relu") if relu else x


def local_response_norm(x: Any, *, constants: str, name: str) -> Any:
    """Divide each value by the strength of its neighbours in five maps. Shape unchanged.

    Args:
        x: Maps.
        constants: "paper" for k = 2 and alpha = 1e-4 (Krizhevsky et al. 2012, section 3.3); "caffe" for k = 1 and an
            alpha that is divided by the five maps.
        name: The layer's name.
    """
    if isinstance(x, SymbolicTensor):
        return x.after(x.height, x.width, x.channels)
    bias, alpha = (2.0, 1e-4) if constants == "paper" else (1.0, 1e-4 / 5)
    return layers.LocalResponseNormalization(5, bias=bias, alpha=alpha, beta=0.75, name=name)(x)


def dropout(x: Any, rate: float, *, name: str) -> Any:
    """Leave out a share of the values in training; no layer where the share is 0. Shape unchanged."""
    return x if isinstance(x, SymbolicTensor) or not rate else keras.layers.Dropout(rate, name=name)(x)


def pool(x: Any, kind: str, size: int, strides: int, *, name: str, rounding: str = "floor", padding: int = 0) -> Any:
    """Pool windows of `size`: (h, w, c) -> (h / strides, w / strides, c), rounded down or up.

    Args:
        x: Maps.
        kind: "max" or "average".
        size: Side of the windows.
        strides: Step of the windows.
        name: The layer's name.
        rounding: "floor" leaves pixels out that no whole window covers; "ceil", Caffe's way, lets the last window
            stand half outside, where averages count what is inside.
        padding: Pixels of zeros on each side, for maps that are nowhere negative; for "floor" alone.
    """
    _, height, width, channels = x.shape
    over = [0, 0]
    if rounding == "ceil":
        over = [(size - side) % strides if side > size else size - side for side in (height, width)]
    if isinstance(x, SymbolicTensor):
        rows, columns = (
            (side + 2 * padding + extra - size) // strides + 1
            for side, extra in zip((height, width), over, strict=True)
        )
        return x.after(rows, columns, channels)
    if padding:
        x = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
    layer = keras.layers.MaxPooling2D if kind == "max" else keras.layers.AveragePooling2D
    paddings = ["same" if extra else "valid" for extra in over]
    if paddings[0] == paddings[1]:
        return layer(size, strides=strides, padding=paddings[0], name=name)(x)
    x = layer((size, 1), strides=(strides, 1), padding=paddings[0], name=f"{name}_rows")(x)
    return layer((1, size), strides=(1, strides), padding=paddings[1], name=name)(x)


def adaptive_average_pool(x: Any, size: int, *, name: str) -> Any:
    """Average windows that together cover the maps: (h, w, c) -> (size, size, c)."""
    if isinstance(x, SymbolicTensor):
        return x.after(size, size, x.channels)
    return keras.layers.AdaptiveAveragePooling2D(size, name=name)(x)


def global_average_pool(x: Any, *, name: str) -> Any:
    """Average each map: (h, w, c) -> (c,)."""
    if isinstance(x, SymbolicTensor):
        return x.after(1, 1, x.channels)
    return keras.layers.GlobalAveragePooling2D(name=name)(x)


def subsample(x: Any, strides: int, *, name: str) -> Any:
    """Take every s-th pixel in both directions: (h, w, c) -> (ceil(h / s), ceil(w / s), c)."""
    if isinstance(x, SymbolicTensor):
        return x.after((x.height - 1) // strides + 1, (x.width - 1) // strides + 1, x.channels)
    return keras.layers.MaxPooling2D(1, strides=strides, name=name)(x)


def flatten(x: Any, *, name: str) -> Any:
    """Put all values in a row: (h, w, c) -> (h * w * c,)."""
    if isinstance(x, SymbolicTensor):
        return x.after(1, 1, x.height * x.width * x.channels)
    return keras.layers.Flatten(name=name)(x)


def concatenate(tensors: Sequence[Any], *, name: str) -> Any:
    """Put the maps of several tensors behind each other: (h, w, c1), (h, w, c2), ... -> (h, w, c1 + c2 + ...)."""
    if isinstance(tensors[0], SymbolicTensor):
        return tensors[0].after(tensors[0].height, tensors[0].width, sum(x.channels for x in tensors))
    return keras.layers.Concatenate(name=name)(tensors)


def add(tensors: Sequence[Any], *, name: str) -> Any:
    """Add tensors value by value. Shape unchanged."""
    if isinstance(tensors[0], SymbolicTensor):
        return tensors[0].after(tensors[0].height, tensors[0].width, tensors[0].channels)
    return keras.layers.Add(name=name)(tensors)


def zero_maps(x: Any, count: int, *, name: str) -> Any:
    """Append maps of zeros: (h, w, c) -> (h, w, c + count)."""
    if isinstance(x, SymbolicTensor):
        return x.after(x.height, x.width, x.channels + count)
    return layers.ZeroMaps(count, name=name)(x)


def imagenet_stem(
    images: Any,
    width: int,
    *,
    epsilon: float,
    bias: bool = False,
    activated: bool = True,
    padded_pool: bool = True,
) -> Any:
    """7x7 convolution, BN - ReLU, 3x3 max pooling, both of stride 2: (h, w, c) -> (h / 4, w / 4, width).

    The pooling's windows begin one pixel outside the maps (`padded_pool`), or at their edge as in Caffe, whose
    last window may stand half outside.
    """
    x = convolution(images, width, 7, strides=2, bias=bias, name="stem_conv")
    if activated:
        x = batch_norm_relu(x, epsilon, name="stem")
    if padded_pool:
        return pool(x, "max", 3, 2, padding=1, name="stem_pool")
    return pool(x, "max", 3, 2, rounding="ceil", name="stem_pool")
