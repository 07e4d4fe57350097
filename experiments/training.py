"""How the experiments train: as plainly as can be, so that two networks differ in nothing but what is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

import keras_cnns
from keras_cnns.data import Dataset, Split

BATCH = 64


def digits(side: int) -> Dataset:
    """Return the handwritten digits that come with scikit-learn, enlarged to so many pixels in height and width."""
    return keras_cnns.load("digits", image_size=side)


def trained(
    build: Callable[[], keras.Model],
    data: Dataset,
    *,
    epochs: int,
    optimizer: Any,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Build a model and train it on the training images, with first weights, order and dropout of a seed."""
    keras.utils.set_random_seed(seed)
    model = build()
    keras.utils.set_random_seed(seed)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels = arrays(data.splits["train"])
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return images with pixels of 0 to 1, and their labels."""
    return np.asarray(split.images, np.float32) / 255, np.asarray(split.labels)


def error(model: keras.Model, split: Split) -> float:
    """Return the share of a split's images that are taken for another class."""
    return 1 - float(model.evaluate(*arrays(split), batch_size=256, verbose=0)[1])
