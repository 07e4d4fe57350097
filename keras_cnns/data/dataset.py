"""Images in classes, in splits, as they are handed from room to room."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes.

    Attributes:
        images: Shape (images, height, width, channels), uint8.
        labels: The class of each image, shape (images,), int64.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells these images and labels from any others, whatever other splits there are: 16 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.images.shape}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images in classes.

    Attributes:
        name: What a person calls it.
        source: Where it was read from.
        splits: "train", "validation" and, where the source has one, "test".
        class_names: The classes, by label.
        notes: What a report must say about how splits and pixels came about.
    """

    name: str
    source: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def task(self) -> str:
        """Either "binary" or "multi-class"."""
        return "binary" if self.classes == 2 else "multi-class"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        _, height, width, channels = self.splits["train"].images.shape
        return height, width, channels

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells this content from any other: 16 hexadecimal digits of a hash of all pixels, labels and splits."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name in SPLITS:
            if name in self.splits:
                split = self.splits[name]
                digest.update(f"{name}{split.images.shape}".encode())
                digest.update(np.ascontiguousarray(split.images).data)
                digest.update(np.ascontiguousarray(split.labels).data)
        return digest.hexdigest()[:16]

    @functools.cached_property
    def pixel_mean(self) -> tuple[float, ...]:
        """The mean of each channel of the training images, 0 to 255."""
        return tuple(self.splits["train"].images.mean(axis=(0, 1, 2), dtype=np.float64).tolist())

    @functools.cached_property
    def pixel_std(self) -> tuple[float, ...]:
        """The standard deviation of each channel of the training images, 1 at least."""
        images = self.splits["train"].images
        deviations = [images[..., channel].std(dtype=np.float64) for channel in range(images.shape[-1])]
        return tuple(max(1.0, float(deviation)) for deviation in deviations)

    def describe(self) -> str:
        """Say in a few lines what there is."""
        height, width, channels = self.image_shape
        counts = ", ".join(f"{len(self.splits[name]):,} {name}" for name in SPLITS if name in self.splits)
        colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        first = f"{self.name}: {height}x{width} {colour} images in {self.classes} classes; {counts}"
        return "\n".join((first, *self.notes))
