"""The operations that builders use. Each adds a layer to a Keras tensor, or the layer's cost to a `SymbolicTensor`.

Every layer sets `data_format="channels_last"`, so that a network does not depend on
`keras.config.set_image_data_format`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_cnns.lazy import keras
from keras_cnns.networks.backend import layers, weight_init
from keras_cnns.networks.counting import SymbolicTensor

CHANNELS_LAST = "channels_last"


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
    """Convolve with symmetric zero padding, as Caffe and PyTorch do: (h, w, c) -> (ceil(h / s), ceil(w / s), width).

    Keras pads a strided "same" convolution asymmetrically, so strided convolutions get a separate padding layer.
    A strided 1x1 convolution is replaced by subsampling and an unstrided one, which is equivalent: on CPUs the gradient
    of the strided one writes outside its memory, for example for 16x16x8 inputs (TensorFlow 2.21 with oneDNN).

    Args:
        x: Input feature maps.
        width: Number of filters.
        kernel_size: Side k of the square kernels.
        name: Name of the layer.
        strides: Stride s in both directions.
        padding: Zero padding in pixels on each side; k // 2 by default.
        bias: Add a bias to each output channel.
        groups: Number of groups into which the channels are split.
        initializer: Kernel initializer; by default He et al. 2015 with the fan-out.
        bias_initializer: Bias initializer.
    """
    pad = kernel_size // 2 if padding is None else padding
    if isinstance(x, SymbolicTensor):
        rows, columns = ((side + 2 * pad - kernel_size) // strides + 1 for side in (x.height, x.width))
        weights = kernel_size * kernel_size * (x.channels // groups) * width
        trainable = weights + (width if bias else 0)
        return x.layer_output(rows, columns, width, trainable=trainable, macs=rows * columns * weights)
    same = strides == 1 and pad == kernel_size // 2
    if pad and not same:
        x = keras.layers.ZeroPadding2D(pad, data_format=CHANNELS_LAST, name=f"{name}_pad")(x)
    if strides > 1 and kernel_size == 1:
        x = subsample(x, strides, name=f"{name}_subsample")
        strides = 1
    layer = keras.layers.Conv2D(
        width,
        kernel_size,
        strides=strides,
        padding="same" if same else "valid",
        data_format=CHANNELS_LAST,
        groups=groups,
        use_bias=bias,
        kernel_initializer=initializer or keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bias_initializer=bias_initializer,
        name=name,
    )
    return layer(x) if initializer else weight_init.call_he_normal(layer, x)


def gaussian_initializer(x: Any, deviation: float) -> Any:
    """Return a Gaussian initializer for a layer that reads `x`; None if `x` is symbolic."""
    return None if isinstance(x, SymbolicTensor) else keras.initializers.RandomNormal(stddev=deviation)


def dense(
    x: Any, units: int, *, name: str, initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros"
) -> Any:
    """Apply a dense layer: (features,) -> (units,)."""
    if isinstance(x, SymbolicTensor):
        weights = x.channels * units
        return x.layer_output(1, 1, units, trainable=weights + units, macs=weights)
    return keras.layers.Dense(units, kernel_initializer=initializer, bias_initializer=bias_initializer, name=name)(x)


def batch_norm(x: Any, epsilon: float, *, name: str) -> Any:
    """Apply batch normalization with a momentum of 0.9, as the papers' code does. Shape unchanged."""
    if isinstance(x, SymbolicTensor):
        return x.layer_output(x.height, x.width, x.channels, trainable=2 * x.channels, fixed=2 * x.channels)
    return keras.layers.BatchNormalization(axis=-1, momentum=0.9, epsilon=epsilon, name=name)(x)


def activation(x: Any, function: str, *, name: str) -> Any:
    """Apply an activation function; "scaled_tanh" is that of LeCun et al. 1998. Shape unchanged."""
    if isinstance(x, SymbolicTensor):
        return x
    if function == "relu":
        return keras.layers.ReLU(name=name)(x)
    return keras.layers.Activation(layers.scaled_tanh if function == "scaled_tanh" else function, name=name)(x)


def batch_norm_relu(x: Any, epsilon: float, *, name: str, relu: bool = True) -> Any:
    """Apply batch normalization and, unless `relu` is False, ReLU. Shape unchanged."""
    x = batch_norm(x, epsilon, name=f"{name}_bn")
    return activation(x, "relu", name=f"{name}_relu") if relu else x


def local_response_norm(x: Any, *, constants: str, name: str) -> Any:
    """Apply local response normalization over five adjacent channels. Shape unchanged.

    Args:
        x: Input feature maps.
        constants: "paper" for k = 2 and alpha = 1e-4 (Krizhevsky et al. 2012, section 3.3); "caffe" for k = 1 and an
            alpha divided by the five channels.
        name: Name of the layer.
    """
    if isinstance(x, SymbolicTensor):
        return x
    bias, alpha = (2.0, 1e-4) if constants == "paper" else (1.0, 1e-4 / 5)
    return layers.LocalResponseNormalization(5, bias=bias, alpha=alpha, beta=0.75, name=name)(x)


def dropout(x: Any, rate: float, *, name: str) -> Any:
    """Apply dropout; a rate of 0 adds no layer. Shape unchanged."""
    return x if isinstance(x, SymbolicTensor) or not rate else keras.layers.Dropout(rate, name=name)(x)


def pool(x: Any, kind: str, size: int, strides: int, *, name: str, rounding: str = "floor", padding: int = 0) -> Any:
    """Apply max or average pooling: (h, w, c) -> (h / strides, w / strides, c), rounded down or up.

    Args:
        x: Input feature maps.
        kind: "max" or "average".
        size: Side of the windows.
        strides: Stride of the windows.
        name: Name of the layer.
        rounding: "floor" drops pixels that no complete window covers. "ceil", as in Caffe, lets the last window extend
            beyond the border, where averages are taken over the pixels inside.
        padding: Zero padding in pixels on each side, for inputs without negative values; only with "floor".
    """
    sides = x.shape[1:3]
    overhangs = [0, 0]
    if rounding == "ceil":
        overhangs = [(size - side) % strides if side > size else size - side for side in sides]
    if isinstance(x, SymbolicTensor):
        height, width = (side + 2 * padding + overhang for side, overhang in zip(sides, overhangs, strict=True))
        return x.layer_output((height - size) // strides + 1, (width - size) // strides + 1, x.channels)
    if padding:
        x = keras.layers.ZeroPadding2D(padding, data_format=CHANNELS_LAST, name=f"{name}_pad")(x)
    layer = keras.layers.MaxPooling2D if kind == "max" else keras.layers.AveragePooling2D
    rows, columns = ("same" if overhang else "valid" for overhang in overhangs)
    if rows == columns:
        return layer(size, strides=strides, padding=rows, data_format=CHANNELS_LAST, name=name)(x)
    x = layer((size, 1), strides=(strides, 1), padding=rows, data_format=CHANNELS_LAST, name=f"{name}_rows")(x)
    return layer((1, size), strides=(1, strides), padding=columns, data_format=CHANNELS_LAST, name=name)(x)


def adaptive_average_pool(x: Any, size: int, *, name: str) -> Any:
    """Average over windows that cover the input: (h, w, c) -> (size, size, c)."""
    if isinstance(x, SymbolicTensor):
        return x.layer_output(size, size, x.channels)
    return keras.layers.AdaptiveAveragePooling2D(size, data_format=CHANNELS_LAST, name=name)(x)


def global_average_pool(x: Any, *, name: str) -> Any:
    """Average each channel over height and width: (h, w, c) -> (c,)."""
    if isinstance(x, SymbolicTensor):
        return x.layer_output(1, 1, x.channels)
    return keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, name=name)(x)


def subsample(x: Any, strides: int, *, name: str) -> Any:
    """Keep every s-th row and column: (h, w, c) -> (ceil(h / s), ceil(w / s), c)."""
    return pool(x, "max", 1, strides, name=name)


def flatten(x: Any, *, name: str) -> Any:
    """Flatten feature maps to a vector: (h, w, c) -> (h * w * c,)."""
    if isinstance(x, SymbolicTensor):
        return x.layer_output(1, 1, x.height * x.width * x.channels)
    return keras.layers.Flatten(data_format=CHANNELS_LAST, name=name)(x)


def concatenate(tensors: Sequence[Any], *, name: str) -> Any:
    """Concatenate tensors along the channels: (h, w, c1), (h, w, c2), ... -> (h, w, c1 + c2 + ...)."""
    x = tensors[0]
    if isinstance(x, SymbolicTensor):
        return x.layer_output(x.height, x.width, sum(tensor.channels for tensor in tensors))
    return keras.layers.Concatenate(axis=-1, name=name)(tensors)


def add(tensors: Sequence[Any], *, name: str) -> Any:
    """Add tensors elementwise. Shape unchanged."""
    return tensors[0] if isinstance(tensors[0], SymbolicTensor) else keras.layers.Add(name=name)(tensors)


def zero_channels(x: Any, count: int, *, name: str) -> Any:
    """Append channels of zeros: (h, w, c) -> (h, w, c + count)."""
    if isinstance(x, SymbolicTensor):
        return x.layer_output(x.height, x.width, x.channels + count)
    return layers.ZeroChannels(count, name=name)(x)


def imagenet_stem(
    images: Any, width: int, *, epsilon: float, bias: bool = False, activated: bool = True, padded_pool: bool = True
) -> Any:
    """Apply a 7x7 convolution, BN - ReLU and 3x3 max pooling, both of stride 2: (h, w, c) -> (h / 4, w / 4, width).

    The pooling is padded by one pixel on each side (`padded_pool`), or its last window may extend beyond the border as
    in Caffe. `activated` applies BN - ReLU.
    """
    x = convolution(images, width, 7, strides=2, bias=bias, name="stem_conv")
    if activated:
        x = batch_norm_relu(x, epsilon, name="stem")
    if padded_pool:
        return pool(x, "max", 3, 2, padding=1, name="stem_pool")
    return pool(x, "max", 3, 2, rounding="ceil", name="stem_pool")
