"""One argument for every kind of source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_cnns.data.archive import read_archive
from keras_cnns.data.dataset import SPLITS, Dataset, Split
from keras_cnns.data.files import read_cases
from keras_cnns.data.folder import list_folder
from keras_cnns.data.raw import Raw, change_channels, pixel_scale, resize, to_pixels
from keras_cnns.data.reading import Wanted
from keras_cnns.data.splits import check_labels, settle
from keras_cnns.errors import DataError

TABLES = frozenset({".csv", ".tsv", ".parquet"})
WAYS = "a folder SPLIT/CLASS/image or CLASS/image, a table .csv or .parquet, an .npz file, tfds:NAME, or digits"


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
    """Read images in classes.

    A source without a validation split has a fifth of its training images held out, each class in proportion. A
    test split is never made up.

    Args:
        source: `"digits"` (handwritten digits that come with scikit-learn), an `.npz` file in the format of
            MedMNIST or of Keras's MNIST, a folder `SPLIT/CLASS/image` or `CLASS/image`, a table `cases.csv` or
            `cases.parquet` of paths and labels, whose columns are named as in `"cases.csv?label=finding"` where they
            are called otherwise, or `"tfds:NAME"`. Files may be DICOM.
        image_size: Resize the images to this height and width, or to this side.
        channels: Make the images grey (1) or colour (3).
        seed: Chooses the images that are held out.
        fold: `(2, 5)` joins training and validation images, parts them in 5 and validates on the second part.
        allow_leaks: Accept the same patient or the same image in two splits, and note it.
        skip_broken: Leave out single files that cannot be read, and note which.
        stream: Keep the decoded images in a file instead of in memory; by default where they do not fit well.

    Raises:
        DataError: The source is missing, broken, or not what a classifier can learn from.
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"seed {seed} is not possible; use a whole number from 0 to {2**32 - 1}.")
    check_wanted(image_size, channels)
    wanted = Wanted(image_size=image_size, channels=channels, skip_broken=skip_broken, stream=stream)
    raw = read(str(source), wanted)
    scale, notes = pixel_scale(raw)
    found = {name: raw.splits[name] for name in SPLITS if name in raw.splits}
    splits = {name: convert(raw.name, split, scale, wanted) for name, split in found.items()}
    first = next(iter(splits))
    for name, split in splits.items():
        check_labels(raw.name, name, split.labels, raw.class_names)
        if split.images.shape[1:] != splits[first].images.shape[1:]:
            raise DataError(
                f"{raw.name}: {name} images are {written(split)} and {first} images {written(splits[first])}; make "
                f"them one size with --image-size 64 (image_size=64), one kind with --channels 1 (channels=1)."
            )
    splits, settled = settle(raw.name, splits, raw.class_names, seed=seed, fold=fold, allow_leaks=allow_leaks)
    notes += settled
    if "test" not in splits:
        notes.append("No test split: there is none in the source, and none was made up.")
    return Dataset(
        name=raw.name,
        source=place(str(source)),
        splits=splits,
        class_names=raw.class_names,
        notes=tuple(notes),
        broken=raw.broken,
    )


def check_wanted(image_size: int | tuple[int, int] | None, channels: int | None) -> None:
    """Raise a `DataError` where no image can have this size or these channels."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size or (1, 1)
    if height < 1 or width < 1:
        raise DataError(f"image_size {height}x{width} is not possible; the smallest is 1.")
    if channels not in {None, 1, 3}:
        raise DataError(f"{channels} channels are not possible; use 1 for grey or 3 for colour.")


def read(source: str, wanted: Wanted) -> Raw:
    """Read a source of any kind as it is."""
    if source == "digits":
        return read_digits()
    if source.startswith("tfds:"):
        from keras_cnns.data.tfds_source import read_tfds  # noqa: PLC0415 - loads TensorFlow

        return read_tfds(source.removeprefix("tfds:"), wanted.image_size)
    path, query = split_query(source)
    if path.is_dir():
        return read_cases(list_folder(path), wanted)
    if path.suffix == ".npz" and path.exists():
        return read_archive(path)
    if path.suffix.lower() in TABLES and path.exists():
        from keras_cnns.data.table import list_table  # noqa: PLC0415 - pandas is slow to import

        return read_cases(list_table(path, query), wanted)
    problem = "is not a kind of source that can be read" if path.exists() else "does not exist"
    raise DataError(f"{source}: {problem}; what works: {WAYS}.")


def split_query(source: str) -> tuple[Path, str]:
    """Part `cases.csv?label=finding` into the file and what it says of columns."""
    whole = Path(source).expanduser()
    before, _, query = source.partition("?")
    path = Path(before).expanduser()
    return (path, query) if not whole.exists() and path.suffix.lower() in TABLES else (whole, "")


def read_digits() -> Raw:
    """Read the 1,797 handwritten digits of scikit-learn: 8x8 pixels of 0 to 16."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    split = Split(pixels, digits.target.astype(np.int64))
    return Raw(name="digits", splits={"train": split}, class_names=tuple(map(str, range(10))))


def place(source: str) -> str:
    """Write a source so that it can be found from any folder."""
    path, query = split_query(source)
    if source == "digits" or not path.exists():
        return source
    return f"{path.absolute()}?{query}" if query else str(path.absolute())


def written(split: Split) -> str:
    """Write the shape of a split's images."""
    return "x".join(map(str, split.images.shape[1:]))


def convert(name: str, split: Split, scale: float, wanted: Wanted) -> Split:
    """Bring a split's images to a size and a number of channels."""
    images = to_pixels(name, split.images, scale)
    if wanted.channels is not None and wanted.channels != images.shape[-1]:
        images = change_channels(name, images, wanted.channels)
    if wanted.image_size is not None:
        images = resize(images, wanted.image_size)
    return replace(split, images=images if images.flags.c_contiguous else np.ascontiguousarray(images))
