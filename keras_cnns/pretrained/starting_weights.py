"""Weights that a network begins with: checked, and adapted to its classes and the channels of its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import WeightsError
from keras_cnns.networks.baselines.names import is_baseline
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.registry import build
from keras_cnns.networks.weights.files import open_state
from keras_cnns.networks.weights.loading import copy_weights, load_state, reorder_channels
from keras_cnns.networks.weights.own import check_structure
from keras_cnns.pretrained.baselines import load_baseline
from keras_cnns.pretrained.references import WeightsFile
from keras_cnns.pretrained.source import Source

if TYPE_CHECKING:
    from keras import Model

RGB, BLUE_FIRST = 3, (2, 1, 0)
CHECKSUM = "weights.sha256"
"""The tag of a run with the SHA-256 of the weights that it began with."""


@dataclass(frozen=True, kw_only=True)
class StartingWeights:
    """Weights that a network begins with.

    Attributes:
        file: The file, and where it comes from.
        preprocessing: The first layers of the network, for the channels of its images.
        initial: Names of the layers that keep their initial values, such as a classifier of other classes.
        library: The library whose standardization is assumed, because the arrays have its names; "" if it is known.
    """

    file: WeightsFile
    preprocessing: Preprocessing
    initial: tuple[str, ...]
    library: str = ""

    def describe(self) -> dict[str, Any]:
        """Return what two trainings have in common if they begin with the same weights; serializable as JSON."""
        return {"sha256": self.file.sha256, "preprocessing": self.preprocessing.as_dict()}

    def to_tags(self) -> dict[str, str]:
        """Return the tags of a run that begins with these weights."""
        return {
            "weights": self.file.reference,
            "weights.source": self.file.source,
            CHECKSUM: self.file.sha256,
            "weights.licence": self.file.licence or "unknown",
            "weights.initial_layers": ", ".join(self.initial),
        }

    def note(self) -> str:
        """Return a line about where the weights come from and what was not loaded."""
        kept = f"; initial values: {', '.join(self.initial)}" if self.initial else ""
        assumed = f"; images are standardized as for the weights of {self.library}" if self.library else ""
        licence = self.file.licence or "unknown"
        return f"weights {self.file.reference}: {self.file.source}, licence {licence}{assumed}{kept}"


def load_source(
    file: WeightsFile, name: str, shape: tuple[int, int, int], classes: int | None, settings: Mapping[str, Any]
) -> Source:
    """Build a network and load the weights of a file.

    Args:
        file: The file.
        name: The name of the variant.
        shape: The shape of the images; the number of channels is that of the weights.
        classes: The number of classes; None: that of the variant.
        settings: Settings that differ from the variant's.

    Raises:
        WeightsError: The weights do not fit, or it is not known how images were standardized for them.
        KerasCnnsError: The network is not valid.
    """
    if file.preprocessing is None and is_baseline(name):
        return load_baseline(file.path, name, shape, classes, settings)
    channels = RGB if file.preprocessing is None else file.preprocessing.input_channels
    network = build(name, input_shape=(*shape[:2], channels), classes=classes, classifier_activation=None, **settings)
    is_own = file.preprocessing is not None and file.path.suffix.lower() == ".keras"
    if is_own:
        check_structure(file.path, network)
    with open_state(file.path) as state:
        loaded = load_state(network, state, is_own=is_own)
    if file.preprocessing is None and loaded.is_own:
        raise WeightsError(
            f"{file.path}: does not say how images were standardized for these weights; use the .keras file of a run."
        )
    if loaded.layout.blue_first:
        reorder_channels(network, BLUE_FIRST)
    return Source(
        network=network,
        preprocessing=file.preprocessing or loaded.layout.preprocessing,
        initial=loaded.initial,
        library="" if file.preprocessing else loaded.layout.libraries[0],
    )


def check_weights(
    file: WeightsFile, name: str, shape: tuple[int, int, int], classes: int | None, settings: Mapping[str, Any]
) -> StartingWeights:
    """Return weights for a network and images, after loading them once. See `load_source`."""
    source = load_source(file, name, shape, classes, settings)
    _, preprocessing = source.adapt(shape[2])
    return StartingWeights(file=file, preprocessing=preprocessing, initial=source.initial, library=source.library)


def load_into(model: Model, weights: StartingWeights, name: str, classes: int, settings: Mapping[str, Any]) -> None:
    """Copy weights to a network that begins with their preprocessing."""
    height, width, channels = model.input_shape[1:]
    source = load_source(weights.file, name, (height, width, channels), classes, settings)
    kernel, _ = source.adapt(channels)
    copy_weights(source.network, model, kernel)
