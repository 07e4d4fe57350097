"""Conversion of the images of any source to uint8, one size and one number of channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from keras_cnns.data.dataset import SPLITS, Dataset
from keras_cnns.data.decoding.image import FRAMES
from keras_cnns.data.decoding.window import Window
from keras_cnns.data.value_range import RangeOptions, ValueRange, Values, choose_range, range_notes
from keras_cnns.errors import DataError, nearest

LUMA = np.array([0.299, 0.587, 0.114])
"""The weights of red, green and blue in a greyscale image (ITU-R BT.601)."""
RESIZE = ("pad", "crop", "stretch")
ARRAYS = "arrays"
RESIZE_HINT = "resize them, for example with --image-size 64 (image_size=64)"


MAX_STRETCH = 1.02
"""The ratio of two aspect ratios that are regarded as equal."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How images are decoded and converted.

    Attributes:
        image_size: Height and width, or the side of a square; None keeps the size.
        channels: 1 for greyscale, 3 for RGB; None keeps the channels.
        resize: What happens to images of another aspect ratio: "pad" adds black borders, "crop" keeps the centre,
            "stretch" changes the aspect ratio.
        window: The window of DICOM images; None for that of their headers.
        frames: The frames of files with several: "first", "middle" or "all"; None if there may be only one.

    Raises:
        DataError: The size, the number of channels or the way to resize is not possible.
    """

    image_size: int | tuple[int, int] | None = None
    channels: int | None = None
    resize: str = "pad"
    window: Window | None = None
    frames: str | None = None

    def __post_init__(self) -> None:
        height, width = self.size or (1, 1)
        if height < 1 or width < 1:
            raise DataError(f"image_size {height}x{width} is not possible; the minimum is 1.")
        if self.channels not in {None, 1, 3}:
            raise DataError(f"{self.channels} channels are not possible; use 1 for greyscale or 3 for RGB.")
        for name, value, choices in (("resize", self.resize, RESIZE), ("frames", self.frames, FRAMES)):
            if value is not None and value not in choices:
                hint = nearest(value, choices)
                raise DataError(f"{name} {value!r} is not possible; use one of {', '.join(choices)}.{hint}")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, or None."""
        side = self.image_size
        return None if side is None else (side, side) if isinstance(side, int) else (side[0], side[1])

    def changes_shape(self, height: int, width: int) -> bool:
        """Return whether the aspect ratio of an image is not that of the size."""
        if self.size is None:
            return False
        ratio = height * self.size[1] / (width * self.size[0])
        return max(ratio, 1 / ratio) > MAX_STRETCH

    def convert_image(self, image: np.ndarray) -> np.ndarray:
        """Convert one image, shape (height, width, 1 or 3), uint8: resize it, then change its channels.

        `convert_arrays` changes the channels first, which is faster. Colour images that become greyscale may therefore
        differ by rounding.
        """
        (converted,) = change_channels(resize(image[np.newaxis], self.size, self.resize), self.channels)
        return np.asarray(converted)

    def shape_note(self, count: int, total: int) -> list[str]:
        """Return a note on the images whose aspect ratio is not that of the size."""
        if not count or self.size is None:
            return []
        what = {
            "pad": "were padded with black borders to keep their aspect ratio",
            "crop": "lost their borders to keep their aspect ratio",
            "stretch": "were stretched, which distorts shapes",
        }[self.resize]
        others = " or ".join(f"--resize {other}" for other in RESIZE if other != self.resize)
        return [f"{count:,} of {total:,} images have another aspect ratio than the image size and {what} ({others})."]


def convert_arrays(dataset: Dataset, conversion: Conversion, options: RangeOptions | None = None) -> Dataset:
    """Convert the arrays of a source.

    Args:
        dataset: Images of any numeric type, in each split of shape (images, height, width[, 1 or 3]) or, if their sizes
            differ, an object array of single images.
        conversion: The size and the channels.
        options: How the range of values is chosen.

    Raises:
        DataError: The arrays are not images, or images or splits differ in their shape or range.
    """
    arrays = {name: dataset.splits[name].images for name in SPLITS if name in dataset.splits}
    for name, images in arrays.items():
        for array in images if images.dtype == object else (images,):
            check_array(dataset.name, array, dimensions=2 if images.dtype == object else 3)
        if images.dtype == object and conversion.size is None:
            sizes = len({image.shape for image in images})
            raise DataError(f"{dataset.name}: images have {sizes} different sizes; {RESIZE_HINT}.")
        if images.ndim == 3:
            arrays[name] = images[..., np.newaxis]
    ranges, notes = find_array_range(dataset.name, arrays, options or RangeOptions())
    shapes: dict[tuple[int, ...], str] = {}
    reshaped = 0
    for name, images in arrays.items():
        reshaped += sum(conversion.changes_shape(*shape) for shape in shapes_of(images))
        arrays[name] = convert(images, conversion, ranges)
        shapes.setdefault(arrays[name].shape[1:], name)
    if len(shapes) > 1:
        (one, first), (other, second), *_ = (("x".join(map(str, shape)), name) for shape, name in shapes.items())
        raise DataError(
            f"{dataset.name}: {second} images are {other} but {first} images are {one}; {RESIZE_HINT}, or convert "
            f"them to greyscale with --channels 1 (channels=1)."
        )
    splits = {name: replace(dataset.splits[name], images=images) for name, images in arrays.items()}
    notes += conversion.shape_note(reshaped, sum(map(len, splits.values())))
    ranges_by_kind = {} if ranges is None else {ARRAYS: ranges}
    return replace(dataset, splits=splits, notes=(*dataset.notes, *notes), ranges=ranges_by_kind)


def shapes_of(images: np.ndarray) -> list[tuple[int, int]]:
    """Return the height and width of each image."""
    if images.dtype == object:
        return [image.shape[:2] for image in images]
    return [(images.shape[1], images.shape[2])] * len(images)


def find_array_range(
    name: str, arrays: Mapping[str, np.ndarray], options: RangeOptions
) -> tuple[ValueRange | None, list[str]]:
    """Return the range of the values of arrays, None if all are uint8, and notes."""
    parts = {split: [*images] if images.dtype == object else [images] for split, images in arrays.items()}
    all_uint8 = all(each.dtype == np.uint8 for part in parts.values() for each in part)
    if all_uint8 and options.bits is None and options.value_range is None:
        return None, []
    values = {
        split: sum((Values.of(each, len(each) if each.ndim == 4 else 1) for each in part), Values())
        for split, part in parts.items()
    }
    chosen = choose_range(name, values, options, options.known.get(ARRAYS))
    beyond = {split: sum(map(chosen.count_beyond, part)) for split, part in parts.items()}
    return chosen, range_notes("Arrays", values, chosen, beyond)


def convert(images: np.ndarray, conversion: Conversion, chosen: ValueRange | None) -> np.ndarray:
    """Convert arrays of one split: scale the values, change the channels, resize."""

    def scale(array: np.ndarray) -> np.ndarray:
        return array if chosen is None else chosen.scale(array)

    if images.dtype == object:
        each = (image[..., np.newaxis] if image.ndim == 2 else image for image in images)
        return np.stack([conversion.convert_image(scale(image)) for image in each])
    pixels = change_channels(scale(images), conversion.channels)
    return np.ascontiguousarray(resize(pixels, conversion.size, conversion.resize))


def check_array(name: str, images: np.ndarray, *, dimensions: int) -> None:
    """Raise a `DataError` if an array does not have the dimensions (without channels) or the type of images."""
    has_channels = images.ndim == dimensions + 1 and images.shape[-1] in {1, 3}
    if not (images.ndim == dimensions or has_channels) or 0 in images.shape:
        raise DataError(
            f"{name}: images cannot have shape {images.shape}; use (images, height, width) or (images, height, width, "
            f"1 or 3)."
        )
    if not (np.issubdtype(images.dtype, np.number) or images.dtype == bool) or np.iscomplexobj(images):
        raise DataError(f"{name}: images cannot be of type {images.dtype}; use uint8.")
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"{name}: image {int(finite.argmin())} has NaN or infinite pixels.")


def resize(images: np.ndarray, size: tuple[int, int] | None, how: str = "pad") -> np.ndarray:
    """Resize images to a height and width with bilinear interpolation and antialiasing; None keeps the size.

    Args:
        images: Shape (images, height, width, channels), uint8.
        size: The height and the width.
        how: "pad", "crop" or "stretch", see `Conversion`.
    """
    if size is None or images.shape[1:3] == size:
        return images
    height, width = size
    source_height, source_width = images.shape[1:3]
    box: tuple[float, float, float, float] = (0, 0, source_width, source_height)
    inner_height, inner_width = height, width
    if how == "crop":
        scale = max(height / source_height, width / source_width)
        kept_height, kept_width = height / scale, width / scale
        top, left = (source_height - kept_height) / 2, (source_width - kept_width) / 2
        box = (left, top, left + kept_width, top + kept_height)
    elif how == "pad":
        scale = min(height / source_height, width / source_width)
        inner_height, inner_width = (max(1, round(side * scale)) for side in (source_height, source_width))
    resized = np.zeros((len(images), height, width, images.shape[-1]), np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inside = resized[:, top : top + inner_height, left : left + inner_width]
    for index, image in enumerate(images):
        colours = image.shape[-1] == 3
        picture = Image.fromarray(image if colours else image[..., 0])
        plane = np.asarray(picture.resize((inner_width, inner_height), Image.Resampling.BILINEAR, box=box))
        inside[index] = plane if colours else plane[..., np.newaxis]
    return resized


def change_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Convert images of 1 or 3 channels to greyscale (1) or RGB (3); None keeps the channels."""
    if channels in {None, images.shape[-1]}:
        return images
    if channels == 3:
        return images.repeat(3, axis=-1)
    return np.asarray(np.rint(images @ LUMA), np.uint8)[..., np.newaxis]
