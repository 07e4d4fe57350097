"""The handwritten digits of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.data.dataset import Dataset, Split
from keras_cnns.data.sources import SourceKind
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from sklearn import datasets
else:
    datasets = LazyModule("sklearn.datasets")


def read_digits() -> Dataset:
    """Read 1,797 handwritten digits of 8x8 pixels, which scikit-learn stores as values of 0 to 16."""
    digits = datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train = Split(pixels, digits.target.astype(np.int64))
    return Dataset(name="digits", source="digits", splits={"train": train}, class_names=tuple("0123456789"))


SOURCE = SourceKind(
    usage="digits",
    description="the 1,797 handwritten digits of scikit-learn, 8x8 pixels",
    matches=lambda source: source == "digits",
    read=lambda _: read_digits(),
)
