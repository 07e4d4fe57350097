"""Decoding of DICOM files to 8 bits, as a viewer displays them.

The order is that of the standard (PS3.3 C.7.6.3 and C.11): modality LUT or rescale, VOI LUT or window, inversion of
MONOCHROME1. pydicom does the arithmetic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import pixel_array

from keras_cnns.data.decoding.decoded_image import COLUMNS, PATIENT_ID, DecodedImage
from keras_cnns.errors import DataError


def decode_dicom(path: Path) -> DecodedImage:
    """Decode a DICOM file with a single frame.

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
    if frames > 1:
        raise DataError(f"has {frames} frames; save the frame to classify as a separate file")
    try:
        pixels, stretched = to_uint8(dataset)
    except Exception as error:  # noqa: BLE001 - decoders raise all kinds of errors
        raise DataError(f"its pixels, {transfer_syntax(dataset)}, cannot be decoded ({shorten(error)})") from None
    header = {keyword: str(dataset.get(keyword) or "").strip() for keyword in (PATIENT_ID, *COLUMNS)}
    return DecodedImage(pixels, header, stretched)


def read_dicom_size(path: Path) -> tuple[int, int]:
    """Return the width and height of the frames of a valid DICOM file."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(header.Columns), int(header.Rows)


def to_uint8(dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Return pixels, shape (height, width, 1 or 3), and whether their own range was stretched to 0 to 255."""
    interpretation = dataset.PhotometricInterpretation
    values = pixel_array(dataset)
    if interpretation == "PALETTE COLOR":
        colours = apply_color_lut(values, dataset)
        return upper_8_bits(colours, 8 * colours.itemsize), False
    if values.ndim == 3:
        if values.shape[-1] != 3:
            raise DataError(f"{values.shape[-1]} channels, {interpretation}")
        return upper_8_bits(values, dataset.BitsStored), False
    pixels, stretched = apply_luts(values, dataset)
    if interpretation == "MONOCHROME1":
        pixels = 255 - pixels
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)[..., np.newaxis], stretched


def upper_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the upper 8 bits of values of `bits` bits."""
    return (values >> max(0, bits - 8)).astype(np.uint8)


def apply_luts(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Map stored values to 0 to 255, and return whether their own range was stretched."""
    values = apply_modality_lut(stored, dataset)
    if dataset.get("VOILUTSequence"):
        entries, first, bits = dataset.VOILUTSequence[0].LUTDescriptor
        indices = np.rint(values).astype(np.int64).clip(first, first + min(entries or 2**16, 2**bits) - 1)
        return apply_voi(indices, dataset) * (255 / (2**bits - 1)), False
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        return apply_windowing(values, window_only(dataset)), False
    rescaled = dataset.get("ModalityLUTSequence") or "RescaleSlope" in dataset
    if not rescaled and dataset.BitsStored <= 8 and dataset.PixelRepresentation == 0:
        return values * (255 / (2**dataset.BitsStored - 1)), False
    low, high = float(values.min()), float(values.max())
    return (values - low) * (255 / ((high - low) or 1.0)), True


def window_only(dataset: Dataset) -> Dataset:
    """Return a header with the first window only, for output of 8 bits."""
    header = Dataset()
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.PixelRepresentation = 8, 0
    header.WindowCenter, header.WindowWidth = dataset.WindowCenter, dataset.WindowWidth
    header.VOILUTFunction = dataset.get("VOILUTFunction") or "LINEAR"
    return header


def transfer_syntax(dataset: Dataset) -> str:
    """Describe how pixels are compressed."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    return "in an unknown transfer syntax" if syntax is None else f"in transfer syntax {syntax.name}"


def shorten(error: Exception) -> str:
    """Shorten an error message to one line; if all decoders failed, keep only their reasons."""
    message = " ".join(str(error).split())
    return message.rpartition("all available plugins: ")[2][:160].rstrip(".")
