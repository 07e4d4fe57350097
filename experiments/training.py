"""Training for the experiments: plain, so that two networks differ only in what the experiment compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

import keras_cnns
from keras_cnns.data import Dataset, Split

BATCH = 64


def digits(side: int) -> Dataset:
    """Return scikit-learn's handwritten digits, enlarged to `side` pixels in height and width."""
    return keras_cnns.load("digits", image_size=side)


def train(
    build: Callable[[], keras.Model],
    data: Dataset,
    *,
    epochs: int,
    optimizer: Any,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Build a model and train it; the seed determines initial weights, order of images and dropout."""
    keras.utils.set_random_seed(seed)
    model = build()
    keras.utils.set_random_seed(seed)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels = arrays(data.splits["train"])
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return images with pixel values from 0 to 1, and their labels."""
    return np.asarray(split.images, np.float32) / 255, np.asarray(split.labels)


def error(model: keras.Model, split: Split) -> float:
    """Return the error of a model on a split: 1 - accuracy."""
    return 1 - float(model.evaluate(*arrays(split), batch_size=256, verbose=0)[1])
