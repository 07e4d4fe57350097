"""Kernels of networks for images with another number of channels."""

from __future__ import annotations

import numpy as np

from keras_cnns.networks.preprocessing import Preprocessing


def adapt_channels(kernel: np.ndarray, preprocessing: Preprocessing, channels: int) -> tuple[np.ndarray, Preprocessing]:
    """Adapt the first kernel of a network, and its preprocessing, to images with another number of channels.

    Grey images, and images with the same values in all channels, give the same outputs as before. The kernel of a
    channel is the sum of the kernels over all channels, each times its scale, divided by the new number of channels.

    One such kernel cannot express that each channel has an offset of its own, because a network pads images with zeros
    after the standardization, which is a different colour in each channel. Unless the offsets are the same relative to
    the scales, the network therefore receives an additional channel of ones, whose kernel has the remaining offsets.

    Args:
        kernel: Shape (height, width, input channels of the preprocessing, filters).
        preprocessing: The preprocessing of the network that the kernel comes from.
        channels: The new number of channels.

    Returns:
        The kernel of shape (height, width, input channels, filters), and the new preprocessing.
    """
    if channels == preprocessing.channels:
        return kernel, preprocessing
    scale, offset = (np.array(values, np.float64) for values in (preprocessing.scale, preprocessing.offset))
    new_scale, zero = scale.mean(), (offset / scale).mean()
    of_images, of_ones = np.split(kernel, [preprocessing.channels], axis=2)
    summed = np.einsum("hwcf,c->hwf", of_images, scale / new_scale)[:, :, np.newaxis]
    rest = offset - scale * zero
    parts = [summed / channels] * channels
    constant = preprocessing.constant or not np.allclose(rest, 0.0, atol=1e-9)
    if constant:
        parts.append(np.einsum("hwcf,c->hwf", of_images, rest)[:, :, np.newaxis] + of_ones.sum(axis=2, keepdims=True))
    adapted = Preprocessing(
        scale=(float(new_scale),) * channels,
        offset=(float(new_scale * zero),) * channels,
        by_image=preprocessing.by_image,
        constant=constant,
    )
    return np.concatenate(parts, axis=2).astype(kernel.dtype), adapted
