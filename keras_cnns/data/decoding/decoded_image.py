"""A decoded image file with the header fields of DICOM that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

PATIENT_ID = "PatientID"
PATIENT_AGE = "PatientAge"
COLUMNS = ("PatientSex", PATIENT_AGE, "Modality", "Manufacturer", "ViewPosition")
"""The header fields that become columns of a split."""
YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image file.

    Attributes:
        pixels: Shape (height, width, 1 or 3), uint8.
        header: `PATIENT_ID` and `COLUMNS` of a DICOM file as text, "" for missing fields; empty for other files.
        stretched: Whether the range of the image's own values was stretched to 0 to 255.
    """

    pixels: np.ndarray
    header: Mapping[str, str] = field(default_factory=dict)
    stretched: bool = False


def age_in_years(age: str) -> float:
    """Convert an age in DICOM's format, such as 063Y or 018M, to years; NaN if it does not have this format."""
    number, unit = age[:-1], age[-1:].upper()
    return int(number) * YEARS_PER_UNIT[unit] if number.isdecimal() and unit in YEARS_PER_UNIT else float("nan")
