"""Loading of a dataset: read the source, convert the images, split them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keras_cnns.data.conversion import Conversion, convert_arrays
from keras_cnns.data.dataset import Dataset
from keras_cnns.data.sources import read_source
from keras_cnns.data.sources.files import ImageFiles, read_files
from keras_cnns.data.splits import check_fold, check_labels, split_dataset
from keras_cnns.errors import DataError


def load(
    source: str | Path = "digits",
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    allow_leaks: bool = False,
    skip_broken: bool = False,
    stream: bool | None = None,
) -> Dataset:
    """Load labelled images.

    If the source has no validation split, a stratified fifth of its training images becomes one. A test split is
    never created.

    Args:
        source: One of the sources that `keras-cnns inspect --help` lists: `"digits"`, a folder of class folders, a
            table such as `"cases.csv?label=finding"`, ... Files may be DICOM.
        image_size: Resize the images to this height and width, or to a square of this side.
        channels: Convert the images to greyscale (1) or RGB (3).
        seed: Seed of the validation split.
        fold: `(2, 5)` divides the training and validation images into five folds and validates on the second.
        allow_leaks: Accept patients or images that are in two splits, and note them.
        skip_broken: Skip files that cannot be read, and note them.
        stream: Keep the decoded images in a file instead of in memory; by default, if they do not fit in memory.

    Raises:
        DataError: The source does not exist, is broken, or cannot be used to train a classifier.
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"seed {seed} is not possible; use a whole number from 0 to {2**32 - 1}.")
    check_fold(fold)
    conversion = Conversion(image_size=image_size, channels=channels)
    found = read_source(str(source))
    if isinstance(found, ImageFiles):
        dataset = read_files(found, conversion, skip_broken=skip_broken, stream=stream)
    else:
        dataset = convert_arrays(found, conversion)
    check_labels(dataset)
    dataset = split_dataset(dataset, seed=seed, fold=fold, allow_leaks=allow_leaks)
    if "test" in dataset.splits:
        return dataset
    return replace(dataset, notes=(*dataset.notes, "No test split: the source does not have one."))
