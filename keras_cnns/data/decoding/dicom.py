"""Decoding of DICOM files to 8 bits, as a viewer displays them.

The order is that of the standard (PS3.3 C.7.6.3 and C.11): modality LUT or rescale, VOI LUT or window, inversion of
MONOCHROME1. pydicom does the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import pixel_array

from keras_cnns.data.decoding.decoded_image import (
    COLUMNS,
    FULL_DEPTH,
    HOUNSFIELD,
    PADDED,
    PATIENT_ID,
    STRETCHED,
    DecodedImage,
)
from keras_cnns.data.decoding.window import Window
from keras_cnns.data.value_range import ValueRange
from keras_cnns.errors import DataError

AIR = -1024
"""Lower values than this are not tissue, in Hounsfield units."""
ARBITRARY_UNITS = frozenset({"MR", "NM", "PT", "US"})
"""Modalities whose values mean something only within an image."""
FUNCTIONAL_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
"""What an enhanced DICOM file has for each frame, or for all, by sequence."""


def decode_dicom(path: Path, choose_frame: Callable[[int], int], window: Window | None = None) -> DecodedImage:
    """Decode a frame of a DICOM file.

    Args:
        path: The file.
        choose_frame: Returns the index of the frame, given the number of frames.
        window: The window, instead of that of the header.

    Raises:
        DataError: The file cannot be read; the message has the reason but not the path.
    """
    try:
        dataset = dcmread(path)
        frames = int(dataset.get("NumberOfFrames") or 1)
    except InvalidDicomError:
        raise DataError("is not a DICOM file") from None
    except Exception as error:  # noqa: BLE001 - broken headers raise all kinds of errors
        raise DataError(f"is broken or not a DICOM file ({shorten(error)})") from None
    if "PixelData" not in dataset:
        raise DataError("is a DICOM file without pixels of 8 to 32 bits; remove it")
    frame = choose_frame(frames)
    try:
        stored = pixel_array(dataset, index=frame) if frames > 1 else pixel_array(dataset)
        copy_functional_groups(dataset, frame)
        image = read_values(stored, dataset, window)
    except Exception as error:  # noqa: BLE001 - decoders raise all kinds of errors
        raise DataError(f"its pixels, {transfer_syntax(dataset)}, cannot be decoded ({shorten(error)})") from None
    header = {keyword: str(dataset.get(keyword) or "").strip() for keyword in (PATIENT_ID, *COLUMNS)}
    return replace(image, header=header)


def copy_functional_groups(dataset: Dataset, frame: int) -> None:
    """Set the rescaling and the window of a frame of an enhanced DICOM file where classic files have them."""
    of_frame = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    for groups in (*of_frame, *(dataset.get("SharedFunctionalGroupsSequence") or [])):
        for sequence, keywords in FUNCTIONAL_GROUPS.items():
            for item in groups.get(sequence) or []:
                for keyword in keywords:
                    if keyword in item and keyword not in dataset:
                        setattr(dataset, keyword, item.get(keyword))


def count_dicom_frames(path: Path) -> int:
    """Return the number of frames of a valid DICOM file."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
    return int(header.get("NumberOfFrames") or 1)


def read_dicom_size(path: Path) -> tuple[int, int]:
    """Return the width and height of the frames of a valid DICOM file."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(header.Columns), int(header.Rows)


def read_values(stored: np.ndarray, dataset: Dataset, window: Window | None) -> DecodedImage:
    """Return the pixels of a frame; values of CT, and of more bits than are known, have a `kind`."""
    interpretation = dataset.PhotometricInterpretation
    if interpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)
        return DecodedImage(upper_8_bits(colours, 8 * colours.itemsize))
    if stored.ndim == 3:
        if stored.shape[-1] != 3:
            raise DataError(f"{stored.shape[-1]} channels, {interpretation}")
        return DecodedImage(upper_8_bits(stored, dataset.BitsStored))
    image = replace(
        apply_luts(stored, dataset, window, padding := find_padding(stored, dataset)),
        background=padding if padding is not None and padding.any() else None,
        inverted=interpretation == "MONOCHROME1",
    )
    if image.background is not None:
        image = replace(image, remarks=(*image.remarks, PADDED))
    pixels = image.pixels[..., np.newaxis]
    if image.kind:
        return replace(image, pixels=pixels)
    finished = replace(image, pixels=np.rint(pixels.clip(0, 255)).astype(np.uint8)).to_uint8(ValueRange(0, 255))
    return replace(image, pixels=finished, background=None, inverted=False)


def find_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Return where stored values are padding, shape (height, width); None if the header names no padding.

    In CT, values below -1,024 HU, less than air, are padding too (PS3.3 C.7.5.1.1.2, and scanners that omit it).
    """
    padding = None
    if (value := dataset.get("PixelPaddingValue")) is not None:
        limit = dataset.get("PixelPaddingRangeLimit")
        # Some programs write signed values as unsigned ones.
        wrap = 2 ** int(dataset.BitsAllocated) if dataset.PixelRepresentation else math.inf
        values = (int(value), int(value if limit is None else limit))
        low, high = sorted(each - wrap if each >= wrap / 2 else each for each in values)
        padding = (stored >= low) & (stored <= high)
    if is_ct(dataset):
        no_tissue = apply_modality_lut(stored, dataset) < AIR
        padding = no_tissue if padding is None else padding | no_tissue
    return padding


def is_ct(dataset: Dataset) -> bool:
    """Return whether the rescaled values are Hounsfield units."""
    return "RescaleSlope" in dataset and (dataset.get("RescaleType") == "HU" or dataset.get("Modality") == "CT")


def upper_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the upper 8 bits of values of `bits` bits."""
    return (values >> max(0, bits - 8)).astype(np.uint8)


def apply_luts(stored: np.ndarray, dataset: Dataset, window: Window | None, padding: np.ndarray | None) -> DecodedImage:
    """Map stored values to 0 to 255, or return values whose range is that of the whole source, with their `kind`."""
    values = apply_modality_lut(stored, dataset)
    if window is not None:
        return DecodedImage(apply_windowing(values, window_header(window.center, window.width, "LINEAR")))
    if dataset.get("VOILUTSequence"):
        entries, first, bits = dataset.VOILUTSequence[0].LUTDescriptor
        indices = np.rint(values).astype(np.int64).clip(first, first + min(entries or 2**16, 2**bits) - 1)
        return DecodedImage(apply_voi(indices, dataset) * (255 / (2**bits - 1)))
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        header = window_header(dataset.WindowCenter, dataset.WindowWidth, dataset.get("VOILUTFunction") or "LINEAR")
        return DecodedImage(apply_windowing(values, header))
    if is_ct(dataset):
        return DecodedImage(values, kind=HOUNSFIELD)
    if dataset.get("Modality") not in ARBITRARY_UNITS and not dataset.PixelRepresentation and (values == stored).all():
        return unsigned_values(stored, dataset)
    inside = values if padding is None or padding.all() else values[~padding]
    low, high = float(inside.min()), float(inside.max())
    return DecodedImage((values - low) * (255 / ((high - low) or 1.0)), remarks=(STRETCHED,))


def unsigned_values(stored: np.ndarray, dataset: Dataset) -> DecodedImage:
    """Scale unsigned values by the number of their bits, which are known if they do not fill their bytes."""
    bits = int(dataset.BitsStored)
    if bits > 8 and bits == dataset.BitsAllocated:
        return DecodedImage(stored, kind=f"{bits}-bit DICOM without a window")
    return DecodedImage(stored * (255 / (2**bits - 1)), remarks=(FULL_DEPTH,) if bits > 8 else ())


def window_header(center: Any, width: Any, function: str) -> Dataset:
    """Return a header with a window only (the first, if it has several), for output of 8 bits."""
    header = Dataset()
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.PixelRepresentation = 8, 0
    header.WindowCenter, header.WindowWidth = center, width
    header.VOILUTFunction = function
    return header


def transfer_syntax(dataset: Dataset) -> str:
    """Describe how pixels are compressed."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    return "in an unknown transfer syntax" if syntax is None else f"in transfer syntax {syntax.name}"


def shorten(error: Exception) -> str:
    """Shorten an error message to one line; if all decoders failed, keep only their reasons."""
    message = " ".join(str(error).split())
    return message.rpartition("all available plugins: ")[2][:160].rstrip(".")
