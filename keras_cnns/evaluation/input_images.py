"""Images that a program passes to a network: arrays, encoded files in memory, and paths."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from keras_cnns.data.conversion import Conversion, check_array
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.image import DICOM_MAGIC, DICOM_MAGIC_OFFSET, count_frames, read_size
from keras_cnns.errors import DataError
from keras_cnns.evaluation.prediction import ReadImages, find_images, read_images
from keras_cnns.evaluation.run_network import RunNetwork

Images: TypeAlias = np.ndarray | Sequence[np.ndarray | bytes | str | Path]
"""One array of images, or a sequence of arrays, encoded files and paths."""
MAX_PIXELS = 2**26
JPEG_MAGIC = b"\xff\xd8"


def read_input(images: Images, network: RunNetwork) -> ReadImages:
    """Return images in the size and channels of a network, converted as for its training.

    Args:
        images: An array of shape (images, height, width[, 1 or 3]) with values from 0 to 255, integers or floats of any
            type; or a sequence of such images, shape (height, width[, 1 or 3]), of encoded files as bytes (PNG, JPEG,
            DICOM, ...), or of paths of files and folders.
        network: The network.

    Raises:
        DataError: Something is not an image, values are not from 0 to 255, or nothing can be read.
    """
    if isinstance(images, np.ndarray):
        check_array("images", images, dimensions=3)
        if images.ndim == 3 and images.shape[-1] in {1, 3}:
            raise DataError(f"one image of shape {images.shape} needs an axis for the images; pass image[np.newaxis].")
        return convert_arrays(list(images), network.conversion)
    if isinstance(images, str | bytes | Path):
        raise DataError("pass a list of images, such as [image].")
    kinds = {bytes if isinstance(image, bytes) else np.ndarray if isinstance(image, np.ndarray) else Path
             for image in images}  # fmt: skip
    if len(kinds) != 1:
        raise DataError("pass at least one image, and images of one kind: arrays, bytes or paths.")
    if bytes in kinds:
        return read_encoded([image for image in images if isinstance(image, bytes)], network)
    if np.ndarray in kinds:
        arrays = [image for image in images if isinstance(image, np.ndarray)]
        for index, array in enumerate(arrays):
            check_array(f"image {index + 1}", array, dimensions=2)
        return convert_arrays(arrays, network.conversion)
    files, notes = find_images([image for image in images if isinstance(image, str | Path)])
    read = read_images(files, network)
    return replace(read, notes=(*notes, *read.notes))


def convert_arrays(arrays: Sequence[np.ndarray], conversion: Conversion) -> ReadImages:
    """Convert single images, shape (height, width[, 1 or 3]) with values from 0 to 255.

    Raises:
        DataError: Values are not from 0 to 255, or floats are from 0 to 1.
    """
    if not arrays:
        raise DataError("pass at least one image.")
    lowest, highest = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    if lowest < 0 or highest > 255:
        raise DataError(f"values are from {lowest:g} to {highest:g}; scale them to 0 to 255, as 8-bit images have.")
    if highest <= 1 and all(array.dtype.kind == "f" for array in arrays):
        raise DataError(f"values are floats of at most {highest:g}; multiply them by 255 if they are from 0 to 1.")
    planes = (array if array.ndim == 3 else array[..., np.newaxis] for array in arrays)
    pixels = [conversion.convert_image(np.asarray(np.rint(plane), np.uint8)) for plane in planes]
    reshaped = sum(conversion.changes_shape(array.shape[0], array.shape[1]) for array in arrays)
    return ReadImages(
        files=number_images(len(arrays)),
        pixels=np.stack(pixels),
        broken=(),
        notes=tuple(conversion.shape_note(reshaped, len(arrays))),
    )


def number_images(count: int) -> tuple[Path, ...]:
    """Return names for images that are not files."""
    return tuple(Path(f"image {number}") for number in range(1, count + 1))


def read_encoded(contents: Sequence[bytes], network: RunNetwork) -> ReadImages:
    """Read encoded files, such as those of an upload; broken and far too large ones are listed in the result.

    Raises:
        DataError: No image can be read.
    """
    names = number_images(len(contents))
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(folder, f"{index}{suffix_of(content)}"): index for index, content in enumerate(contents)}
        for file, index in files.items():
            file.write_bytes(contents[index])
        large = [file for file in files if count_pixels(file, network) > MAX_PIXELS]
        if len(large) == len(files):
            raise DataError(f"no image can be read: all have more than {MAX_PIXELS:,} pixels; send smaller ones.")

        def name_of(file: Path) -> Path:
            plain, separator, frame = str(file).partition("#")
            return Path(f"{names[files[Path(plain)]]}{separator}{frame}")

        read = read_images([file for file in files if file not in large], network, name_of)
    too_large = (BrokenFile(str(name_of(file)), f"has more than {MAX_PIXELS:,} pixels") for file in large)
    return replace(read, broken=(*read.broken, *too_large))


def suffix_of(content: bytes) -> str:
    """Return the suffix by which an encoded file is read."""
    if content[DICOM_MAGIC_OFFSET : DICOM_MAGIC_OFFSET + len(DICOM_MAGIC)] == DICOM_MAGIC:
        return ".dcm"
    return ".jpg" if content.startswith(JPEG_MAGIC) else ".png"


def count_pixels(file: Path, network: RunNetwork) -> int:
    """Return the number of pixels that a file declares; 0 if it cannot be read, which reading then reports.

    If all frames are read, each counts at least as many pixels as the input of the network has.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = read_size(file)
            if network.conversion.frames != "all":
                return width * height
            rows, columns, _ = network.image_shape
            return max(width * height, rows * columns) * count_frames(file)
    except Exception:  # noqa: BLE001 - broken files raise all kinds of errors
        return 0
