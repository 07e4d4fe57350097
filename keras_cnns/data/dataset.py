"""Images in classes, in splits, as they are handed from room to room."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from keras_cnns.data.streaming import copy_rows
from keras_cnns.errors import DataError

SPLITS = ("train", "validation", "test")
CHUNK = 2**24


@dataclass(frozen=True)
class Broken:
    """A file that cannot be read.

    Attributes:
        file: Its name, relative to its source.
        reason: What is wrong with it.
    """

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes.

    Attributes:
        images: Shape (images, height, width, channels), uint8; a memory map of a file where they are streamed.
        labels: The class of each image, shape (images,), int64; for several labels an image, 0 or 1 for each of
            them, shape (images, labels), int64.
        files: What each image is called in its source, relative to it; empty where images have no names.
        patients: Whose image each one is, shape (images,), text; None where that is not known.
        columns: What else is known of each image, by name, each of shape (images,).
    """

    images: np.ndarray
    labels: np.ndarray
    files: tuple[str, ...] = ()
    patients: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> Split:
        """Return the images at some places, with all that is known of them; of streamed ones as streamed ones."""
        streamed = isinstance(self.images, np.memmap)
        return Split(
            copy_rows(self.images, places) if streamed else self.images[places],
            self.labels[places],
            files=tuple(self.files[place] for place in places) if self.files else (),
            patients=None if self.patients is None else self.patients[places],
            columns={name: values[places] for name, values in self.columns.items()},
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells these images and labels from any others, whatever other splits there are: 16 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.images.shape}".encode())
        for chunk in (*chunks(self.images), self.labels):
            digest.update(np.ascontiguousarray(chunk).data)
        return digest.hexdigest()[:16]


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images a few at a time, so that streamed ones are never in memory together."""
    count = max(1, CHUNK // max(1, images[:1].nbytes))
    for begin in range(0, len(images), count):
        yield images[begin : begin + count]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images in classes.

    Attributes:
        name: What a person calls it.
        source: Where it was read from.
        splits: "train", "validation" (but see `joined`) and, where the source has one, "test".
        class_names: The classes, by label.
        notes: What a report must say about how splits and pixels came about.
        broken: The files that were left out because they cannot be read.
    """

    name: str
    source: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def task(self) -> str:
        """What is told apart: "binary", "multi-class", or "multi-label", where an image has any number of labels."""
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
        """Tells this content from any other: 16 hexadecimal digits of a hash of all pixels, labels and splits."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name in SPLITS:
            if name in self.splits:
                split = self.splits[name]
                digest.update(f"{name}{split.images.shape}".encode())
                for chunk in (*chunks(split.images), split.labels):
                    digest.update(np.ascontiguousarray(chunk).data)
        return digest.hexdigest()[:16]

    @property
    def training(self) -> Split:
        """The images to learn from.

        Raises:
            DataError: The source has none; a run can only be evaluated on it.
        """
        if "train" not in self.splits:
            raise DataError(
                f"{self.name}: has no training images, so a run can be evaluated on it and none trained; give a source "
                f"with a train split."
            )
        return self.splits["train"]

    @functools.cached_property
    def pixel_counts(self) -> np.ndarray:
        """How many pixels of the training images have each value, shape (channels, 256)."""
        images = self.training.images
        counts = np.zeros((images.shape[-1], 256), np.int64)
        for chunk in chunks(images):
            for channel in range(images.shape[-1]):
                counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
        return counts

    @functools.cached_property
    def pixel_mean(self) -> tuple[float, ...]:
        """The mean of each channel of the training images, 0 to 255."""
        return tuple((self.pixel_counts @ np.arange(256) / self.pixel_counts.sum(axis=1)).tolist())

    @functools.cached_property
    def pixel_std(self) -> tuple[float, ...]:
        """The standard deviation of each channel of the training images, 1 at least."""
        distances = np.arange(256) - np.array(self.pixel_mean)[:, np.newaxis]
        variances = (self.pixel_counts * distances**2).sum(axis=1) / self.pixel_counts.sum(axis=1)
        return tuple(np.maximum(1.0, np.sqrt(variances)).tolist())

    def joined(self) -> Dataset:
        """Return the same images without a validation split: its images are training images too."""
        from keras_cnns.data.splits import join  # noqa: PLC0415 - which knows what a split is from here

        rest = {name: split for name, split in self.splits.items() if name not in ("train", "validation")}
        both = join([self.training, self.splits["validation"]])
        return replace(self, splits={"train": both, **rest})

    def describe(self) -> str:
        """Say in a few lines what there is."""
        height, width, channels = self.image_shape
        counts = ", ".join(f"{len(self.splits[name]):,} {name}" for name in SPLITS if name in self.splits)
        colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        kinds = f"with {self.classes} labels" if self.task == "multi-label" else f"in {self.classes} classes"
        first = f"{self.name}: {height}x{width} {colour} images {kinds}; {counts}"
        return "\n".join((first, *self.notes))
