"""Runs with a network, for tests of what is done with one: kept as a training keeps it, without the training room."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras

from keras_cnns import Dataset
from keras_cnns.evaluation.calibration import settled_by_validation
from keras_cnns.evaluation.network import probabilities
from keras_cnns.tracking import RunDescription, Store


def fitted(data: Dataset, *, epochs: int = 1, seed: int = 0, activation: str = "softmax") -> keras.Model:
    """A network of one convolution that takes pixels, trained on the training images."""
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


def keep(
    store: Store, network: Any, data: Dataset, *, name: str = "kept", parent: str | None = None, **more: Any
) -> str:
    """Keep a network as a finished run, with what the validation images settle; return the run's id."""
    description = RunDescription(
        name=name, model="lenet5", family="lenet", settings={}, recipe=more.pop("recipe", {}), seed=0,
        data_name=data.name, data_fingerprint=data.fingerprint,
    )  # fmt: skip
    run_id = store.start(description, experiment="kept", parent=parent)
    validation = data.splits["validation"]
    settled = settled_by_validation(validation.labels, probabilities(network, validation.images))
    store.log_model(run_id, network, validation.images[:2], class_names=data.class_names)
    store.finish(run_id, metrics={**settled, **more})
    return run_id


def copy_store(store: Path, to: Path) -> None:
    """Copy a store and its files, and nothing else, into another folder."""
    shutil.copytree(store / "mlartifacts", to / "mlartifacts")
    shutil.copyfile(store / "mlflow.db", to / "mlflow.db")
