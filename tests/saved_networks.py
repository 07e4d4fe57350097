"""Runs with a small network, saved like those of a training, for tests of what is done with saved networks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns import Classifier, Dataset, load
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.training.logged_data import log_network
from keras_cnns.training.run import log_validation


def train_network(data: Dataset, *, epochs: int = 1, seed: int = 0, activation: str = "softmax") -> keras.Model:
    """Train a network with one convolution, for pixel values from 0 to 255."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    network = keras.Sequential([
        keras.Input(data.image_shape),
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, strides=2, activation="relu", name="conv"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Flatten(),
        layers.Dense(data.classes),
        layers.Activation(activation, name="predictions"),
    ])  # fmt: skip
    train = data.splits["train"]
    loss = "binary_crossentropy" if train.labels.ndim == 2 else "sparse_categorical_crossentropy"
    network.compile(keras.optimizers.Adam(0.01), loss)
    network.fit(train.images.astype("float32"), train.labels, epochs=epochs, batch_size=32, verbose=0)
    return network


def save_run(
    store: Store, network: Any, data: Dataset, *, name: str = "saved", parent: str | None = None, **more: Any
) -> str:
    """Save a network as a finished run with its operating point and more metrics, and return the run's ID."""
    description = RunDescription(
        name=name, model="lenet5", family="lenet", settings={}, recipe=more.pop("recipe", {}), seed=0,
        data_name=data.name, data_fingerprint=data.fingerprint,
    )  # fmt: skip
    run_id = store.start(description, experiment="saved", parent=parent)
    operating_point = log_validation(network, data, store, run_id)
    log_network(network, data, store, run_id, operating_point)
    store.finish(run_id, metrics={**operating_point, **more})
    return run_id


def copy_store(store: Path, to: Path) -> None:
    """Copy only a store and its files into another folder."""
    shutil.copytree(store / "mlartifacts", to / "mlartifacts")
    shutil.copyfile(store / "mlflow.db", to / "mlflow.db")


class SavedRun:
    """A run of two classes of grey images that a small network cannot tell apart with certainty.

    Args:
        folder: The folder of the store and of the images.
    """

    def __init__(self, folder: Path) -> None:
        generator = np.random.default_rng(0)
        labels = np.arange(300) % 2
        brightness = 12 * labels + generator.integers(0, 40, 300)
        pixels = (generator.integers(0, 160, (300, 16, 16)) + brightness[:, None, None]).astype(np.uint8)
        arrays = {"train": slice(0, 150), "val": slice(150, 300)}
        images = {f"{name}_images": pixels[part] for name, part in arrays.items()}
        np.savez(folder / "grey.npz", **images, **{f"{name}_labels": labels[part] for name, part in arrays.items()})
        self.data = load(folder / "grey.npz")
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.store = Store(self.uri)
        self.id = save_run(self.store, train_network(self.data, epochs=3), self.data)
        self.model = Path(self.store.logged_model(self.id).artifact_location.removeprefix("file://"))
        self.classifier: Classifier = load(self.id, tracking_uri=self.uri)
        self.images = self.data.splits["validation"].images[:6]
