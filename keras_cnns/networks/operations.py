"""The operations that builders use, each with its output shape, its cost and its Keras layers.

`apply` is the only place that distinguishes tensors from symbolic tensors. An operation passes it two functions:
`count` returns its output on a symbolic tensor and adds its cost, and `build` applies its Keras layers. `apply_layer`
does this for an operation that is a single layer. A family can define an operation of its own in the same way.

Every layer sets `data_format="channels_last"`, so that a network does not depend on
`keras.config.set_image_data_format`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

from keras_cnns.errors import ImageSizeError
from keras_cnns.lazy import keras
from keras_cnns.networks.backend import layers, weight_init
from keras_cnns.networks.counting import SymbolicTensor

CHANNELS_LAST = "channels_last"
WITHOUT_CLASSIFIER: ContextVar[bool] = ContextVar("WITHOUT_CLASSIFIER", default=False)


class VariableSizeError(ImageSizeError):
    """The layers of a network need images of one size."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The output of layers that are left out of a network without its classifier; operations on it do nothing.

    Attributes:
        inputs: The tensor that the first of these layers would receive.
    """

    inputs: Any
    shape: ClassVar[tuple[None, int]] = (None, 1)


@contextmanager
def without_classifier() -> Iterator[None]:
    """Leave out `flatten` and `dense` of the network that is built, and all operations that follow them."""
    token = WITHOUT_CLASSIFIER.set(True)
    try:
        yield
    finally:
        WITHOUT_CLASSIFIER.reset(token)


def apply(x: Any, *, count: Callable[[SymbolicTensor], SymbolicTensor], build: Callable[[Any], Any]) -> Any:
    """Apply an operation to a Keras tensor, or count its cost on a symbolic tensor.

    Args:
        x: The input.
        count: Returns the output of the operation on a symbolic tensor, usually by `SymbolicTensor.layer_output`.
        build: Applies the Keras layers of the operation to a tensor. Keras is loaded when it is called.
    """
    if isinstance(x, SymbolicTensor):
        return count(x)
    return x if isinstance(x, LeftOut) else build(x)


def apply_layer(
    x: Any,
    make_layer: Callable[[], Any],
    *,
    count: Callable[[SymbolicTensor], SymbolicTensor] = lambda x: x,
    of_classifier: bool = False,
) -> Any:
    """Apply a Keras layer to a Keras tensor, or count its cost on a symbolic tensor.

    Args:
        x: The input.
        make_layer: Returns the layer. Keras is loaded when it is called.
        count: As in `apply`; by default the layer has no cost and does not change the shape.
        of_classifier: Leave the layer out of a network without its classifier.
    """

    def build(x: Any) -> Any:
        if of_classifier and WITHOUT_CLASSIFIER.get():
            return LeftOut(x)
        layer = make_layer()
        return layer(x)

    return apply(x, count=count, build=build)


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
        initializer: Kernel initializer, as a name or a configuration; by default He et al. 2015 with the fan-out.
        bias_initializer: Bias initializer.
    """
    pad = kernel_size // 2 if padding is None else padding

    def count(x: SymbolicTensor) -> SymbolicTensor:
        rows, columns = ((side + 2 * pad - kernel_size) // strides + 1 for side in (x.height, x.width))
        weights = kernel_size * kernel_size * (x.channels // groups) * width
        trainable = weights + (width if bias else 0)
        return x.layer_output(rows, columns, width, trainable=trainable, macs=rows * columns * weights, name=name)

    def build(x: Any) -> Any:
        same = strides == 1 and pad == kernel_size // 2
        subsampled = strides > 1 and kernel_size == 1
        if pad and not same:
            x = keras.layers.ZeroPadding2D(pad, data_format=CHANNELS_LAST, name=f"{name}_pad")(x)
        if subsampled:
            x = subsample(x, strides, name=f"{name}_subsample")
        layer = keras.layers.Conv2D(
            width,
            kernel_size,
            strides=1 if subsampled else strides,
            padding="same" if same else "valid",
            data_format=CHANNELS_LAST,
            groups=groups,
            use_bias=bias,
            kernel_initializer=initializer or keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
            bias_initializer=bias_initializer,
            name=name,
        )
        return layer(x) if initializer else weight_init.call_he_normal(layer, x)

    return apply(x, count=count, build=build)


def gaussian(deviation: float) -> dict[str, Any]:
    """Return a Gaussian initializer as a configuration, so that each layer samples its own weights."""
    return {"class_name": "RandomNormal", "config": {"stddev": deviation}}


def uniform(limit: float) -> dict[str, Any]:
    """Return an initializer that is uniform between -limit and limit, as a configuration."""
    return {"class_name": "RandomUniform", "config": {"minval": -limit, "maxval": limit}}


def dense(
    x: Any, units: int, *, name: str, initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros"
) -> Any:
    """Apply a dense layer: (features,) -> (units,)."""

    def count(x: SymbolicTensor) -> SymbolicTensor:
        weights = x.channels * units
        return x.layer_output(1, 1, units, trainable=weights + units, macs=weights, name=name)

    options = {"kernel_initializer": initializer, "bias_initializer": bias_initializer, "name": name}
    return apply_layer(x, lambda: keras.layers.Dense(units, **options), count=count, of_classifier=True)


def batch_norm(x: Any, epsilon: float, *, name: str) -> Any:
    """Apply batch normalization with a momentum of 0.9, as the papers' code does. Shape unchanged."""
    return apply_layer(
        x,
        lambda: keras.layers.BatchNormalization(axis=-1, momentum=0.9, epsilon=epsilon, name=name),
        count=lambda x: x.layer_output(
            x.height, x.width, x.channels, trainable=2 * x.channels, fixed=2 * x.channels, name=name
        ),
    )


def activation(x: Any, function: str, *, name: str) -> Any:
    """Apply an activation function; "scaled_tanh" is that of LeCun et al. 1998. Shape unchanged."""

    def make_layer() -> Any:
        if function == "relu":
            return keras.layers.ReLU(name=name)
        return keras.layers.Activation(layers.scaled_tanh if function == "scaled_tanh" else function, name=name)

    return apply_layer(x, make_layer)


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
    bias, alpha = (2.0, 1e-4) if constants == "paper" else (1.0, 1e-4 / 5)
    return apply_layer(
        x,
        lambda: layers.LocalResponseNormalization(5, bias=bias, alpha=alpha, beta=0.75, name=name),
    )


def dropout(x: Any, rate: float, *, name: str) -> Any:
    """Apply dropout; a rate of 0 adds no layer. Shape unchanged."""
    return apply_layer(x, lambda: keras.layers.Dropout(rate, name=name)) if rate else x


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
    overhangs = [0, 0]
    variable = rounding == "ceil" and None in x.shape[1:3]
    if rounding == "ceil" and not variable:
        overhangs = [(size - side) % strides if side > size else size - side for side in x.shape[1:3]]

    def count(x: SymbolicTensor) -> SymbolicTensor:
        sides = (x.height + overhangs[0], x.width + overhangs[1])
        rows, columns = ((side + 2 * padding - size) // strides + 1 for side in sides)
        return x.layer_output(rows, columns, x.channels)

    def build(x: Any) -> Any:
        if padding:
            x = keras.layers.ZeroPadding2D(padding, data_format=CHANNELS_LAST, name=f"{name}_pad")(x)
        if variable:
            return layers.CeilPooling2D(kind, size, strides, name=name)(x)
        layer = keras.layers.MaxPooling2D if kind == "max" else keras.layers.AveragePooling2D
        rows, columns = ("same" if overhang else "valid" for overhang in overhangs)
        if rows == columns:
            return layer(size, strides=strides, padding=rows, data_format=CHANNELS_LAST, name=name)(x)
        x = layer((size, 1), strides=(strides, 1), padding=rows, data_format=CHANNELS_LAST, name=f"{name}_rows")(x)
        return layer((1, size), strides=(1, strides), padding=columns, data_format=CHANNELS_LAST, name=name)(x)

    return apply(x, count=count, build=build)


def adaptive_average_pool(x: Any, size: int, *, name: str) -> Any:
    """Average over windows that cover the input: (h, w, c) -> (size, size, c)."""
    return apply_layer(
        x,
        lambda: keras.layers.AdaptiveAveragePooling2D(size, data_format=CHANNELS_LAST, name=name),
        count=lambda x: x.layer_output(size, size, x.channels),
    )


def global_average_pool(x: Any, *, name: str) -> Any:
    """Average each channel over height and width: (h, w, c) -> (c,)."""
    return apply_layer(
        x,
        lambda: keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, name=name),
        count=lambda x: x.layer_output(1, 1, x.channels),
    )


def subsample(x: Any, strides: int, *, name: str) -> Any:
    """Keep every s-th row and column: (h, w, c) -> (ceil(h / s), ceil(w / s), c)."""
    return pool(x, "max", 1, strides, name=name)


def flatten(x: Any, *, name: str) -> Any:
    """Flatten feature maps to a vector: (h, w, c) -> (h * w * c,).

    Raises:
        VariableSizeError: The size of the feature maps is not fixed.
    """

    def make_layer() -> Any:
        if None in x.shape[1:3]:
            raise VariableSizeError(
                "its dense layers need feature maps of one size; give a height and a width, or use include_top=False"
            )
        return keras.layers.Flatten(data_format=CHANNELS_LAST, name=name)

    return apply_layer(
        x,
        make_layer,
        count=lambda x: x.layer_output(1, 1, x.height * x.width * x.channels),
        of_classifier=True,
    )


def concatenate(tensors: Sequence[Any], *, name: str) -> Any:
    """Concatenate tensors along the channels: (h, w, c1), (h, w, c2), ... -> (h, w, c1 + c2 + ...)."""
    return apply(
        tensors[0],
        count=lambda x: x.layer_output(x.height, x.width, sum(tensor.channels for tensor in tensors)),
        build=lambda _: keras.layers.Concatenate(axis=-1, name=name)(tensors),
    )


def add(tensors: Sequence[Any], *, name: str) -> Any:
    """Add tensors elementwise. Shape unchanged."""
    return apply(tensors[0], count=lambda x: x, build=lambda _: keras.layers.Add(name=name)(tensors))


def zero_channels(x: Any, count: int, *, name: str) -> Any:
    """Append channels of zeros: (h, w, c) -> (h, w, c + count).

    Source: He et al. 2016, section 3.3, shortcut A. The paper does not say where the zeros are inserted; the reference
    implementation in Torch appends them.
    """
    return apply_layer(
        x,
        # Keras pads the last two axes of this data format, which are here width and channels.
        lambda: keras.layers.ZeroPadding2D(((0, 0), (0, count)), data_format="channels_first", name=name),
        count=lambda x: x.layer_output(x.height, x.width, x.channels + count),
    )


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
