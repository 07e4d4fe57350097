"""`.npz` files in the format of MedMNIST or of Keras's MNIST."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import Dataset, Split
from keras_cnns.data.sources import SourceKind
from keras_cnns.errors import DataError

ARRAYS = {
    split: ((f"{name}_images", f"{name}_labels"), (f"x_{name}", f"y_{name}"))
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test"))
}


def read_archive(path: Path) -> Dataset:
    """Read an `.npz` file without unpickling anything.

    Raises:
        DataError: The file is broken, contains pickled objects or does not have the arrays of a dataset.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {split: (archive[images], archive[labels])
                      for split, (images, labels) in find_arrays(path, archive.files).items()}  # fmt: skip
    except DataError:
        raise
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise DataError(f"{path}: contains pickled objects, which are never loaded; save numbers.") from None
        raise DataError(f"{path}: cannot be read: broken or not an .npz file ({error}); save it again.") from None
    splits = {
        split: Split(images, read_labels(path, split, images, labels)) for split, (images, labels) in arrays.items()
    }
    classes, notes = count_classes(path, splits)
    class_names = tuple(map(str, range(classes)))
    return Dataset(name=path.name, source=str(path.absolute()), splits=splits, class_names=class_names, notes=notes)


def find_arrays(path: Path, names: list[str]) -> dict[str, tuple[str, str]]:
    """Return the names of the images and of the labels of each split."""
    for images, labels in (pair for pairs in ARRAYS.values() for pair in pairs):
        if (images in names) != (labels in names):
            raise DataError(f"{path}: contains only one of {images} and {labels}; save both or neither.")
    found = {split: pair for split, pairs in ARRAYS.items() for pair in pairs if set(pair) <= set(names)}
    if not found:
        raise DataError(
            f"{path}: does not contain train_images and train_labels, or x_train and y_train, but "
            f"{', '.join(sorted(names)) or 'nothing'}."
        )
    return found


def count_classes(path: Path, splits: Mapping[str, Split]) -> tuple[int, tuple[str, ...]]:
    """Return the number of classes or labels, and notes."""
    name, first = next(iter(splits.items()))
    for other, split in splits.items():
        if split.labels.shape[1:] != first.labels.shape[1:]:
            raise DataError(f"{path}: the {name} and the {other} labels differ in their columns; use the same columns.")
    if first.labels.ndim == 2:
        single = all((split.labels.sum(axis=1) == 1).all() for split in splits.values())
        note = "Each image has exactly one label: if the labels are classes, save them as one column of class indices."
        return first.labels.shape[1], (note,) if single else ()
    classes = max(1, int(first.labels.max()) + 1)
    if classes > len(first) and name == "train":
        raise DataError(f"{path}: train label {classes - 1} is out of range: there are only {len(first)} images.")
    return classes, ()


def read_labels(path: Path, split: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return class indices, shape (images,), or 0 or 1 for each of several labels, shape (images, labels)."""
    multi_label = labels.ndim == 2 and labels.shape[1] > 1
    flat = labels if multi_label else labels.reshape(-1)
    if len(flat) != len(images) or not len(flat):
        raise DataError(f"{path}: {len(images)} {split} images have {len(flat)} labels; each image needs one.")
    numeric = np.issubdtype(flat.dtype, np.number) or flat.dtype == bool
    if multi_label and not (numeric and np.isin(flat, (0, 1)).all()):
        raise DataError(
            f"{path}: the {labels.shape[1]} columns of the {split} labels contain values other than 0 and 1; use 0 or "
            f"1 for each label, or one column of class indices."
        )
    if not numeric or not (np.mod(flat, 1) == 0).all():
        raise DataError(f"{path}: the {split} labels are not whole numbers (type {flat.dtype}); use class indices.")
    return flat.astype(np.int64)


SOURCE = SourceKind(
    usage="FILE.npz",
    description="arrays train_images, train_labels, ... as in MedMNIST, or x_train, y_train, ... as in Keras",
    matches=lambda source: Path(source).suffix == ".npz" and Path(source).is_file(),
    read=lambda source: read_archive(Path(source)),
)
