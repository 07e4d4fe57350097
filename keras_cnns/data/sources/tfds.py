"""Image classification datasets of TensorFlow Datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.data.dataset import Dataset, Exclusion, Split
from keras_cnns.data.sources import SourceKind
from keras_cnns.data.split_names import find_split
from keras_cnns.errors import DataError, nearest
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    import tensorflow_datasets as tfds
else:
    tfds = LazyModule("tensorflow_datasets")

PREFIX = "tfds:"


def read_tfds(name: str) -> Dataset:
    """Read a dataset by its name in TensorFlow Datasets, downloading and preparing it if necessary.

    Args:
        name: `NAME` or `NAME/CONFIG`.

    Raises:
        DataError: The dataset is unknown, cannot be downloaded, or does not consist of images with one class each.
    """
    source = f"{PREFIX}{name}"
    try:
        builder = tfds.builder(name)
        class_names = read_class_names(source, builder.info)
        builder.download_and_prepare()
        splits = {
            meaning: read_split(builder.as_dataset(split=split, as_supervised=True))
            for split in builder.info.splits
            if (meaning := find_split(split)) is not None
        }
    except DataError:
        raise
    except tfds.core.DatasetNotFoundError:
        hint = nearest(name.partition("/")[0], tfds.list_builders(with_community_datasets=False))
        raise DataError(f"{source} is unknown to TensorFlow Datasets.{hint}") from None
    except Exception as error:  # noqa: BLE001 - builders raise all kinds of errors
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{source} cannot be read: {reason}") from None
    if not splits:
        raise DataError(f"{source} does not have a split called train, validation or test.")
    others = tuple(
        Exclusion(f"split {name!r}, which is not training, validation or test", info.num_examples)
        for name, info in builder.info.splits.items()
        if find_split(name) is None
    )
    return Dataset(name=source, source=source, splits=splits, class_names=class_names, exclusions=others)


def read_class_names(source: str, info: Any) -> tuple[str, ...]:
    """Return the class names of a dataset of images with one class each."""
    keys = info.supervised_keys
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if not keys or not all(isinstance(info.features[key], kind) for key, kind in zip(keys, kinds, strict=False)):
        raise DataError(f"{source} is not images with one class each; export it to a folder CLASS/image.png.")
    return tuple(info.features[keys[1]].names)


def read_split(examples: Any) -> Split:
    """Return the images and labels of a split; images of different sizes are an object array."""
    images, labels = zip(*tfds.as_numpy(examples), strict=True)
    if len({image.shape for image in images}) == 1:
        return Split(np.stack(images), np.asarray(labels, np.int64))
    mixed = np.empty(len(images), object)
    for index, image in enumerate(images):
        mixed[index] = image
    return Split(mixed, np.asarray(labels, np.int64))


SOURCE = SourceKind(
    usage="tfds:NAME[/CONFIG]",
    description="a dataset of TensorFlow Datasets",
    matches=lambda source: source.startswith(PREFIX),
    read=lambda source: read_tfds(source.removeprefix(PREFIX)),
)
