"""The first layers of a network, which turn pixel values from 0 to 255 into what its weights were trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from keras_cnns.lazy import keras

# Added to the variance of each standardized image, relative to that of all images, so that blank ones stay blank.
MIN_VARIANCE = 0.03
STANDARDIZE, STANDARDIZE_IMAGE, CONSTANT = "standardize", "standardize_image", "constant_channel"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How pixel values from 0 to 255 are standardized: `value * scale + offset`.

    Attributes:
        scale: The factor of each channel, red first.
        offset: What is added to each channel.
        by_image: Whether each image is then divided by its own standard deviation, after subtracting its mean.
        constant: Whether the network also receives a channel of ones, see `keras_cnns.networks.weights.channels`.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    by_image: bool = False
    constant: bool = False

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return len(self.scale)

    @property
    def input_channels(self) -> int:
        """The number of channels that the network receives."""
        return len(self.scale) + self.constant

    @classmethod
    def from_mean(cls, mean: Sequence[float], deviation: Sequence[float], *, by_image: bool = False) -> Self:
        """Return the standardization by the mean and the standard deviation of each channel, from 0 to 255."""
        return cls(
            scale=tuple(1.0 / value for value in deviation),
            offset=tuple(-value / spread for value, spread in zip(mean, deviation, strict=True)),
            by_image=by_image,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes by name; values are serializable as JSON."""
        return asdict(self)

    def apply(self, pixels: Any) -> Any:
        """Apply the layers of the preprocessing to a tensor of pixel values: (h, w, c) -> (h, w, input channels)."""
        # Keras reshapes a vector if the global data format is "channels_first", but not a tensor of three axes.
        scale, offset = ([[list(values)]] for values in (self.scale, self.offset))
        standardized = keras.layers.Rescaling(scale, offset, name=STANDARDIZE)(pixels)
        if self.by_image:
            standardized = keras.layers.LayerNormalization(
                axis=(1, 2, 3), center=False, scale=False, epsilon=MIN_VARIANCE, name=STANDARDIZE_IMAGE
            )(standardized)
        if self.constant:
            ones = keras.layers.Rescaling(0.0, 1.0, name=CONSTANT)(pixels[..., :1])
            standardized = keras.layers.Concatenate(axis=-1, name="with_constant")([standardized, ones])
        return standardized
