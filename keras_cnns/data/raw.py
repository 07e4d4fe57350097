"""A source as it was read, before sizes, channels and splits are settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_cnns.data.dataset import Broken, Split
from keras_cnns.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, kw_only=True)
class Raw:
    """What a source holds.

    Attributes:
        name: What a person calls it.
        splits: Images, of any numeric type, and labels.
        class_names: The classes, by label.
        notes: What a report must say.
        broken: The files that were left out because they cannot be read.
    """

    name: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()


def pixel_scale(raw: Raw) -> tuple[float, list[str]]:
    """Return what to multiply pixels by, the same for all splits, and the source's notes.

    Floating-point images may have values of 0 to 1, which are multiplied by 255, or of 0 to 255.
    """
    arrays = [split.images for split in raw.splits.values()]
    floating = all(np.issubdtype(images.dtype, np.floating) for images in arrays)
    if floating and all(images.size and images.max() <= 1 for images in arrays):
        return 255.0, [*raw.notes, "Pixels of 0 to 1 were multiplied by 255."]
    return 1.0, list(raw.notes)


def to_pixels(name: str, images: np.ndarray, scale: float) -> np.ndarray:
    """Return images as (images, height, width, channels) in uint8, multiplied by `scale`.

    Raises:
        DataError: The array is no images, or its values are no pixels.
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape or images.shape[-1] not in {1, 3}:
        raise DataError(
            f"{name}: an array of shape {images.shape} is no images; use (images, height, width[, 1 or 3])."
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.number):
        raise DataError(f"{name}: images of type {images.dtype} are no pixels; use uint8.")
    if not np.isfinite(images).all():
        broken = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0])
        raise DataError(f"{name}: image {broken} has pixels that are not numbers (NaN or infinite).")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 255:
        raise DataError(f"{name}: pixels are from {low:g} to {high:g}; use 0 to 255, or 0 to 1.")
    return np.rint(images * scale).astype(np.uint8)


def resize(images: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize images to a height and width, or a side, smoothly."""
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[1:3] == (height, width):
        return images
    resized = np.empty((len(images), height, width, images.shape[-1]), np.uint8)
    for index, image in enumerate(images):
        for channel in range(images.shape[-1]):
            plane = Image.fromarray(image[..., channel]).resize((width, height), Image.Resampling.BILINEAR)
            resized[index, ..., channel] = np.asarray(plane)
    return resized


def change_channels(name: str, images: np.ndarray, channels: int) -> np.ndarray:
    """Turn grey images into colour ones or the other way, with the weights of ITU-R BT.601."""
    if (images.shape[-1], channels) == (1, 3):
        return images.repeat(3, axis=-1)
    if (images.shape[-1], channels) == (3, 1):
        grey = images @ np.array([0.299, 0.587, 0.114])
        return np.asarray(np.rint(grey), np.uint8)[..., np.newaxis]
    raise DataError(f"{name}: images of {images.shape[-1]} channels cannot be made {channels}; use 1 or 3.")
