"""The pieces that residual and dense networks share."""

from __future__ import annotations

from typing import Any

from keras_cnns.lazy import keras


def convolution(x: Any, width: int, kernel_size: int, *, name: str, strides: int = 1, bias: bool = False) -> Any:
    """Convolve with symmetric zero padding, as Caffe and PyTorch do: (h, w, c) -> (ceil(h / s), ..., width).

    Keras's "same" pads a strided convolution on the right only; there the padding is a layer of its own.
    A strided 1x1 convolution is every s-th pixel and then a dense one, which is the same: the gradient of the strided
    one writes beyond its memory on CPUs for maps of 16x16x8, say (TensorFlow 2.21 with oneDNN).
    Weights start as He et al. 2015 draw them, with the fan-out, as in the authors' code of both networks.
    """
    padding = "same"
    if strides > 1 and kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    elif strides > 1:
        x = keras.layers.MaxPooling2D(1, strides=strides, name=f"{name}_subsample")(x)
        strides = 1
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(
        width,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=bias,
        kernel_initializer=initializer,
        name=name,
    )(x)


def batch_norm_relu(x: Any, epsilon: float, *, name: str, relu: bool = True) -> Any:
    """Batch norm with the running average of the papers' code, then ReLU if wanted. Shape unchanged."""
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def imagenet_stem(
    images: Any,
    width: int,
    *,
    epsilon: float,
    bias: bool = False,
    activation: bool = True,
    padded_pool: bool = True,
) -> Any:
    """7x7 convolution, BN - ReLU, 3x3 max pooling, both of stride 2: (h, w, c) -> (h / 4, w / 4, width).

    The pooling's windows begin one pixel outside the maps (`padded_pool`), or at their edge as in Caffe, whose
    last window may stand half outside.
    """
    x = convolution(images, width, 7, strides=2, bias=bias, name="stem_conv")
    if activation:
        x = batch_norm_relu(x, epsilon, name="stem")
    height, width = x.shape[1:3]
    pad = ((1, 1), (1, 1)) if padded_pool else ((0, 1 - height % 2), (0, 1 - width % 2))
    x = keras.layers.ZeroPadding2D(pad, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
