"""A network with the weights of a file, before it is adapted to the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.weights.channels import adapt_channels
from keras_cnns.networks.weights.loading import stem_layer

if TYPE_CHECKING:
    from keras import Model


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A network with the weights of a file, for as many channels as they were trained with.

    Attributes:
        network: The network, without preprocessing.
        preprocessing: The preprocessing of the weights.
        initial: Names of the layers that keep their initial values.
        library: The library whose standardization is assumed, "" if it is known.
    """

    network: Model
    preprocessing: Preprocessing
    initial: tuple[str, ...]
    library: str = ""

    def adapt(self, channels: int) -> tuple[np.ndarray, Preprocessing]:
        """Return the first kernel and the preprocessing for images with a number of channels."""
        kernel = np.asarray(stem_layer(self.network).get_weights()[0])
        return adapt_channels(kernel, self.preprocessing, channels)
