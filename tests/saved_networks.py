"""Runs with a small network, saved like those of a training, for tests of what is done with saved networks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras

from keras_cnns import Dataset
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
