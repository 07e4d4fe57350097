"""A decoded image file with the header fields of DICOM that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_cnns.data.value_range import ValueRange, Values

PATIENT_ID = "PatientID"
PATIENT_AGE = "PatientAge"
COLUMNS = ("PatientSex", PATIENT_AGE, "Modality", "Manufacturer", "ViewPosition")
"""The header fields that become columns of a split."""
HOUNSFIELD = "CT without a window"
"""The kind of CT images whose header has no window: their values are Hounsfield units."""
STRETCHED = "DICOM images without a window, each stretched from its range to 0 to 255"
PADDED = "DICOM images whose padding, which is not tissue, is black and does not count"
FULL_DEPTH = "DICOM images without a window, scaled from the full range of their stored bits"
YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image file.

    Attributes:
        pixels: Shape (height, width, 1 or 3): uint8, or values of any numeric type if there is a `kind`.
        kind: The kind of file, such as "16-bit PNG", if the values are not of 8 bits: the range that becomes 0 to 255
            depends on all files of this kind. Otherwise "".
        background: Where the image has no values, such as the padding of a DICOM image: shape (height, width), bool;
            None if it has values everywhere. It becomes black.
        inverted: Whether low values are bright.
        header: `PATIENT_ID` and `COLUMNS` of a DICOM file as text, "" for missing fields; empty for other files.
        remarks: What was done to the values that other files may not need, such as `STRETCHED`.
    """

    pixels: np.ndarray
    kind: str = ""
    background: np.ndarray | None = None
    inverted: bool = False
    header: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def values(self) -> Values:
        """A summary of the values outside the background."""
        inside = self.pixels if self.background is None else self.pixels[~self.background]
        return Values.of(inside) if inside.size else Values(images=1)

    def count_beyond(self, chosen: ValueRange) -> int:
        """Count the values outside the background that are beyond a range."""
        return chosen.count_beyond(self.pixels if self.background is None else self.pixels[~self.background])

    def to_uint8(self, chosen: ValueRange) -> np.ndarray:
        """Return the pixels as uint8, with a range of values scaled to 0 to 255."""
        pixels = chosen.scale(self.pixels)
        if self.inverted:
            pixels = 255 - pixels
        if self.background is not None:
            pixels[self.background] = 0
        return pixels


def age_in_years(age: str) -> float:
    """Convert an age in DICOM's format, such as 063Y or 018M, to years; NaN if it does not have this format."""
    number, unit = age[:-1], age[-1:].upper()
    return int(number) * YEARS_PER_UNIT[unit] if number.isdecimal() and unit in YEARS_PER_UNIT else float("nan")
