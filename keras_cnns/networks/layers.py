"""The few layers that Keras lacks, in operations that every Keras backend has.

All are registered for `keras.saving`, as is what networks with auxiliary classifiers need, so that a saved network
loads in any process that has imported `keras_cnns.networks.layers` and needs no unsafe deserialisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_cnns.networks.auxiliary import PACKAGE


@keras.saving.register_keras_serializable(PACKAGE)
def scaled_tanh(x: Any) -> Any:
    """1.7159 tanh(2x / 3): f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * ops.tanh(x * (2.0 / 3.0))


@keras.saving.register_keras_serializable(PACKAGE)
class FanInUniform(keras.initializers.Initializer):
    """Uniform between -2.4 / F and 2.4 / F, F being the fan-in (LeCun et al. 1998, appendix A).

    Args:
        fan_in: One fan-in for the whole tensor, or one for each index of its last axis.
        seed: Seed of the draw; another one each time by default.
    """

    def __init__(self, fan_in: int | Sequence[int], seed: int | None = None) -> None:
        self.fan_in = fan_in
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw a tensor of `shape`."""
        unit = keras.initializers.RandomUniform(-1.0, 1.0, seed=self.seed)(shape, dtype)
        return unit * ops.cast(2.4 / ops.convert_to_tensor(self.fan_in, "float32"), unit.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {"fan_in": self.fan_in, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class TrainableSubsampling(keras.layers.Layer):
    """Add each 2x2 block, multiply by a coefficient and add a bias, one of each a map.

    Shapes: (batch, h, w, c) -> (batch, h // 2, w // 2, c). Source: LeCun et al. 1998, section II-B, layers S2
    and S4.
    """

    pool_size = strides = (2, 2)

    def build(self, input_shape: Sequence[int]) -> None:
        """Create a coefficient and a bias for each map."""
        maps = (input_shape[-1],)
        self.coefficient = self.add_weight(name="coefficient", shape=maps, initializer=FanInUniform(4))
        self.bias = self.add_weight(name="bias", shape=maps, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Subsample the maps."""
        sums = 4.0 * ops.average_pool(inputs, 2, strides=2, padding="valid")
        return sums * self.coefficient + self.bias

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Halve height and width."""
        batch, height, width, maps = input_shape
        return batch, height // 2, width // 2, maps


@keras.saving.register_keras_serializable(PACKAGE)
class PartiallyConnectedConv2D(keras.layers.Layer):
    """A "valid" convolution in which each output map sees only some of the input maps.

    Only connections that exist have weights, so counts are the paper's. Shapes: (batch, h, w, c) ->
    (batch, h - k + 1, w - k + 1, len(connections)). Source: LeCun et al. 1998, table I.

    Args:
        connections: For each output map, the indices of the input maps that it sees.
        kernel_size: Side k of the square kernels.
    """

    def __init__(self, connections: Sequence[Sequence[int]], kernel_size: int, **options: Any) -> None:
        super().__init__(**options)
        self.connections = tuple(map(tuple, connections))
        self.kernel_size = kernel_size

    def build(self, input_shape: Sequence[int]) -> None:
        """Create one kernel for each connection and one bias for each output map."""
        self.input_maps = input_shape[-1]
        side = self.kernel_size
        fan_in = [side * side * len(inputs) for inputs in self.connections for _ in inputs]
        self.kernel = self.add_weight(name="kernel", shape=(side, side, len(fan_in)), initializer=FanInUniform(fan_in))
        self.bias = self.add_weight(name="bias", shape=(len(self.connections),), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Convolve with the kernels spread into a full one that is zero where there is no connection."""
        outputs = len(self.connections)
        places = [i * outputs + o for o, maps in enumerate(self.connections) for i in maps]
        spread = ops.one_hot(places, self.input_maps * outputs, dtype=self.compute_dtype)
        side = self.kernel_size
        full = ops.reshape(ops.matmul(self.kernel, spread), (side, side, self.input_maps, outputs))
        return ops.conv(inputs, full, padding="valid") + self.bias

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shape that a "valid" convolution leaves."""
        batch, height, width, _ = input_shape
        lost = self.kernel_size - 1
        return batch, height - lost, width - lost, len(self.connections)

    def multiply_accumulates(self, output_shape: Sequence[int]) -> int:
        """Count the multiply-accumulates for one image, whose output has `output_shape` (with batch)."""
        kernels = sum(map(len, self.connections))
        return int(output_shape[1] * output_shape[2] * self.kernel_size**2 * kernels)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        own = {"connections": self.connections, "kernel_size": self.kernel_size}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class RadialBasisOutput(keras.layers.Layer):
    """Minus the squared distance to each class's fixed code: the largest output is the nearest class.

    The paper's outputs are the distances themselves, the smallest winning. With the sign turned they are
    logits: the softmax cross-entropy of them is the paper's discriminative criterion (eq. 9) without its
    constant rubbish class. Shapes: (batch, features) -> (batch, classes). Source: LeCun et al. 1998, section
    II-B, output layer.

    Args:
        codes: For each class, its code of -1 and +1, as long as the features.
    """

    def __init__(self, codes: Sequence[Sequence[float]], **options: Any) -> None:
        super().__init__(**options)
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
        """Measure the distances."""
        centres = ops.transpose(self.centres)
        squares = ops.sum(ops.square(inputs), axis=-1, keepdims=True) + ops.sum(ops.square(centres), axis=0)
        return 2.0 * ops.matmul(inputs, centres) - squares

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Return (batch, classes)."""
        return input_shape[0], len(self.codes)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {**super().get_config(), "codes": self.codes}


@keras.saving.register_keras_serializable(PACKAGE)
class ZeroMaps(keras.layers.Layer):
    """Append maps of zeros: (batch, h, w, c) -> (batch, h, w, c + count).

    Source: He et al. 2016, section 3.3, shortcut A. The paper does not say where the zeros go; the reference
    implementation in Torch appends them.

    Args:
        count: How many maps to append.
    """

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__(**options)
        self.count = count

    def call(self, inputs: Any) -> Any:
        """Append the maps."""
        return ops.pad(inputs, ((0, 0), (0, 0), (0, 0), (0, self.count)))

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shape with the maps appended."""
        return *input_shape[:-1], input_shape[-1] + self.count

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(PACKAGE)
class LocalResponseNormalization(keras.layers.Layer):
    """a / (bias + alpha * s) ** beta, s being the sum of squares over neighbouring maps. Shape unchanged.

    Source: Krizhevsky et al. 2012, section 3.3. Caffe and PyTorch divide alpha by the number of maps; the paper does
    not. Computed in float32 at least.

    Args:
        size: How many maps are summed over, the value's own in their middle; an odd number.
        bias: k in the paper.
        alpha: Weight of the sum, not divided by its size.
        beta: Exponent.
    """

    def __init__(self, size: int, *, bias: float, alpha: float, beta: float, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs: Any) -> Any:
        """Normalise the maps."""
        values = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        maps, reach = inputs.shape[-1], self.size // 2
        squares = ops.pad(ops.square(values), ((0, 0), (0, 0), (0, 0), (reach, reach)))
        strength = sum(squares[..., first : first + maps] for first in range(self.size))
        return ops.cast(values * ops.power(self.bias + self.alpha * strength, -self.beta), inputs.dtype)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shape unchanged."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        own = {"size": self.size, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class RecomputedComposite(keras.layers.Layer):
    """Concatenate, BN - ReLU - convolution, all but the result computed again for the gradient instead of kept.

    A dense block that keeps what each layer concatenates and normalises needs memory that grows with the square of its
    depth. Computed again, only each layer's new maps stay (Pleiss et al. 2017, "Memory-Efficient Implementation of
    DenseNets"), for about one more forward pass. The batch's means and variances are taken in once, as
    `BatchNormalization` does. Shapes: [(batch, h, w, c1), ...] -> (batch, h, w, width).

    Args:
        width: Maps of the convolution.
        kernel_size: Side k of its square kernels.
        epsilon: Added to variances.
        momentum: Share of the moving means and variances that a batch leaves as it is.
    """

    def __init__(self, width: int, kernel_size: int, *, epsilon: float, momentum: float = 0.9, **options: Any) -> None:
        super().__init__(**options)
        self.width = width
        self.kernel_size = kernel_size
        self.epsilon = epsilon
        self.momentum = momentum

    def build(self, input_shape: Sequence[Sequence[int]]) -> None:
        """Create the weights of batch norm and convolution."""
        maps = sum(shape[-1] for shape in input_shape)
        self.gamma = self.add_weight(name="gamma", shape=(maps,), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(maps,), initializer="zeros")
        fixed: dict[str, Any] = {"shape": (maps,), "trainable": False, "autocast": False}
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **fixed)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **fixed)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, maps, self.width),
            initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        )

    def call(self, inputs: Sequence[Any], *, training: bool | None = None) -> Any:
        """Normalise by the batch while training, else by the moving means and variances."""
        weights = [ops.convert_to_tensor(weight) for weight in (self.gamma, self.beta, self.kernel)]
        if not training:
            return self.convolve(ops.concatenate(inputs, axis=-1), self.moving_mean, self.moving_variance, *weights)

        def of_batch(*values: Any) -> tuple[Any, Any, Any]:
            maps = ops.concatenate(values[:-3], axis=-1)
            mean, variance = ops.moments(ops.cast(maps, "float32"), axes=(0, 1, 2))
            return self.convolve(maps, mean, variance, *values[-3:]), mean, variance

        outputs, mean, variance = keras.remat(of_batch)(*inputs, *weights)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept = ops.stop_gradient(ops.cast(value, moving.dtype))
            moving.assign(moving * self.momentum + kept * (1.0 - self.momentum))
        return outputs

    def convolve(self, maps: Any, mean: Any, variance: Any, gamma: Any, beta: Any, kernel: Any) -> Any:
        """Batch norm, in float32 at least, ReLU and convolution."""
        scale = ops.cast(gamma, "float32") * ops.rsqrt(ops.cast(variance, "float32") + self.epsilon)
        offset = ops.cast(beta, "float32") - ops.cast(mean, "float32") * scale
        normalized = ops.cast(ops.cast(maps, "float32") * scale + offset, self.compute_dtype)
        return ops.conv(ops.relu(normalized), ops.cast(kernel, self.compute_dtype), padding="same")

    def compute_output_shape(self, input_shape: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        """Return the shape of the convolution's maps."""
        return *input_shape[0][:-1], self.width

    def multiply_accumulates(self, output_shape: Sequence[int]) -> int:
        """Count the multiply-accumulates for one image, whose output has `output_shape` (with batch)."""
        maps = self.gamma.shape[0]
        return int(output_shape[1] * output_shape[2] * self.kernel_size**2 * maps * self.width)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        own = ("width", "kernel_size", "epsilon", "momentum")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
