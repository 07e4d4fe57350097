"""Headers of image files: what is known about how an image was made and saved, read without decoding its pixels."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

from keras_cnns.data.decoding.image import is_dicom
from keras_cnns.data.decoding.parallel import show_progress
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    import pydicom
else:
    pydicom = LazyModule("pydicom")

Header = Mapping[str, str | float]
"""The header fields of an image file that are known; other fields are missing."""
BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
GREYSCALE = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
SIDEWAYS = frozenset({5, 6, 7, 8})
"""The Exif orientations that exchange width and height."""
DICOM_TEXTS = (
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "SoftwareVersions",
    "BodyPartExamined",
    "ProtocolName",
    "SeriesDescription",
    "PatientPosition",
    "PhotometricInterpretation",
    "ConvolutionKernel",
    "StudyDate",
)
DICOM_NUMBERS = ("KVP", "SliceThickness")
DICOM_PAIRS = ("PixelSpacing", "ImagerPixelSpacing")
WINDOW = ("WindowCenter", "WindowWidth")
DICOM_FIELDS = (
    "Rows", "Columns", "BitsStored", "SamplesPerPixel", *WINDOW, *DICOM_TEXTS, *DICOM_NUMBERS, *DICOM_PAIRS
)  # fmt: skip


def read_headers(root: Path, files: Sequence[str]) -> list[Header]:
    """Read the headers of image files on several threads, in the order of the files.

    A header that cannot be read is empty.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        warnings.filterwarnings("ignore", module="pydicom|PIL")
        return list(show_progress(pool.map(read_header, (root / file for file in files)), len(files)))


def read_header(path: Path) -> Header:
    """Read the header of an image file; empty if that is not possible."""
    try:
        header = read_dicom_header(path) if is_dicom(path) else read_image_header(path)
        size = path.stat().st_size
    except Exception:  # noqa: BLE001 - broken headers raise all kinds of errors
        return {}
    ending = path.suffix.lower() or "no ending"
    return {**header, "ending": ending, "bytes per pixel": size / (float(header["width"]) * float(header["height"]))}


def read_image_header(path: Path) -> dict[str, str | float]:
    """Read size, format and, for JPEG, the quality and the camera. Width and height are those after Exif's rotation."""
    with Image.open(path) as image:
        width, height = image.size
        fields: dict[str, str | float] = {
            "format": image.format or "",
            "bits": BITS.get(image.mode, 8),
            "greyscale": image.mode in GREYSCALE,
        }
        if "exif" in image.info or image.format == "TIFF":
            exif = image.getexif()
            if exif.get(ExifTags.Base.Orientation) in SIDEWAYS:
                width, height = height, width
            camera = f"{exif.get(ExifTags.Base.Make, '')} {exif.get(ExifTags.Base.Model, '')}".strip()
            fields |= {"camera": camera} if camera else {}
        tables = getattr(image, "quantization", None)
        if tables:
            fields["quantisation"] = sum(map(sum, tables.values())) / len(tables)
    return {**fields, "width": width, "height": height}


def read_dicom_header(path: Path) -> dict[str, str | float]:
    """Read size, depth, window and the fields on the device and the protocol."""
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(DICOM_FIELDS))
    fields: dict[str, str | float] = {
        "format": "DICOM",
        "width": int(header.Columns),
        "height": int(header.Rows),
        "greyscale": int(header.get("SamplesPerPixel") or 1) == 1,
    }
    if header.get("BitsStored"):
        fields["bits"] = int(header.BitsStored)
    syntax = header.file_meta.get("TransferSyntaxUID")
    fields |= {"transfer syntax": syntax.name} if syntax else {}
    fields |= {keyword: str(header[keyword].value).strip() for keyword in DICOM_TEXTS if header.get(keyword)}
    for keyword in (*DICOM_NUMBERS, *DICOM_PAIRS, *WINDOW):
        number = first_number(header.get(keyword))
        fields |= {} if number is None else {keyword: number}
    return fields


def first_number(value: object) -> float | None:
    """Return a number or the first of several numbers; None if there is none."""
    values = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    try:
        return next((float(str(each)) for each in values if each is not None and str(each)), None)
    except ValueError:
        return None


def count_sizes(headers: Iterable[Header]) -> dict[tuple[int, int], int]:
    """Count the image files of each width and height, the most frequent first."""
    sizes = Counter((int(header["width"]), int(header["height"])) for header in headers if header)
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))
