"""Random changes to training images, other ones in every epoch, by Keras's own layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.lazy import keras

if TYPE_CHECKING:
    from keras_cnns.data.draws import Draws

UNCHANGED = {"medical": 0.15}
AT_A_TIME = 256


def preset_layers(preset: str) -> list[Any]:
    """Return the layers of a preset, which take and return pixels of 0 to 255.

    light
        Turned by up to 10 degrees, moved by a tenth, larger or smaller by a tenth.
    standard
        Moved by up to an eighth, zeros beyond the edge, and mirrored: what the ResNet and DenseNet papers do on CIFAR
        (He et al. 2016, section 4.2), 4 pixels of 32.
    medical
        Turned by up to 20 degrees, moved and sheared by up to an eighth, larger or smaller by up to a quarter, other
        brightness and contrast as between scanners, and in a quarter of the images a patch hidden. Never mirrored: left
        and right differ. One in seven images stays as it is, so that such images are known too.
    randaugment
        Keras's RandAugment: two operations a batch, drawn from eleven, at a tenth of their greatest strength.
    """
    layers = keras.layers
    edges = {"fill_mode": "reflect", "dtype": "float32"}
    match preset:
        case "none":
            return []
        case "light":
            return [
                layers.RandomRotation(10 / 360, **edges),
                layers.RandomTranslation(0.1, 0.1, **edges),
                layers.RandomZoom(0.1, 0.1, **edges),
            ]
        case "standard":
            return [
                layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant", dtype="float32"),
                layers.RandomFlip("horizontal", dtype="float32"),
            ]
        case "medical":
            return [
                layers.RandomRotation(20 / 360, **edges),
                layers.RandomTranslation(1 / 8, 1 / 8, **edges),
                layers.RandomZoom((-0.25, 0.25), (-0.25, 0.25), **edges),
                layers.RandomShear(0.1, 0.1, **edges),
                layers.RandomBrightness(0.3, dtype="float32"),
                # One number would only raise the contrast (Keras 3.15).
                layers.RandomContrast((0.5, 0.5), dtype="float32"),
                layers.RandomErasing((0.25, 0.25), scale=(0.02, 0.2), fill_value=0.0, dtype="float32"),
            ]
        case _:
            return [layers.RandAugment(num_ops=2, factor=0.1, dtype="float32")]


def change(images: Any, layers: Sequence[Any], draws: Draws, *, unchanged: float = 0.0) -> Any:
    """Return float32 images as the layers change them, but for a share of them; equal draws change equally."""
    changed = images
    for layer in layers:
        layer.generator = draws  # what RandAugment hands to the layers inside it
        changed = layer.transform_images(changed, layer.get_random_transformation(changed, training=True, seed=draws))
    if not unchanged:
        return changed
    chosen = keras.random.uniform((keras.ops.shape(images)[0], 1, 1, 1), seed=draws) < unchanged
    return keras.ops.where(chosen, images, changed)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are changed.

    Attributes:
        preset: One of `keras_cnns.networks.recipe.AUGMENTATIONS`.
        mixup: The alpha of MixUp (Zhang et al. 2018, arXiv 1710.09412): images are added to others, weighted, and so
            are their labels. 0 for none.
        cutmix: The alpha of CutMix (Yun et al. 2019, arXiv 1905.04899): rectangles are cut from other images, and
            labels mixed by area. 0 for none. With both, half of the batches have one and half the other.
    """

    preset: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def unchanged(self) -> float:
        """The share of the images that the preset leaves as they are."""
        return UNCHANGED.get(self.preset, 0.0)

    def layers(self) -> tuple[list[Any], list[Any]]:
        """Return the layers that change each image, and those that mix images, to be made once."""
        mixing = []
        if self.mixup:
            mixing.append(keras.layers.MixUp(self.mixup, dtype="float32"))
        if self.cutmix:
            mixing.append(keras.layers.CutMix((self.cutmix, self.cutmix), dtype="float32"))
        return preset_layers(self.preset), mixing


def mix(images: Any, labels: Any, layers: Sequence[Any], draws: Draws) -> tuple[Any, Any]:
    """Mix images with others of their batch, and their labels, shape (images, classes), likewise; by one layer."""
    mixed = []
    for layer in layers:
        how = layer.get_random_transformation(images, training=True, seed=draws)
        mixed.append((layer.transform_images(images, how), layer.transform_labels(labels, how)))
    if len(mixed) < 2:
        return mixed[0] if mixed else (images, labels)
    (first_images, first_labels), (second_images, second_labels) = mixed
    first = keras.random.uniform((), seed=draws) < 0.5
    where = keras.ops.where
    return where(first, first_images, second_images), where(first, first_labels, second_labels)


def augmented_views(images: np.ndarray, preset: str, *, views: int, seed: int) -> np.ndarray:
    """Return several random versions of images.

    Args:
        images: Shape (images, height, width, channels), uint8.
        preset: One of `keras_cnns.networks.recipe.AUGMENTATIONS`.
        views: How many versions of each.
        seed: Equal seeds change equally.

    Returns:
        Shape (views, images, height, width, channels), float32, 0 to 255.
    """
    import tensorflow as tf  # noqa: PLC0415 - the presets' names need none

    from keras_cnns.data.draws import Draws  # noqa: PLC0415

    layers = preset_layers(preset)
    changed = np.empty((views, *images.shape), np.float32)
    for view in range(views):
        for begin in range(0, len(images), AT_A_TIME):
            at = tf.random.experimental.stateless_fold_in(tf.constant([seed % 2**31, view], tf.int32), begin)
            part = tf.cast(images[begin : begin + AT_A_TIME], tf.float32)
            seen = change(part, layers, Draws(at), unchanged=UNCHANGED.get(preset, 0.0))
            changed[view, begin : begin + AT_A_TIME] = np.clip(seen, 0, 255)
    return changed
