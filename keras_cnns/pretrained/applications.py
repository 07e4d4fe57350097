"""The two functions that accompany each network of `keras.applications`, for code that was written for these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_cnns.errors import SettingError
from keras_cnns.lazy import LazyModule, keras
from keras_cnns.networks.baselines.published import replaced_download
from keras_cnns.networks.settings import IntRange, check_argument

downloads = LazyModule("keras_cnns.pretrained.download")
IMAGENET_CLASSES = 1000
TOP = IntRange(1, 1_000_000)


def preprocess_input(x: Any) -> Any:
    """Return images unchanged, in place of the `preprocess_input` of a module of `keras.applications`.

    Networks that `build` returns with `weights`, and trained ones, contain their preprocessing: they take RGB images
    with pixel values from 0 to 255.

    Args:
        x: Images.
    """
    return x


def decode_predictions(
    predictions: Any, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[str | int, str, float]]]:
    """Return the classes with the highest probabilities for each image, as `keras.applications` does.

    Args:
        predictions: Probabilities or logits, shape (images, classes), in any kind of array.
        top: How many classes are returned.
        class_names: The names of the classes. By default, the classes are the 1,000 of ImageNet, whose names Keras
            publishes in a file. It is downloaded once, verified and kept in the cache.

    Returns:
        For each image a list of (ID, name, probability), the highest probability first. The ID is that of WordNet for
        ImageNet, such as "n02123045", and otherwise the index of the class.

    Raises:
        SettingError: The numbers of classes do not match.
        WeightsError: The names of ImageNet's classes cannot be downloaded.

    Example:
        >>> decode_predictions([[0.2, 0.7, 0.1]], top=2, class_names=["cat", "dog", "fox"])
        [[(1, 'dog', 0.7), (0, 'cat', 0.2)]]
    """
    values = np.asarray(keras.ops.convert_to_numpy(predictions))
    top = check_argument("top", TOP, top)
    if values.ndim != 2:
        raise SettingError(f"predictions must have the shape (images, classes), not {values.shape}.")
    classes = values.shape[1]
    if class_names is None:
        if classes != IMAGENET_CLASSES:
            raise SettingError(f"predictions has {classes} classes, not the 1,000 of ImageNet; give their class_names.")
        with replaced_download(fetch_class_index):
            found: list[list[tuple[str | int, str, float]]]
            found = keras.applications.imagenet_utils.decode_predictions(values, top)
            return found
    if isinstance(class_names, str) or len(class_names) != classes:
        raise SettingError(f"class_names must be a list of {classes} names, one for each class of predictions.")
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return [
        [(int(index), class_names[index], float(row[index])) for index in indices]
        for row, indices in zip(values, order, strict=True)
    ]


def fetch_class_index(_: str, origin: str, *, file_hash: str, **__: Any) -> str:
    """Return the path of Keras's file of class names, downloaded unless it is in the cache, in place of `get_file`."""
    return str(downloads.download(origin, file_hash, otherwise="give class_names"))
