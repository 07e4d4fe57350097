"""One file, one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_cnns.data.raw import change_channels, resize
from keras_cnns.errors import DataError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"})
DICOM_ENDINGS = frozenset({".dcm", ".dicom"})
DICOM_MAGIC, MAGIC_AT = b"DICM", 128
GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image.

    Attributes:
        pixels: Shape (height, width) if it is grey, else (height, width, 3), uint8.
        facts: What a DICOM header says of it, by keyword.
        stretched: Whether its own lowest and highest value were made 0 and 255.
    """

    pixels: np.ndarray
    facts: Mapping[str, str] = field(default_factory=dict)
    stretched: bool = False


def decode(path: Path, image_size: int | tuple[int, int] | None) -> np.ndarray:
    """Decode an image to uint8, resized if a size is given; (height, width) if it is grey, else (height, width, 3).

    Raises:
        DataError: It cannot be read.
    """
    try:
        return fitted(read_picture(path).pixels, image_size, None)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def is_image(path: Path) -> bool:
    """Return whether a file's ending, or for DICOM its beginning, is that of an image."""
    return path.suffix.lower() in ENDINGS or is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by its ending, or where it has none or a number by how it begins."""
    ending = path.suffix.lower()
    if ending in DICOM_ENDINGS:
        return True
    if ending.strip(".0123456789") or path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            file.seek(MAGIC_AT)
            return file.read(len(DICOM_MAGIC)) == DICOM_MAGIC
    except OSError:
        return False


def read_picture(path: Path) -> Picture:
    """Decode an image at its own size.

    Raises:
        DataError: It cannot be read; the message has the reason and not the path.
    """
    if not path.exists():
        raise DataError("does not exist")
    if is_dicom(path):
        from keras_cnns.data.dicom import read_dicom  # noqa: PLC0415 - slow to import, seldom needed

        return read_dicom(path)
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return Picture(to_bytes(image))
    except PermissionError:
        raise DataError("may not be read; check its permissions") from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(str(path), path.name).split())
        raise DataError(f"is broken or no image ({reason})") from None


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image that can be read, from its header and before Exif turns it."""
    if is_dicom(path):
        from keras_cnns.data.dicom import size_in_header  # noqa: PLC0415 - slow to import, seldom needed

        return size_in_header(path)
    with Image.open(path) as image:
        return image.size


def to_bytes(image: Image.Image) -> np.ndarray:
    """Return a decoded image's pixels as uint8: of 16 bits the upper 8, of a palette its colours.

    Raises:
        DataError: Its pixels are of no known range.
    """
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers of no known range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise DataError(f"its pixels are from {pixels.min()} to {pixels.max()}; save it with 8 or 16 bits")
        return (pixels >> 8).astype(np.uint8)
    wanted = "L" if image.mode in GREY else "RGB"
    return np.asarray(image if image.mode == wanted else image.convert(wanted))


def fitted(pixels: np.ndarray, image_size: int | tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """Bring an image to a size and, unless it may be of either kind, to grey or colour.

    Args:
        pixels: Shape (height, width) or (height, width, 3), uint8.
        image_size: Height and width, or the side; None: its own.
        channels: 1 or 3; None: grey images keep two dimensions, colour ones three.
    """
    if image_size is not None:
        resized = resize(pixels.reshape(1, *pixels.shape[:2], -1), image_size)
        pixels = resized[0, ..., 0] if pixels.ndim == 2 else resized[0]
    if channels is None:
        return pixels
    image = with_channels(pixels, colour=channels == 3)
    return image if image.shape[-1] == channels else change_channels("", image[np.newaxis], channels)[0]


def with_channels(image: np.ndarray, *, colour: bool) -> np.ndarray:
    """Give a grey image the channels that all images of the source have."""
    if image.ndim == 3:
        return image
    return image[..., np.newaxis].repeat(3 if colour else 1, axis=-1)
