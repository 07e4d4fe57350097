"""One argument for every kind of source."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_cnns.data.archive import read_archive
from keras_cnns.data.dataset import SPLITS, Dataset, Split
from keras_cnns.data.folder import read_folder
from keras_cnns.data.raw import Raw, pixel_scale, resize, to_pixels
from keras_cnns.data.splits import check_labels, hold_out
from keras_cnns.errors import DataError

WAYS = "a folder SPLIT/CLASS/image or CLASS/image, an .npz file, tfds:NAME, or digits"
VALIDATION_FRACTION = 0.2
FEWEST_TO_PART = 5


def load(
    source: str | Path = "digits",
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read images in classes.

    A source without a validation split has a fifth of its training images held out, each class in proportion. A
    test split is never made up.

    Args:
        source: `"digits"` (handwritten digits that come with scikit-learn), an `.npz` file in the format of
            MedMNIST or of Keras's MNIST, a folder `SPLIT/CLASS/image` or `CLASS/image`, or `"tfds:NAME"`.
        image_size: Resize the images to this height and width, or to this side.
        channels: Make the images grey (1) or colour (3).
        seed: Chooses the images that are held out.

    Raises:
        DataError: The source is missing, broken, or not what a classifier can learn from.
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"seed {seed} is not possible; use a whole number from 0 to {2**32 - 1}.")
    raw = read(str(source), image_size)
    scale, notes = pixel_scale(raw)
    found = {name: raw.splits[name] for name in SPLITS if name in raw.splits}
    splits = {name: convert(raw.name, split, scale, image_size, channels) for name, split in found.items()}
    for name, split in splits.items():
        check_labels(raw.name, name, split.labels, raw.class_names)
        if split.images.shape[1:] != splits["train"].images.shape[1:]:
            raise DataError(
                f"{raw.name}: {name} images are {written(split)} and training images {written(splits['train'])}; make "
                f"them one size with --image-size 64 (image_size=64), one kind with --channels 1 (channels=1)."
            )
    if "validation" not in splits:
        splits["train"], splits["validation"] = part(raw.name, splits["train"], raw.class_names, seed)
        notes.append(f"Validation: {VALIDATION_FRACTION:.0%} of the training images, stratified, seed {seed}.")
    if "test" not in splits:
        notes.append("No test split: there is none in the source, and none was made up.")
    return Dataset(
        name=raw.name, source=place(str(source)), splits=splits, class_names=raw.class_names, notes=tuple(notes)
    )


def read(source: str, image_size: int | tuple[int, int] | None) -> Raw:
    """Read a source of any kind as it is."""
    if source == "digits":
        return read_digits()
    if source.startswith("tfds:"):
        from keras_cnns.data.tfds_source import read_tfds  # noqa: PLC0415 - loads TensorFlow

        return read_tfds(source.removeprefix("tfds:"))
    path = Path(source).expanduser()
    if path.is_dir():
        return read_folder(path, image_size)
    if path.suffix == ".npz" and path.exists():
        return read_archive(path)
    problem = "is not a kind of source that can be read" if path.exists() else "does not exist"
    raise DataError(f"--data {source}: {problem}; what works: {WAYS}.")


def read_digits() -> Raw:
    """Read the 1,797 handwritten digits of scikit-learn: 8x8 pixels of 0 to 16."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    split = Split(pixels, digits.target.astype(np.int64))
    return Raw(name="digits", splits={"train": split}, class_names=tuple(map(str, range(10))))


def place(source: str) -> str:
    """Write a source so that it can be found from any folder."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() and source != "digits" else source


def written(split: Split) -> str:
    """Write the shape of a split's images."""
    return "x".join(map(str, split.images.shape[1:]))


def convert(
    name: str, split: Split, scale: float, image_size: int | tuple[int, int] | None, channels: int | None
) -> Split:
    """Bring a split's images to a size and a number of channels."""
    images = to_pixels(name, split.images, scale)
    if channels is not None and channels != images.shape[-1]:
        images = change_channels(name, images, channels)
    if image_size is not None:
        images = resize(images, image_size)
    return Split(np.ascontiguousarray(images), split.labels)


def change_channels(name: str, images: np.ndarray, channels: int) -> np.ndarray:
    """Turn grey images into colour ones or the other way, with the weights of ITU-R BT.601."""
    if (images.shape[-1], channels) == (1, 3):
        return images.repeat(3, axis=-1)
    if (images.shape[-1], channels) == (3, 1):
        grey = images @ np.array([0.299, 0.587, 0.114])
        return np.asarray(np.rint(grey), np.uint8)[..., np.newaxis]
    raise DataError(f"{name}: images of {images.shape[-1]} channels cannot be made {channels}; use 1 or 3.")


def part(name: str, train: Split, class_names: tuple[str, ...], seed: int) -> tuple[Split, Split]:
    """Hold out validation images of the training images."""
    counts = np.bincount(train.labels)
    if counts.min() < FEWEST_TO_PART:
        rarest = class_names[int(counts.argmin())]
        raise DataError(
            f"{name}: class {rarest!r} has {counts.min()} training images, too few to hold out validation images; "
            f"give {FEWEST_TO_PART} of each class, or a validation split."
        )
    kept, held = hold_out(train.labels, VALIDATION_FRACTION, seed)
    return Split(train.images[kept], train.labels[kept]), Split(train.images[held], train.labels[held])
