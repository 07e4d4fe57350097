"""Labelled images in splits: the types that all other modules share."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.data.streaming import copy_rows, create_temporary_memmap
from keras_cnns.data.value_range import ValueRange
from keras_cnns.errors import DataError

SPLITS = ("train", "validation", "test")
CHUNK_BYTES = 2**24
MAX_EXAMPLES = 3
MISSING = ("", "nan", "none", "<na>", "nat")
"""The texts of missing values of a column, in lower case."""
IMAGE_COLUMN = "image"
"""The column with the original names of images that are not files, such as train[17]."""


@dataclass(frozen=True)
class BrokenFile:
    """A file that cannot be read.

    Attributes:
        file: Its path, relative to the source.
        reason: Why it cannot be read.
    """

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class Exclusion:
    """Images of a source that are not in the dataset.

    Attributes:
        reason: Why they were left out, as in "cannot be read".
        images: Their number.
        split: The split of the source that they belong to; "" if they do not belong to one.
        patients: The number of patients who have no other image in this split; None if it is not known.
    """

    reason: str
    images: int
    split: str = ""
    patients: int | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, with their labels.

    Attributes:
        images: Shape (images, height, width, channels), uint8; a memory-mapped file if they are streamed.
        labels: The class of each image, shape (images,), int64. For multi-label data 0 or 1 for each label, shape
            (images, labels), int64.
        files: The path of each image, relative to the source; empty if the images are not files.
        patients: The patient ID of each image, shape (images,), "" where it is unknown; None if no IDs are known.
        columns: Other values of each image by column name, each of shape (images,).
    """

    images: np.ndarray
    labels: np.ndarray
    files: tuple[str, ...] = ()
    patients: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray | slice) -> Split:
        """Return some of the images with everything that is known about them.

        A slice is a view. With an array of indices, streamed images are copied to a new memory-mapped file.
        """
        streamed = isinstance(self.images, np.memmap)
        return Split(
            copy_rows(self.images, index) if streamed and isinstance(index, np.ndarray) else self.images[index],
            self.labels[index],
            files=tuple(np.array(self.files, object)[index]) if self.files else (),
            patients=None if self.patients is None else self.patients[index],
            columns={name: values[index] for name, values in self.columns.items()},
        )

    def image_name(self, split: str, index: int) -> str:
        """Return an image's file or, if it is not a file, its split and index in the source, such as train[17]."""
        if self.files:
            return self.files[index]
        return str(self.columns[IMAGE_COLUMN][index]) if IMAGE_COLUMN in self.columns else f"{split}[{index}]"

    def class_counts(self, classes: int) -> np.ndarray:
        """Count the images of each class or with each label, shape (classes,)."""
        multi_label = self.labels.ndim == 2
        return np.asarray(self.labels.sum(axis=0) if multi_label else np.bincount(self.labels, minlength=classes))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies the images and labels of this split: 16 hexadecimal digits."""
        return hash_splits(b"", {"": self})


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images in splits.

    Attributes:
        name: The name in reports.
        source: The source as `load` accepts it, with an absolute path.
        splits: "train", "validation" (but see `merge_validation`) and, if the source has one, "test".
        class_names: The name of each class or label.
        positive: The positive class of two, class 1; None if there are more or fewer, or if neither is recognised and
            none was chosen.
        notes: Remarks for reports on how the images were read and split.
        broken: The files that were skipped because they cannot be read.
        exclusions: What was left out of the source, broken files included. Together with the splits this is every image
            that was found.
        root: The folder that the files are relative to; None if the images are not files.
        ranges: The values that became 0 and 255, for each kind of file (or `ARRAYS`) whose values are not of 8 bits.
        reading: The options with which `load` read the source, as JSON-compatible values.
        keep_ids: Whether patient IDs may appear in what is logged; they are replaced by pseudonyms otherwise.
    """

    name: str
    source: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    positive: str | None = None
    notes: tuple[str, ...] = ()
    broken: tuple[BrokenFile, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    root: Path | None = None
    ranges: Mapping[str, ValueRange] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    keep_ids: bool = False

    @property
    def classes(self) -> int:
        """The number of classes or labels."""
        return len(self.class_names)

    @property
    def task(self) -> str:
        """The kind of classification: "binary", "multi-class" or "multi-label"."""
        if next(iter(self.splits.values())).labels.ndim == 2:
            return "multi-label"
        return "binary" if self.classes == 2 else "multi-class"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        _, height, width, channels = next(iter(self.splits.values())).images.shape
        return height, width, channels

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies the class names, images, labels and splits: 16 hexadecimal digits."""
        header = repr(self.class_names).encode()
        return hash_splits(header, {name: self.splits[name] for name in SPLITS if name in self.splits})

    @property
    def training(self) -> Split:
        """The training images.

        Raises:
            DataError: There are none.
        """
        if "train" not in self.splits:
            raise DataError(
                f"{self.name}: no training images, so runs can be evaluated on this dataset but not trained; use a "
                f"source with a train split."
            )
        return self.splits["train"]

    @functools.cached_property
    def pixel_counts(self) -> np.ndarray:
        """The histogram of each channel of the training images, shape (channels, 256)."""
        return count_pixels(self.training.images)

    @property
    def pixel_mean(self) -> tuple[float, ...]:
        """The mean of each channel of the training images, 0 to 255."""
        return tuple(mean_and_std(self.pixel_counts)[0].tolist())

    @property
    def pixel_std(self) -> tuple[float, ...]:
        """The standard deviation of each channel of the training images, at least 1."""
        return tuple(np.maximum(1.0, mean_and_std(self.pixel_counts)[1]).tolist())

    def merge_validation(self) -> Dataset:
        """Return a dataset whose train split also contains the validation images."""
        others = {name: split for name, split in self.splits.items() if name not in ("train", "validation")}
        return replace(self, splits={"train": concatenate([self.training, self.splits["validation"]]), **others})

    def describe(self) -> str:
        """Summarise the dataset in a few lines."""
        counts = ", ".join(f"{len(self.splits[name]):,} {name}" for name in SPLITS if name in self.splits)
        labels = f"with {self.classes} labels" if self.task == "multi-label" else f"in {self.classes} classes"
        return "\n".join((f"{self.name}: {describe_shape(self.image_shape)} {labels}; {counts}", *self.notes))


def concatenate(splits: Sequence[Split]) -> Split:
    """Concatenate splits, keeping the columns that all of them have."""
    if len(splits) == 1:
        return splits[0]
    shared = set.intersection(*(set(split.columns) for split in splits))
    patients = [np.full(len(split), "") if split.patients is None else split.patients for split in splits]
    return Split(
        concatenate_images([split.images for split in splits]),
        np.concatenate([split.labels for split in splits]),
        files=tuple(file for split in splits for file in split.files) if all(split.files for split in splits) else (),
        patients=np.concatenate(patients) if any(split.patients is not None for split in splits) else None,
        columns={name: np.concatenate([split.columns[name] for split in splits]) for name in sorted(shared)},
    )


def concatenate_images(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate images; if any of them are streamed, so is the result."""
    if not any(isinstance(array, np.memmap) for array in arrays):
        return np.concatenate(arrays)
    joined = create_temporary_memmap((sum(map(len, arrays)), *arrays[0].shape[1:]))
    start = 0
    for array in arrays:
        joined[start : start + len(array)] = array
        start += len(array)
    return joined


def count_pixels(images: np.ndarray) -> np.ndarray:
    """Return the histogram of each channel, shape (channels, 256)."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for chunk in iterate_chunks(images):
        counts += [np.bincount(plane.ravel(), minlength=256) for plane in np.moveaxis(chunk, -1, 0)]
    return counts


def mean_and_std(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of the pixels of histograms, shape (histograms, 256)."""
    totals, values = counts.sum(axis=1), np.arange(256)
    mean = counts @ values / totals
    variance = (counts * (values - mean[:, np.newaxis]) ** 2).sum(axis=1) / totals
    return mean, np.sqrt(variance)


def iterate_chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a few images at a time, so that streamed images are never in memory all at once."""
    count = max(1, CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), count):
        yield images[start : start + count]


def hash_splits(header: bytes, splits: Mapping[str, Split]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a header, and of the images and labels of splits."""
    digest = hashlib.sha256(header)
    for name, split in splits.items():
        digest.update(f"{name}{split.images.shape}".encode())
        for chunk in (*iterate_chunks(split.images), split.labels):
            digest.update(np.ascontiguousarray(chunk).data)
    return digest.hexdigest()[:16]


def column_texts(values: np.ndarray) -> list[str]:
    """Return the values of a column as texts, numbers without trailing zeros; -0 is 0."""
    return [f"{value + 0.0:g}" if isinstance(value, float) else str(value).strip() for value in values.tolist()]


def list_examples(items: Iterable[object], separator: str = ", ") -> str:
    """Format the first three items and the number of the others."""
    texts = list(map(str, items))
    more = len(texts) - MAX_EXAMPLES
    return separator.join([*texts[:MAX_EXAMPLES], *([f"and {more:,} more"] if more > 0 else [])])


def describe_shape(image_shape: tuple[int, int, int]) -> str:
    """Format an image shape, such as "8x8 greyscale images"."""
    height, width, channels = image_shape
    kind = {1: "greyscale", 3: "RGB"}.get(channels, f"{channels}-channel")
    return f"{height}x{width} {kind} images"
