"""The handwritten digits of scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from keras_cnns.data.dataset import Dataset, Split


def read_digits() -> Dataset:
    """Read 1,797 handwritten digits of 8x8 pixels, which scikit-learn stores as values of 0 to 16."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train = Split(pixels, digits.target.astype(np.int64))
    return Dataset(name="digits", source="digits", splits={"train": train}, class_names=tuple("0123456789"))
