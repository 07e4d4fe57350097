"""DICOM: pixels as a screen shows them, in 8 bits, and what the header says of patient and machine.

The order is that of the standard (PS3.3 C.7.6.3 and C.11): modality LUT or rescale, then VOI LUT or window, then
MONOCHROME1 inverted. pydicom does the arithmetic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import pixel_array

from keras_cnns.data.decoding import Picture
from keras_cnns.errors import DataError

PATIENT = "PatientID"
AGE = "PatientAge"
FACTS = (PATIENT, "PatientSex", AGE, "Modality", "Manufacturer", "ViewPosition")
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read_dicom(path: Path) -> Picture:
    """Decode a DICOM file of one frame.

    Raises:
        DataError: It cannot be read; the message has the reason and not the path.
    """
    try:
        dataset = dcmread(path)
        frames = int(dataset.get("NumberOfFrames") or 1)
    except InvalidDicomError:
        raise DataError("is no DICOM file") from None
    except Exception as error:  # noqa: BLE001 - a broken header raises whatever it hits
        raise DataError(f"is broken or no DICOM file ({first_line(error)})") from None
    if "PixelData" not in dataset:
        raise DataError("is DICOM without pixels of 8 to 32 bits; leave it out")
    if frames > 1:
        raise DataError(f"has {frames} frames; save the frame to be classified as a file of its own")
    try:
        pixels, stretched = to_bytes(dataset)
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like
        raise DataError(f"its pixels, {transfer_syntax(dataset)}, cannot be decoded ({first_line(error)})") from None
    return Picture(pixels, {keyword: str(dataset.get(keyword) or "").strip() for keyword in FACTS}, stretched)


def size_in_header(path: Path) -> tuple[int, int]:
    """Return width and height of the frames of a DICOM file that can be read."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(header.Columns), int(header.Rows)


def to_bytes(dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Return pixels in 8 bits, and whether they were stretched from their lowest to their highest value."""
    kind = dataset.PhotometricInterpretation
    pixels = pixel_array(dataset)
    if kind == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)
        return upper_bits(colours, 8 * colours.itemsize), False
    if pixels.ndim == 3:
        if pixels.shape[-1] != 3:
            raise DataError(f"{pixels.shape[-1]} channels, {kind}")
        return upper_bits(pixels, dataset.BitsStored), False
    shown, stretched = windowed(pixels, dataset)
    if kind == "MONOCHROME1":
        shown = 255 - shown
    return np.rint(shown.clip(0, 255)).astype(np.uint8), stretched


def upper_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return the upper 8 of so many bits."""
    return (pixels >> max(0, bits - 8)).astype(np.uint8)


def windowed(pixels: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Return grey values as 0 to 255, and whether that is from their own lowest to their own highest value."""
    values = apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        entries, first, bits = dataset.VOILUTSequence[0].LUTDescriptor
        whole = np.rint(values).astype(np.int64).clip(first, first + min(entries or 2**16, 2**bits) - 1)
        return apply_voi(whole, dataset) * (255 / (2**bits - 1)), False
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        return apply_windowing(values, window(dataset)), False
    plain = not dataset.get("ModalityLUTSequence") and "RescaleSlope" not in dataset
    if plain and dataset.BitsStored <= 8 and dataset.PixelRepresentation == 0:
        return values * (255 / (2**dataset.BitsStored - 1)), False
    low, high = float(values.min()), float(values.max())
    return (values - low) * (255 / ((high - low) or 1.0)), True


def window(dataset: Dataset) -> Dataset:
    """Return a header that has the first window alone and asks for 8 bits."""
    asked = Dataset()
    asked.PhotometricInterpretation = "MONOCHROME2"
    asked.BitsStored, asked.PixelRepresentation = 8, 0
    asked.WindowCenter, asked.WindowWidth = dataset.WindowCenter, dataset.WindowWidth
    asked.VOILUTFunction = dataset.get("VOILUTFunction") or "LINEAR"
    return asked


def years(age: str) -> float:
    """Return an age as DICOM writes it, 063Y or 018M, in years; NaN where there is none."""
    number, unit = age[:-1], age[-1:].upper()
    return int(number) * YEARS[unit] if number.isdecimal() and unit in YEARS else float("nan")


def transfer_syntax(dataset: Dataset) -> str:
    """Name how pixels are compressed."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    return "of no known transfer syntax" if syntax is None else f"in transfer syntax {syntax.name}"


def first_line(error: Exception) -> str:
    """Return what an error says, shortened to a line; of decoders that all failed, what each says."""
    said = " ".join(str(error).split())
    return said.rpartition("all available plugins: ")[2][:160].rstrip(".")
