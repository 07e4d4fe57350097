"""Who is in which split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_cnns.errors import DataError


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part images into those to train on and those held out, each class in proportion.

    Args:
        labels: The class of each image.
        fraction: The share that is held out.
        seed: Equal seeds part equally.

    Returns:
        Sorted indices of the images to train on, and of those held out.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import, seldom needed

    kept, held = train_test_split(np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels)
    return np.sort(kept), np.sort(held)


def check_labels(name: str, split: str, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise a `DataError` where the labels of a split cannot be learned from.

    Args:
        name: The data set, for the message.
        split: The split, for the message.
        labels: The class of each image.
        class_names: The classes there should be.
    """
    if len(class_names) < 2:
        raise DataError(f"{name}: all images are of one class; a classifier needs at least two.")
    wrong = labels[(labels < 0) | (labels >= len(class_names))]
    if len(wrong):
        raise DataError(
            f"{name}: the {split} labels have {wrong[0]}, which is out of range; they must be 0 to "
            f"{len(class_names) - 1}, one for each of the {len(class_names)} classes."
        )
    counts = np.bincount(labels, minlength=len(class_names))
    if split == "train" and not counts.all():
        raise DataError(f"{name}: no training image is of class {class_names[int(counts.argmin())]!r}.")
