"""Decoding of one image file of any supported format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_cnns.data.decoding.decoded_image import DecodedImage
from keras_cnns.errors import DataError
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.data.decoding import dicom
else:
    dicom = LazyModule("keras_cnns.data.decoding.dicom")

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
DICOM_MAGIC, DICOM_MAGIC_OFFSET = b"DICM", 128
GREYSCALE_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its suffix or, for DICOM without a suffix, by its first bytes."""
    return path.suffix.lower() in SUFFIXES or is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by its suffix or, if that is missing or a number, by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in DICOM_SUFFIXES:
        return True
    if suffix.strip(".0123456789") or path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            file.seek(DICOM_MAGIC_OFFSET)
            return file.read(len(DICOM_MAGIC)) == DICOM_MAGIC
    except OSError:
        return False


def decode(path: Path) -> DecodedImage:
    """Decode an image at its original size.

    Raises:
        DataError: The file cannot be read; the message has the reason but not the path.
    """
    if not path.exists():
        raise DataError("does not exist")
    if is_dicom(path):
        return dicom.decode_dicom(path)
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return DecodedImage(to_uint8(image))
    except PermissionError:
        raise DataError("cannot be opened; check its permissions") from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(str(path), path.name).split())
        raise DataError(f"is broken or not an image ({reason})") from None


def read_size(path: Path) -> tuple[int, int]:
    """Return the width and height in the header of a valid image, before any rotation by Exif."""
    if is_dicom(path):
        return dicom.read_dicom_size(path)
    with Image.open(path) as image:
        return image.size


def to_uint8(image: Image.Image) -> np.ndarray:
    """Return pixels as uint8, shape (height, width, 1 or 3): the upper 8 of 16 bits, the colours of a palette."""
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"its pixels range from {values.min()} to {values.max()}; save it with 8 or 16 bits")
        return (values >> 8).astype(np.uint8)[..., np.newaxis]
    mode = "L" if image.mode in GREYSCALE_MODES else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[..., np.newaxis] if mode == "L" else pixels
