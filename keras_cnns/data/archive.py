"""Images in an `.npz` file, in the format of MedMNIST or of Keras's MNIST."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import SPLITS, Split
from keras_cnns.data.raw import Raw
from keras_cnns.errors import DataError

ARRAYS = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}


def read_archive(path: Path) -> Raw:
    """Read an `.npz` file. Nothing in it is unpickled.

    Raises:
        DataError: The file is broken, holds pickled objects, or has no arrays that are known.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files)
            pairs = {split: pair for split, known in ARRAYS.items() for pair in known if names.issuperset(pair)}
            known = [pair for either in ARRAYS.values() for pair in either]
            alone = [pair for pair in known if len(names.intersection(pair)) == 1]
            if alone:
                raise DataError(f"{path}: has only one of {alone[0][0]} and {alone[0][1]}; give both or none.")
            if not pairs:
                there = ", ".join(sorted(names)) or "nothing"
                raise DataError(
                    f"{path}: no arrays train_images and train_labels, or x_train and y_train; has {there}."
                )
            arrays = {split: (archive[images], archive[labels]) for split, (images, labels) in pairs.items()}
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read, the file is broken or no .npz ({error}); make or copy it again."
        ) from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        if "allow_pickle" in str(error):
            message = f"{path}: holds pickled objects, which are never loaded; save plain arrays of numbers."
            raise DataError(message) from None
        raise DataError(f"{path}: cannot be read ({error}); make or copy it again.") from None
    splits = {
        split: Split(images, read_labels(path, split, images, labels)) for split, (images, labels) in arrays.items()
    }
    splits = {split: splits[split] for split in SPLITS if split in splits}
    classes, notes = count_classes(path, splits)
    return Raw(name=path.name, splits=splits, class_names=tuple(map(str, range(classes))), notes=notes)


def count_classes(path: Path, splits: Mapping[str, Split]) -> tuple[int, tuple[str, ...]]:
    """Return how many classes or labels there are, and what a report must say."""
    name, first = next(iter(splits.items()))
    for other, split in splits.items():
        if split.labels.shape[1:] != first.labels.shape[1:]:
            raise DataError(f"{path}: the {name} and the {other} labels have other columns; give both the same.")
    if first.labels.ndim == 2:
        single = all((split.labels.sum(axis=1) == 1).all() for split in splits.values())
        note = "Each image has exactly one label: if they are classes, give one column that has the class's number."
        return first.labels.shape[1], (note,) if single else ()
    classes = max(1, int(first.labels.max()) + 1)
    if classes > len(first) and name == "train":
        raise DataError(f"{path}: the train labels go up to {classes - 1}, out of range for {len(first)} images.")
    return classes, ()


def read_labels(path: Path, split: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return labels as one whole number for each image, or as 0 or 1 for each of several labels."""
    several = labels.ndim == 2 and labels.shape[1] > 1
    flat = labels if several else labels.reshape(-1)
    if len(flat) != len(images) or not len(flat):
        raise DataError(f"{path}: {len(images)} {split} images have {len(flat)} labels; each needs one.")
    number = np.issubdtype(flat.dtype, np.number) or flat.dtype == bool
    if several and not (number and np.isin(flat, (0, 1)).all()):
        raise DataError(
            f"{path}: the {split} labels have {labels.shape[1]} columns that are not 0 or 1 throughout; give 0 or 1 "
            f"for each label, or one column of classes."
        )
    if not number or not (np.mod(flat, 1) == 0).all():
        raise DataError(f"{path}: the {split} labels are not whole numbers (type {flat.dtype}); number classes from 0.")
    return flat.astype(np.int64)
