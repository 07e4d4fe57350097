"""Conversion of the images of any source to uint8, one size and one number of channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from keras_cnns.data.dataset import SPLITS, Dataset
from keras_cnns.errors import DataError

LUMA = np.array([0.299, 0.587, 0.114])
"""The weights of red, green and blue in a greyscale image (ITU-R BT.601)."""
RESIZE_HINT = "resize them, for example with --image-size 64 (image_size=64)"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The size and the channels that images are converted to.

    Attributes:
        image_size: Height and width, or the side of a square; None keeps the size.
        channels: 1 for greyscale, 3 for RGB; None keeps the channels.

    Raises:
        DataError: The size or the number of channels is not possible.
    """

    image_size: int | tuple[int, int] | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        height, width = self.size or (1, 1)
        if height < 1 or width < 1:
            raise DataError(f"image_size {height}x{width} is not possible; the minimum is 1.")
        if self.channels not in {None, 1, 3}:
            raise DataError(f"{self.channels} channels are not possible; use 1 for greyscale or 3 for RGB.")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, or None."""
        side = self.image_size
        return None if side is None else (side, side) if isinstance(side, int) else (side[0], side[1])

    def convert_image(self, image: np.ndarray) -> np.ndarray:
        """Convert one image, shape (height, width, 1 or 3), uint8: resize it, then change its channels.

        `convert_arrays` changes the channels first, which is faster. Colour images that become greyscale may therefore
        differ by rounding.
        """
        (converted,) = change_channels(resize(image[np.newaxis], self.size), self.channels)
        return np.asarray(converted)


def convert_arrays(dataset: Dataset, conversion: Conversion) -> Dataset:
    """Convert the arrays of a source.

    Args:
        dataset: Images of any numeric type, of 0 to 255 or, if they are floating-point, of 0 to 1, in each split of
            shape (images, height, width[, 1 or 3]) or, if their sizes differ, an object array of single images.
        conversion: The size and the channels.

    Raises:
        DataError: The arrays are not images, or images or splits differ in their shape after the conversion.
    """
    arrays = {name: dataset.splits[name].images for name in SPLITS if name in dataset.splits}
    floating = all(np.issubdtype(images.dtype, np.floating) for images in arrays.values())
    scaled = floating and all(images.size and images.max() <= 1 for images in arrays.values())
    shapes: dict[tuple[int, ...], str] = {}
    for name, images in arrays.items():
        stacked = stack_sizes(dataset.name, images, conversion) if images.dtype == object else images
        pixels = change_channels(to_uint8(dataset.name, stacked, 255.0 if scaled else 1.0), conversion.channels)
        arrays[name] = np.ascontiguousarray(resize(pixels, conversion.size))
        shapes.setdefault(arrays[name].shape[1:], name)
    if len(shapes) > 1:
        (one, first), (other, second), *_ = (("x".join(map(str, shape)), name) for shape, name in shapes.items())
        raise DataError(
            f"{dataset.name}: {second} images are {other} but {first} images are {one}; {RESIZE_HINT}, or convert "
            f"them to greyscale with --channels 1 (channels=1)."
        )
    splits = {name: replace(dataset.splits[name], images=images) for name, images in arrays.items()}
    notes = (*dataset.notes, *(["Pixels of 0 to 1 were multiplied by 255."] if scaled else []))
    return replace(dataset, splits=splits, notes=notes)


def stack_sizes(name: str, images: np.ndarray, conversion: Conversion) -> np.ndarray:
    """Convert images of different sizes, an object array, to one array."""
    if conversion.size is None:
        sizes = len({image.shape for image in images})
        raise DataError(f"{name}: images have {sizes} different sizes; {RESIZE_HINT}.")
    return np.stack([conversion.convert_image(to_uint8(name, image[np.newaxis], 1.0)[0]) for image in images])


def to_uint8(name: str, images: np.ndarray, scale: float) -> np.ndarray:
    """Convert images to uint8, shape (images, height, width, channels), multiplying them by `scale`.

    Raises:
        DataError: The array does not have the shape or the values of images.
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape or images.shape[-1] not in {1, 3}:
        raise DataError(
            f"{name}: images cannot have shape {images.shape}; use (images, height, width) or (images, height, width, "
            f"1 or 3)."
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.number):
        raise DataError(f"{name}: images cannot be of type {images.dtype}; use uint8.")
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if not finite.all():
        raise DataError(f"{name}: image {int(finite.argmin())} has NaN or infinite pixels.")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 255:
        raise DataError(f"{name}: pixels range from {low:g} to {high:g}; use 0 to 255, or 0 to 1.")
    return np.rint(images * scale).astype(np.uint8)


def resize(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Resize images to a height and width with bilinear interpolation and antialiasing; None keeps the size."""
    if size is None or images.shape[1:3] == size:
        return images
    height, width = size
    resized = np.empty((len(images), height, width, images.shape[-1]), np.uint8)
    for index, image in enumerate(images):
        for channel in range(images.shape[-1]):
            plane = Image.fromarray(image[..., channel]).resize((width, height), Image.Resampling.BILINEAR)
            resized[index, ..., channel] = np.asarray(plane)
    return resized


def change_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Convert images of 1 or 3 channels to greyscale (1) or RGB (3); None keeps the channels."""
    if channels in {None, images.shape[-1]}:
        return images
    if channels == 3:
        return images.repeat(3, axis=-1)
    return np.asarray(np.rint(images @ LUMA), np.uint8)[..., np.newaxis]
