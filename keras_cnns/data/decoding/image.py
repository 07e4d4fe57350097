"""Decoding of one image file of any supported format."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from keras_cnns.data.decoding.decoded_image import DecodedImage
from keras_cnns.errors import DataError
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.data.decoding import dicom
    from keras_cnns.data.decoding.window import Window
else:
    dicom = LazyModule("keras_cnns.data.decoding.dicom")

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
SUFFIXES = JPEG_SUFFIXES | {".png", ".apng", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".jp2", ".j2k", ".j2c", ".jpc",
                            ".jpx", ".jpf", ".pbm", ".pgm", ".ppm", ".pnm", ".mpo", ".dib", ".tga"}  # fmt: skip
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "WEBP", "JPEG2000", "PPM", "TGA")
"""The formats of these files in Pillow; it also opens others, and executes another program for some."""
UNREAD = {".heic": "HEIC", ".heif": "HEIF", ".avif": "AVIF", ".jxl": "JPEG XL", ".nii": "NIfTI", ".gz": "NIfTI",
          ".mha": "MetaImage", ".mhd": "MetaImage", ".nrrd": "NRRD", ".svs": "a whole-slide image",
          ".ndpi": "a whole-slide image", ".mrxs": "a whole-slide image", ".psd": "Photoshop", ".svg": "SVG",
          ".dng": "a camera's raw file", ".cr2": "a camera's raw file", ".nef": "a camera's raw file",
          ".arw": "a camera's raw file"}  # fmt: skip
"""Formats of images that are not read, by suffix; of .gz only .nii.gz."""
FRAMES = ("first", "middle", "all")
FRAME = re.compile(r"(.+)#(\d+)")
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
DICOM_MAGIC, DICOM_MAGIC_OFFSET = b"DICM", 128
PHOTOMETRIC = 262
"""The tag of TIFF files that is 0 if low values are bright."""
GREYSCALE_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its suffix or, for DICOM without a suffix, by its first bytes.

    Images of formats that are not read are images too: `decode` names them.
    """
    return path.suffix.lower() in SUFFIXES or unread_format(path) is not None or is_dicom(path)


def unread_format(path: Path) -> str | None:
    """Return the format of an image that is not read; None for other files."""
    name = path.name.lower()
    return None if name.endswith(".gz") and not name.endswith(".nii.gz") else UNREAD.get(path.suffix.lower())


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


def decode(
    path: Path, *, frames: str | None = None, window: Window | None = None, into: np.ndarray | None = None
) -> DecodedImage:
    """Decode an image at its original size.

    Args:
        path: The file; `FILE#3` is the third of its frames.
        frames: The frame of files with several: "first" or "middle"; None if there may be only one.
        window: The window of DICOM images, instead of that of their headers.
        into: An array that may be used for the pixels if it has their shape; uint8.

    Raises:
        DataError: The file cannot be read; the message has the reason but not the path.
    """
    path, number = split_frame(path)
    if not path.exists():
        raise DataError("does not exist")
    if (unread := unread_format(path)) is not None:
        raise DataError(f"is {unread}, which is not read; convert it, for example to PNG")
    if is_dicom(path):
        return dicom.decode_dicom(path, lambda count: choose_frame(count, frames, number), window)
    try:
        data = path.read_bytes() if path.suffix.lower() in JPEG_SUFFIXES else b""
        with Image.open(BytesIO(data) if data else path, formats=FORMATS) as image:
            if (pixels := decode_jpeg(data, image, into)) is not None:
                return DecodedImage(pixels)
            image.seek(choose_frame(count_image_frames(image), frames, number))
            check_depth(image)
            ImageOps.exif_transpose(image, in_place=True)
            return read_values(image)
    except PermissionError:
        raise DataError("cannot be opened; check its permissions") from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - broken files raise all kinds of errors
        reason = " ".join(str(error).replace(str(path), path.name).split())
        raise DataError(f"is broken or not an image ({reason})") from None


def decode_jpeg(data: bytes, image: Image.Image, into: np.ndarray | None) -> np.ndarray | None:
    """Return the pixels that Pillow would decode, in less time; None for other images than common JPEGs.

    Args:
        data: The file's content.
        image: The image as Pillow opened it.
        into: An array that is used if it has the shape of the pixels; uint8.
    """
    if image.format != "JPEG" or image.mode not in {"L", "RGB"}:
        return None
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return None
    shape = (image.height, image.width, len(image.mode))
    pixels = into if into is not None and into.shape == shape else np.empty(shape, np.uint8)
    try:
        simplejpeg.decode_jpeg(data, "GRAY" if image.mode == "L" else "RGB", buffer=pixels)
    except ValueError:  # Pillow reads some files with errors, and says what is wrong with others
        return None
    return pixels


def split_frame(path: Path) -> tuple[Path, int | None]:
    """Split `FILE#3` into the file and the number of the frame, counted from 1; None if the path is a file's."""
    match = FRAME.fullmatch(path.name)
    return (path, None) if match is None or path.exists() else (path.with_name(match[1]), int(match[2]))


def choose_frame(count: int, frames: str | None, number: int | None) -> int:
    """Return the index of the frame to read of a file with a number of frames; raise a `DataError` if it is open."""
    if number is not None:
        if not 1 <= number <= count:
            raise DataError(f"has {count} {'frame' if count == 1 else 'frames'} (pages), not one with number {number}")
        return number - 1
    if count > 1 and frames is None:
        raise DataError(f"has {count} frames (pages); choose with --frames first, middle or all (frames)")
    return count // 2 if frames == "middle" else 0


def count_frames(path: Path) -> int:
    """Return the number of frames or pages of an image; 1 if it cannot be read."""
    try:
        if is_dicom(path):
            return dicom.count_dicom_frames(path)
        with Image.open(path, formats=FORMATS) as image:
            return count_image_frames(image)
    except Exception:  # noqa: BLE001 - decoding reports what is broken
        return 1


def count_image_frames(image: Image.Image) -> int:
    """Return the number of frames; the further pictures in a photo of a phone (MPO) are not frames."""
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def read_size(path: Path) -> tuple[int, int]:
    """Return the width and height in the header of a valid image, before any rotation by Exif."""
    path, _ = split_frame(path)
    if is_dicom(path):
        return dicom.read_dicom_size(path)
    with Image.open(path, formats=FORMATS) as image:
        return image.size


def check_depth(image: Image.Image) -> None:
    """Raise a `DataError` if an image that is not decoded yet has colours of 16 bits: Pillow reads only 8 of them."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)  # such as RGB;16B
    if ";16" in raw_mode and not image.mode.startswith(("I", "F")):
        raise DataError("has colours of 16 bits, of which only 8 could be read; save it with 8 bits for each channel")


def read_values(image: Image.Image) -> DecodedImage:
    """Return 8-bit pixels, the colours of a palette, or values of more bits."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise DataError("has NaN or infinite pixels")
        bits = "floating-point" if image.mode == "F" else f"{16 if ';16' in image.mode else 32}-bit"
        white_is_zero = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0  # Pillow inverts only 8 bits
        return DecodedImage(values[..., np.newaxis], kind=f"{bits} {image.format or 'image'}", inverted=white_is_zero)
    mode = "L" if image.mode in GREYSCALE_MODES else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return DecodedImage(pixels[..., np.newaxis] if mode == "L" else pixels)
