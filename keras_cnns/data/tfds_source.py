"""Image classification sets of TensorFlow Datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_cnns.data.dataset import Split
from keras_cnns.data.raw import SPLIT_NAMES, Raw, resize, to_pixels
from keras_cnns.errors import DataError, nearest


def read_tfds(name: str, image_size: int | tuple[int, int] | None) -> Raw:
    """Read a set by its name in TensorFlow Datasets, prepared or downloaded if it is not.

    Args:
        name: `NAME` or `NAME/CONFIG`.
        image_size: What images of mixed sizes are brought to.

    Raises:
        DataError: There is no such set, it cannot be had, or it is not images with one label each.
    """
    try:
        builder = tfds.builder(name)
        class_names = read_class_names(name, builder.info)
        builder.download_and_prepare()
        splits = {
            SPLIT_NAMES[split.lower()]: to_arrays(name, builder.as_dataset(split=split, as_supervised=True), image_size)
            for split in builder.info.splits
            if split.lower() in SPLIT_NAMES
        }
    except DataError:
        raise
    except tfds.core.DatasetNotFoundError:
        known = nearest(name.partition("/")[0], tfds.list_builders(with_community_datasets=False))
        raise DataError(f"tfds:{name} is not known to TensorFlow Datasets.{known}") from None
    except Exception as error:  # noqa: BLE001 - builders raise whatever they like
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"tfds:{name} cannot be read: {reason}") from None
    if not splits:
        raise DataError(f"tfds:{name} has no split called train, validation or test.")
    return Raw(name=f"tfds:{name}", splits=splits, class_names=class_names)


def read_class_names(name: str, info: Any) -> tuple[str, ...]:
    """Return the classes of a set of images with one label each."""
    keys = info.supervised_keys
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if not keys or not all(isinstance(info.features[key], kind) for key, kind in zip(keys, kinds, strict=False)):
        raise DataError(f"tfds:{name} is not images with one class each; export it to a folder CLASS/image.png.")
    return tuple(info.features[keys[1]].names)


def to_arrays(name: str, examples: Any, image_size: int | tuple[int, int] | None) -> Split:
    """Bring one split's examples into arrays."""
    images, labels = zip(*tfds.as_numpy(examples), strict=True)
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        if image_size is None:
            raise DataError(
                f"tfds:{name} has images of {len(sizes)} sizes; give all one with --image-size 64 (image_size=64)."
            )
        images = tuple(resize(to_pixels(name, image[np.newaxis], 1.0), image_size)[0] for image in images)
    return Split(np.stack(images), np.asarray(labels, np.int64))
