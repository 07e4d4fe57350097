"""Striped images, to try things out without data."""

import numpy as np

from keras_cnns.data import Dataset, Split
from keras_cnns.data.sources import SourceKind


def draw_stripes(count: int, seed: int) -> Split:
    """Draw images of 16x16 pixels, shape (count, 16, 16), alternately with horizontal and with vertical stripes."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, 16, 1), np.uint8)
    images, labels = np.repeat(rows, 16, axis=2), np.arange(count) % 2
    images[labels == 1] = images[labels == 1].transpose(0, 2, 1)
    return Split(images, labels)


def read_stripes() -> Dataset:
    """Draw 200 images for training and 50 for testing."""
    return Dataset(
        name="stripes",
        source="stripes",
        splits={"train": draw_stripes(200, seed=0), "test": draw_stripes(50, seed=1)},
        class_names=("horizontal", "vertical"),
    )


SOURCE = SourceKind(
    usage="stripes",
    description="250 images of horizontal or vertical stripes, 16x16 pixels",
    matches=lambda source: source == "stripes",
    read=lambda _: read_stripes(),
)
