"""Facts about images that are not their content, as numbers that could predict the class."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_cnns.data.dataset import CHUNK_BYTES, IMAGE_COLUMN, Split
from keras_cnns.data.inspection.headers import DICOM_NUMBERS, DICOM_PAIRS, DICOM_TEXTS, WINDOW, Header

MAX_CATEGORIES = 50
ENOUGH_PIXELS = 64
DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d %b %Y",
)
FIRST_DATE, LAST_DATE = 19000101, 21001231
BALANCE = "collect or choose images so that it is alike in all classes, and evaluate its values separately (--by)"
COLUMN = f"expected if it is a cause or a result of the disease; otherwise {BALANCE}"
ONE_FORMAT = "the traces of compression can be learned; save all images again from their originals in one way"
CONTENT = "this can be real, for example a bright lesion, or come from how the images were made; view them with --sheet"
PADDING = "crop the images instead of padding them (--resize crop), unless their edges are empty in reality"
FRAME = "look for text, markers or frames at the edges; remove them or crop the images, unless this is real content"


@dataclass(frozen=True, eq=False)
class Fact:
    """A fact about each image.

    Attributes:
        name: Its usual name.
        features: What a classifier can use, shape (images, features), float64; NaN where it is unknown.
        advice: What to do if it predicts the class.
        content: Whether it is computed from the pixels, and can therefore belong to what the image shows.
    """

    name: str
    features: np.ndarray
    advice: str
    content: bool = False

    def take(self, indices: np.ndarray) -> Fact:
        """Return the fact of some of the images."""
        return replace(self, features=self.features[indices])

    @property
    def constant(self) -> bool:
        """Whether the fact is the same for all images."""
        first = self.features[:1]
        return bool(((self.features == first) | (np.isnan(self.features) & np.isnan(first))).all())


def column_facts(columns: Mapping[str, np.ndarray]) -> Iterator[Fact]:
    """Yield the columns of a table or of DICOM headers, except those that only name or number the images."""
    for name, values in columns.items():
        if name == IMAGE_COLUMN:
            continue
        numbers = np.issubdtype(values.dtype, np.number)
        features = encode_numbers(values.astype(np.float64)) if numbers else encode_texts(values.astype(str))
        if features is not None:
            yield Fact(name, features, COLUMN)


def header_facts(headers: Sequence[Header]) -> Iterator[Fact]:
    """Yield the facts in the headers of image files."""

    def numbers(*fields: str) -> np.ndarray:
        return np.array([[float(header.get(field, np.nan)) for field in fields] for header in headers], np.float64)

    def texts(*fields: str) -> np.ndarray:
        values = [" ".join(str(header.get(field, "")) for field in fields).strip() for header in headers]
        return one_hot(np.array(values, str))

    sizes = numbers("width", "height")
    yield Fact("image size", sizes, "resample all images to one pixel size, and choose images of all sizes per class")
    yield Fact("aspect ratio", sizes[:, :1] / sizes[:, 1:], "crop all images to one aspect ratio before resizing")
    yield Fact("file format", texts("format", "ending"), ONE_FORMAT)
    yield Fact("bit depth", numbers("bits"), "save all images with the same number of bits")
    yield Fact("colour of the files", numbers("greyscale"), "convert all images, for example with --channels 1")
    quantisation = numbers("quantisation")
    if len(np.unique(quantisation[~np.isnan(quantisation)])) > 1:  # else it only says which files are JPEG
        yield Fact("JPEG quality", quantisation, ONE_FORMAT)
    yield Fact(
        "file size (bytes per pixel)",
        numbers("bytes per pixel"),
        f"{ONE_FORMAT}, unless classes differ in their detail",
    )
    yield Fact("camera (Exif)", texts("camera"), BALANCE)
    yield Fact("transfer syntax", texts("transfer syntax"), ONE_FORMAT)
    yield Fact(f"window ({', '.join(WINDOW)})", numbers(*WINDOW), "read all images with one window (--window)")
    for field in DICOM_TEXTS:
        values = np.array([str(header.get(field, "")) for header in headers], str)
        features = encode_texts(values)
        if features is not None:
            yield Fact(field, features, BALANCE)
    for field in (*DICOM_NUMBERS, *DICOM_PAIRS):
        yield Fact(field, numbers(field), BALANCE)


def pixel_facts(splits: Sequence[Split], chosen: Sequence[np.ndarray]) -> Iterator[Fact]:
    """Yield the facts in the decoded and resized pixels of some images of each split, given by their indices."""
    parts = [
        measure_pixels(take_images(split.images, some))
        for split, indices in zip(splits, chosen, strict=True)
        for some in iterate_chunks(indices, split.images[:1].nbytes)
    ]
    measured = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    yield Fact("padding", measured["padding"], PADDING, content=True)
    yield Fact("colour of the pixels", measured["colour"], "convert all images, for example with --channels 1")
    yield Fact("brightness", measured["brightness"], CONTENT, content=True)
    yield Fact("brightness of the border", measured["border"], FRAME, content=True)
    yield Fact("brightness of the corners", measured["corners"], FRAME, content=True)


def take_images(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return some images, without copying them if they follow each other."""
    first, last = int(indices[0]), int(indices[-1])
    return np.asarray(images[first : last + 1] if last - first + 1 == len(indices) else images[indices])


def iterate_chunks(indices: np.ndarray, image_bytes: int) -> Iterator[np.ndarray]:
    """Yield the indices of a few images at a time."""
    count = max(1, CHUNK_BYTES // max(1, image_bytes))
    for start in range(0, len(indices), count):
        yield indices[start : start + count]


def measure_pixels(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the features of the pixels of a few images.

    "padding" is the share of the rows and of the columns at the edges in which all pixels are equal, "colour" whether
    an image has other colours than greys, and the others are means and standard deviations of green or grey: of all
    pixels, of the outermost rows and columns together, and of each corner (an eighth of the sides). For colour and
    brightness, pixels of large images are skipped.
    """
    count, height, width, channels = images.shape
    grey = np.ascontiguousarray(images[..., channels // 2])
    some = images[:, :: 1 + height // ENOUGH_PIXELS, :: 1 + width // ENOUGH_PIXELS]
    rows, columns = (grey.max(axis=axis) == grey.min(axis=axis) for axis in (2, 1))
    down, right = max(1, height // 8), max(1, width // 8)
    corners = [grey[:, y, x] for y in (slice(down), slice(-down, None)) for x in (slice(right), slice(-right, None))]
    border = (grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1])
    return {
        "padding": np.stack([edge_share(rows), edge_share(columns)], axis=1),
        "colour": (some != some[..., :1]).any(axis=(1, 2, 3))[:, np.newaxis].astype(np.float64),
        "brightness": mean_and_deviation([some[..., channels // 2].reshape(count, -1)]),
        "border": mean_and_deviation([np.concatenate(border, axis=1)]),
        "corners": mean_and_deviation([corner.reshape(count, -1) for corner in corners]),
    }


def edge_share(constant: np.ndarray) -> np.ndarray:
    """Return the share of lines that are constant from either edge on, given whether each is: (images, lines)."""
    first = np.logical_and.accumulate(constant, axis=1).sum(axis=1)
    last = np.logical_and.accumulate(constant[:, ::-1], axis=1).sum(axis=1)
    return np.asarray(np.minimum(1.0, (first + last) / constant.shape[1]))


def mean_and_deviation(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean and the standard deviation of each part of each image, shape (images, 2 * parts)."""
    return np.stack([figure for part in parts for figure in (part.mean(axis=1), part.std(axis=1))], axis=1)


def encode_numbers(values: np.ndarray) -> np.ndarray | None:
    """Return numbers, or dates such as 20240131, as one feature; None if they only number the images."""
    known = values[~np.isnan(values)]
    whole = bool((np.mod(known, 1) == 0).all())
    if whole and len(known) and known.min() >= FIRST_DATE and known.max() <= LAST_DATE:
        dates = parse_dates(np.array(["" if np.isnan(value) else f"{value:.0f}" for value in values], str))
        values = values if dates is None else dates
    elif whole and len(known) > 1 and len(np.unique(known)) == len(values):
        return None
    return values[:, np.newaxis]


def encode_texts(values: np.ndarray) -> np.ndarray | None:
    """Return dates as days and other texts as one feature for each value; None if the texts only name the images."""
    dates = parse_dates(values)
    if dates is not None:
        return dates[:, np.newaxis]
    return None if len(values) > 1 and len(np.unique(values)) == len(values) else one_hot(values)


def parse_dates(values: np.ndarray) -> np.ndarray | None:
    """Return dates as days, NaN where they are empty; None if a text is not a date."""
    texts = sorted(set(values.tolist()) - {""})
    for pattern in DATE_FORMATS:
        try:
            days = {text: dt.datetime.strptime(text[:10], pattern).toordinal() for text in texts}  # noqa: DTZ007
        except ValueError:
            continue
        return np.array([days.get(text, np.nan) for text in values.tolist()], np.float64) if days else None
    return None


def one_hot(values: np.ndarray) -> np.ndarray:
    """Return whether each text is each of the most frequent values, shape (images, values)."""
    frequent = [value for value, count in Counter(values.tolist()).most_common(MAX_CATEGORIES) if count > 1]
    return np.stack([values == value for value in frequent or [""]], axis=1).astype(np.float64)


def collect_columns(splits: Sequence[Split]) -> dict[str, np.ndarray]:
    """Return the columns that all splits have, for the images of all splits."""
    shared = [name for name in splits[0].columns if all(name in split.columns for split in splits)]
    return {name: np.concatenate([split.columns[name] for split in splits]) for name in shared}
