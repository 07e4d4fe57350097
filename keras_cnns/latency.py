"""What takes time in a network's forward pass, counted by its own builder without building it.

Times differ from machine to machine; how much there is of each kind of work does not. What a machine needs for each
kind is measured (`tuning.candidates.latency`), and the sum is the predicted time.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from keras_cnns.counting import Maps, Tally

# Convolutions are computed in blocks of maps (oneDNN): part of a block takes the time of a whole one. Only images,
# which have few channels, are read as they are.
BLOCK = 16
FEW_CHANNELS = 4


class Work(Tally):
    """Counts what a `Tally` does, and how much there is of each kind of work. Layers in a stack are nearly even in it.

    Attributes:
        networks: One.
        weighted_layers: Layers that multiply.
        other_layers: Layers that do not.
        pointwise_macs: Multiply-accumulates of 1x1 convolutions, of whole blocks of maps.
        spatial_macs: Those of larger convolutions, of whole blocks too.
        grouped_macs: Those of convolutions in groups.
        patch_values: Values of all patches that larger convolutions see.
        convolution_weights: Weights of convolutions.
        dense_weights: Weights of dense layers.
        moved_values: Values that layers without multiplications read and write.
        normalized_values: The same for local response normalisation.
    """

    __slots__ = (
        "convolution_weights",
        "dense_weights",
        "grouped_macs",
        "moved_values",
        "networks",
        "normalized_values",
        "other_layers",
        "patch_values",
        "pointwise_macs",
        "spatial_macs",
        "weighted_layers",
    )

    def __init__(self) -> None:
        super().__init__()
        self.networks = 1
        self.weighted_layers = self.other_layers = 0
        self.pointwise_macs = self.spatial_macs = self.grouped_macs = self.patch_values = 0
        self.convolution_weights = self.dense_weights = 0
        self.moved_values = self.normalized_values = 0

    def amounts(self) -> tuple[int, ...]:
        """Return how much there is of each kind, in the order of `KINDS`."""
        return read_amounts(self)

    def values(self) -> tuple[int, ...]:
        """Return all that is counted."""
        return *super().values(), *self.amounts()

    def set_values(self, values: Iterable[int]) -> None:
        """Take over what `values` returns."""
        trainable, fixed, macs, *amounts = values
        super().set_values((trainable, fixed, macs))
        for kind, amount in zip(KINDS, amounts, strict=True):
            setattr(self, kind, amount)

    def add(self, before: Maps, after: Maps, trainable: int, fixed: int, macs: int, kind: str) -> None:
        """Add a layer between these maps; `kind` is as in `Maps.after`."""
        super().add(before, after, trainable, fixed, macs, kind)
        places = after.height * after.width
        if macs:
            self.add_weighted(before.channels, after.channels, places, macs, kind)
            return
        moved = before.height * before.width * before.channels + places * after.channels
        self.other_layers += 1
        if kind == "local_response_norm":
            self.normalized_values += moved
        else:
            self.moved_values += moved

    def add_weighted(self, channels: int, width: int, places: int, macs: int, kind: str) -> None:
        """Add a layer that multiplies: from so many channels to `width` maps at so many places."""
        weights = macs // places
        pairs = channels * width
        whole = (channels if channels <= FEW_CHANNELS else in_blocks(channels)) * in_blocks(width)
        self.weighted_layers += 1
        if places == 1 and weights == pairs:
            self.dense_weights += weights
            return
        self.convolution_weights += weights
        if kind == "grouped":
            self.grouped_macs += macs
        elif weights <= pairs:
            self.pointwise_macs += places * whole
        else:
            self.spatial_macs += macs * whole // pairs
            self.patch_values += macs // width


KINDS = Work.__slots__
read_amounts = attrgetter(*KINDS)


def in_blocks(channels: int) -> int:
    """Return how many maps the blocks have that hold these."""
    return -(-channels // BLOCK) * BLOCK
