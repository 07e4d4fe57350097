"""Image classification sets of TensorFlow Datasets."""

from __future__ import annotations

import numpy as np
import tensorflow_datasets as tfds

from keras_cnns.data.dataset import Split
from keras_cnns.data.raw import SPLIT_NAMES, Raw
from keras_cnns.errors import DataError


def read_tfds(name: str) -> Raw:
    """Read a set by its name in TensorFlow Datasets, prepared or downloaded if it is not.

    Raises:
        DataError: There is no such set, it cannot be had, or it is not images with one label each.
    """
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        loaded = builder.as_dataset(as_supervised=True)
        labels = builder.info.features[builder.info.supervised_keys[1]]
        class_names = tuple(labels.names)
        splits = {
            SPLIT_NAMES[split.lower()]: to_arrays(name, loaded[split])
            for split in loaded
            if split.lower() in SPLIT_NAMES
        }
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - builders raise whatever they like
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"tfds:{name} cannot be read: {reason}") from None
    if "train" not in splits:
        raise DataError(f"tfds:{name} has no split called train.")
    return Raw(name=f"tfds:{name}", splits=splits, class_names=class_names)


def to_arrays(name: str, examples: object) -> Split:
    """Bring one split's examples into arrays."""
    images, labels = zip(*tfds.as_numpy(examples), strict=True)
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise DataError(
            f"tfds:{name} has images of mixed sizes, {len(sizes)} of them; export it to a folder and resize."
        )
    return Split(np.stack(images), np.asarray(labels, np.int64))
