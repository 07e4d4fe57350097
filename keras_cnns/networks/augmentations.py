"""Presets of random augmentation of training images, as plain data that can be read without loading Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_cnns.networks.settings import Choice, check_argument


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A preset of augmentation.

    Attributes:
        description: What it does to an image, in one line, for help and docs.
        layers: The names of the layers of `keras.layers`, in the order in which they are applied, with their arguments
            for pixels of 0 to 255.
        unchanged_share: The share of the images that are not changed, so that the network also learns from original
            images.
    """

    description: str
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unchanged_share: float = 0.0


REFLECT = {"fill_mode": "reflect"}
AUGMENTATIONS = {
    "none": Augmentation(description="none"),
    "light": Augmentation(
        description="rotation by up to 10°, translation and zoom by up to a tenth",
        layers={
            "RandomRotation": {"factor": 10 / 360, **REFLECT},
            "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1, **REFLECT},
            "RandomZoom": {"height_factor": 0.1, "width_factor": 0.1, **REFLECT},
        },
    ),
    # 4 of 32 pixels (He et al. 2016, section 4.2).
    "standard": Augmentation(
        description="translation by up to an eighth with zero padding, horizontal flip: as in the ResNet and DenseNet "
        "papers for CIFAR",
        layers={
            "RandomTranslation": {"height_factor": 1 / 8, "width_factor": 1 / 8, "fill_mode": "constant"},
            "RandomFlip": {"mode": "horizontal"},
        },
    ),
    # Brightness and contrast differ between scanners.
    "medical": Augmentation(
        description="rotation by up to 20°, translation by up to an eighth, zoom by up to a quarter, shear by up to a "
        "tenth, brightness, contrast, and random erasing in a quarter of the images; one in seven images is unchanged; "
        "no flips, because left and right differ in a body",
        layers={
            "RandomRotation": {"factor": 20 / 360, **REFLECT},
            "RandomTranslation": {"height_factor": 1 / 8, "width_factor": 1 / 8, **REFLECT},
            "RandomZoom": {"height_factor": (-0.25, 0.25), "width_factor": (-0.25, 0.25), **REFLECT},
            "RandomShear": {"x_factor": 0.1, "y_factor": 0.1, **REFLECT},
            "RandomBrightness": {"factor": 0.3},
            "RandomContrast": {"factor": (0.5, 0.5)},  # a single number would only increase the contrast (Keras 3.15)
            "RandomErasing": {"factor": (0.25, 0.25), "scale": (0.02, 0.2), "fill_value": 0.0},
        },
        unchanged_share=0.15,
    ),
    "randaugment": Augmentation(
        description="two of eleven operations, drawn for each batch, at a tenth of their maximum strength",
        layers={"RandAugment": {"num_ops": 2, "factor": 0.1}},
    ),
}
"""The presets by name."""


def find_augmentation(preset: str) -> Augmentation:
    """Return a preset by name.

    Raises:
        SettingError: There is no such preset; the message lists all presets.
    """
    return AUGMENTATIONS[check_argument("augmentation", Choice(tuple(AUGMENTATIONS)), preset)]
