"""Layers that Keras does not have, written in `keras.ops` so that they run on every backend.

Importing this module registers them, and the layers of `keras_cnns.networks.auxiliary`, for `keras.saving`. Saved
networks then load without unsafe deserialization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_cnns.networks.auxiliary import PACKAGE


@keras.saving.register_keras_serializable(PACKAGE)
def scaled_tanh(x: Any) -> Any:
    """Return 1.7159 tanh(2x / 3), for which f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * ops.tanh(x * (2.0 / 3.0))


@keras.saving.register_keras_serializable(PACKAGE)
class FanInUniform(keras.initializers.Initializer):
    """Uniform initializer between -2.4 / F and 2.4 / F, where F is the fan-in (LeCun et al. 1998, appendix A).

    Args:
        fan_in: One fan-in for the whole tensor, or one for each index of the last axis.
        seed: Random seed. By default, every call draws new values.
    """

    def __init__(self, fan_in: int | Sequence[int], seed: int | None = None) -> None:
        self.fan_in = fan_in
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Return a random tensor of this shape."""
        unit = keras.initializers.RandomUniform(-1.0, 1.0, seed=self.seed)(shape, dtype)
        return unit * ops.cast(2.4 / ops.convert_to_tensor(self.fan_in, "float32"), unit.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the initializer."""
        return {"fan_in": self.fan_in, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class TrainableSubsampling(keras.layers.Layer):
    """Sum each 2x2 block, multiply by a coefficient and add a bias; each channel has one coefficient and one bias.

    Shapes: (batch, h, w, c) -> (batch, h // 2, w // 2, c). Source: LeCun et al. 1998, section II-B, layers S2
    and S4.
    """

    pool_size = strides = (2, 2)

    def build(self, input_shape: Sequence[int]) -> None:
        """Create a coefficient and a bias for each channel."""
        channels = (input_shape[-1],)
        self.coefficient = self.add_weight(name="coefficient", shape=channels, initializer=FanInUniform(4))
        self.bias = self.add_weight(name="bias", shape=channels, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Return the subsampled feature maps."""
        sums = 4.0 * ops.average_pool(inputs, 2, strides=2, padding="valid", data_format="channels_last")
        return sums * self.coefficient + self.bias


@keras.saving.register_keras_serializable(PACKAGE)
class CeilPooling2D(keras.layers.Layer):
    """Pool feature maps of any size; the last window may extend beyond the border, as in Caffe.

    For feature maps of a known size, layers of Keras do the same with one of their kinds of padding. Averages are taken
    over the pixels inside. Shapes: (batch, h, w, c) -> (batch, ceil((h - size) / strides) + 1, ..., c).

    Args:
        kind: "max" or "average".
        size: Side of the windows.
        strides: Stride of the windows.
    """

    def __init__(self, kind: str, size: int, strides: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.pool_size = (size, size)
        self.strides = (strides, strides)

    def call(self, inputs: Any) -> Any:
        """Return the pooled feature maps."""

        def pool(values: Any, operation: Any, outside: float) -> Any:
            overhang = (0, self.pool_size[0] - 1)
            padded = ops.pad(values, ((0, 0), overhang, overhang, (0, 0)), constant_values=outside)
            pooled = operation(padded, self.pool_size, self.strides, "valid", data_format="channels_last")
            rows, columns = map(self.count_windows, ops.shape(values)[1:3])
            return pooled[:, :rows, :columns]

        if self.kind == "max":
            return pool(inputs, ops.max_pool, -float("inf"))
        inside = pool(ops.ones_like(inputs[..., :1]), ops.average_pool, 0.0)
        return pool(inputs, ops.average_pool, 0.0) / inside

    def count_windows(self, side: Any) -> Any:
        """Return the number of windows along an axis; its length is a tensor in graphs of TensorFlow."""
        beyond_first = side - self.pool_size[0]
        beyond_first = max(beyond_first, 0) if isinstance(beyond_first, int) else ops.maximum(beyond_first, 0)
        return (beyond_first + self.strides[0] - 1) // self.strides[0] + 1

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shape of the pooled feature maps."""
        batch, *sides, channels = input_shape
        return batch, *(None if side is None else self.count_windows(side) for side in sides), channels

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer."""
        arguments = {"kind": self.kind, "size": self.pool_size[0], "strides": self.strides[0]}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(PACKAGE)
class PartiallyConnectedConv2D(keras.layers.Layer):
    """A "valid" convolution in which each filter reads only some of the input channels.

    Weights exist only for the connections that exist, so that parameter counts match the paper. Shapes:
    (batch, h, w, c) -> (batch, h - k + 1, w - k + 1, len(connections)). Source: LeCun et al. 1998, table I.

    Args:
        connections: For each filter, the indices of the input channels that it reads.
        kernel_size: Side k of the square kernels.
    """

    def __init__(self, connections: Sequence[Sequence[int]], kernel_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.connections = tuple(map(tuple, connections))
        self.kernel_size = kernel_size

    def build(self, input_shape: Sequence[int]) -> None:
        """Create one kernel for each connection and one bias for each filter."""
        self.input_channels = input_shape[-1]
        side = self.kernel_size
        fan_in = [side * side * len(inputs) for inputs in self.connections for _ in inputs]
        self.kernel = self.add_weight(name="kernel", shape=(side, side, len(fan_in)), initializer=FanInUniform(fan_in))
        self.bias = self.add_weight(name="bias", shape=(len(self.connections),), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Scatter the kernels into a dense kernel with zeros for missing connections, and convolve with it."""
        filters = len(self.connections)
        indices = [i * filters + f for f, channels in enumerate(self.connections) for i in channels]
        scatter = ops.one_hot(indices, self.input_channels * filters, dtype=self.compute_dtype)
        side = self.kernel_size
        kernel = ops.reshape(ops.matmul(self.kernel, scatter), (side, side, self.input_channels, filters))
        return ops.conv(inputs, kernel, padding="valid", data_format="channels_last") + self.bias

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer."""
        return {**super().get_config(), "connections": self.connections, "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(PACKAGE)
class RadialBasisOutput(keras.layers.Layer):
    """Return the negative squared distance to the fixed code of each class; the nearest class has the largest output.

    The paper outputs the distances themselves, and the smallest one wins. With the opposite sign they are logits: their
    softmax cross-entropy is the paper's discriminative criterion (eq. 9) without its constant rubbish class. Shapes:
    (batch, features) -> (batch, classes). Source: LeCun et al. 1998, section II-B, output layer.

    Args:
        codes: For each class, a code of -1 and +1 with one value for each feature.
    """

    def __init__(self, codes: Sequence[Sequence[float]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codes = [[float(value) for value in code] for code in codes]

    def build(self, input_shape: Sequence[int]) -> None:  # noqa: ARG002
        """Create the fixed codes."""
        self.centres = self.add_weight(
            name="centres",
            shape=(len(self.codes), len(self.codes[0])),
            initializer=lambda shape, dtype=None: ops.reshape(ops.convert_to_tensor(self.codes, dtype), shape),
            trainable=False,
        )

    def call(self, inputs: Any) -> Any:
        """Return the negative squared distances."""
        centres = ops.transpose(self.centres)
        squares = ops.sum(ops.square(inputs), axis=-1, keepdims=True) + ops.sum(ops.square(centres), axis=0)
        return 2.0 * ops.matmul(inputs, centres) - squares


@keras.saving.register_keras_serializable(PACKAGE)
class LocalResponseNormalization(keras.layers.Layer):
    """Return a / (bias + alpha * s) ** beta, where s is the sum of squares over adjacent channels. Shape unchanged.

    Source: Krizhevsky et al. 2012, section 3.3. Caffe and PyTorch divide alpha by the number of channels in the sum;
    the paper does not. Computed in float32 or higher precision.

    Args:
        size: Number of channels in the sum, centred on the value's own channel; an odd number.
        bias: The constant k of the paper.
        alpha: Weight of the sum, not divided by its size.
        beta: Exponent.
    """

    def __init__(self, size: int, *, bias: float, alpha: float, beta: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs: Any) -> Any:
        """Return the normalized feature maps."""
        values = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        channels, radius = inputs.shape[-1], self.size // 2
        squares = ops.pad(ops.square(values), ((0, 0), (0, 0), (0, 0), (radius, radius)))
        total = sum(squares[..., first : first + channels] for first in range(self.size))
        return ops.cast(values * ops.power(self.bias + self.alpha * total, -self.beta), inputs.dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class RecomputedComposite(keras.layers.Layer):
    """Concatenate, BN - ReLU - convolution, with intermediate results recomputed for the gradient instead of stored.

    The stored concatenated and normalized feature maps of a dense block need memory that grows with the square of its
    depth. If they are recomputed, only the outputs of the convolutions stay in memory (Pleiss et al. 2017,
    "Memory-Efficient Implementation of DenseNets"), at the cost of about one more forward pass. The moving mean and
    variance are updated once per step, as in `BatchNormalization`. Shapes: [(batch, h, w, c1), ...] -> (batch, h, w,
    width).

    Args:
        width: Filters of the convolution.
        kernel_size: Side k of the square kernels.
        epsilon: Added to variances.
        momentum: Momentum of the moving mean and variance.
    """

    def __init__(self, width: int, kernel_size: int, *, epsilon: float, momentum: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.kernel_size = kernel_size
        self.epsilon = epsilon
        self.momentum = momentum

    def build(self, input_shape: Sequence[Sequence[int]]) -> None:
        """Create the weights of batch normalization and convolution."""
        channels = sum(shape[-1] for shape in input_shape)
        self.gamma = self.add_weight(name="gamma", shape=(channels,), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(channels,), initializer="zeros")
        fixed: dict[str, Any] = {"shape": (channels,), "trainable": False, "autocast": False}
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **fixed)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **fixed)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels, self.width),
            initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        )

    def call(self, inputs: Sequence[Any], *, training: bool | None = None) -> Any:
        """Normalize by the statistics of the batch during training, and by the moving statistics otherwise.

        As in `BatchNormalization`, a layer with `trainable=False` uses the moving statistics also during training.
        """
        weights = [ops.convert_to_tensor(weight) for weight in (self.gamma, self.beta, self.kernel)]
        if not (training and self.trainable):
            return self.convolve(ops.concatenate(inputs, axis=-1), self.moving_mean, self.moving_variance, *weights)

        def train(*values: Any) -> tuple[Any, Any, Any]:
            x = ops.concatenate(values[:-3], axis=-1)
            mean, variance = ops.moments(ops.cast(x, "float32"), axes=(0, 1, 2))
            return self.convolve(x, mean, variance, *values[-3:]), mean, variance

        outputs, mean, variance = keras.remat(train)(*inputs, *weights)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            constant = ops.stop_gradient(ops.cast(value, moving.dtype))
            moving.assign(moving * self.momentum + constant * (1.0 - self.momentum))
        return outputs

    def convolve(self, x: Any, mean: Any, variance: Any, gamma: Any, beta: Any, kernel: Any) -> Any:
        """Apply batch normalization, in float32 or higher precision, ReLU and convolution."""
        scale = ops.cast(gamma, "float32") * ops.rsqrt(ops.cast(variance, "float32") + self.epsilon)
        offset = ops.cast(beta, "float32") - ops.cast(mean, "float32") * scale
        normalized = ops.relu(ops.cast(ops.cast(x, "float32") * scale + offset, self.compute_dtype))
        return ops.conv(normalized, ops.cast(kernel, self.compute_dtype), padding="same", data_format="channels_last")

    def compute_output_shape(self, input_shape: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        """Return the shape of the convolution's output."""
        return *input_shape[0][:-1], self.width
