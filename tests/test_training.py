"""Trainings: they learn, they are recorded, and an interrupted one ends as if it had not been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import Dataset, Recipe, load, train
from keras_cnns.data import Split
from keras_cnns.errors import DataError, ResumeError, SettingError, TrainingError
from keras_cnns.registry import network_settings
from keras_cnns.tracking import Store
from keras_cnns.training.checkpoints import read_progress
from keras_cnns.training.fit import Fitted, Job, fit

TINY = {"blocks": (2, 2), "growth_rate": 4, "dropout": 0.1}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def job(epochs: int, *, seed: int = 3, **recipe: Any) -> Job:
    settings = network_settings("densenet-bc-40", TINY)
    return Job(model="densenet-bc-40", settings=settings, recipe=Recipe(epochs=epochs, **recipe), seed=seed)


def weights(fitted: Fitted) -> list[np.ndarray]:
    return [np.asarray(value) for value in keras.saving.load_model(fitted.best_model, compile=False).get_weights()]


class StopAfter:
    """Interrupts a training in the middle of an epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.seen = 0

    def step(self, done: int, total: int) -> None:  # noqa: ARG002
        if self.seen == self.epochs:
            raise KeyboardInterrupt

    def epoch(self, number: int, metrics: Any) -> None:  # noqa: ARG002
        self.seen = number


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_interrupted_training_ends_bit_identical(digits: Dataset, tmp_path: Path, optimizer: str) -> None:
    whole = fit(job(4, optimizer=optimizer), digits, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(job(4, optimizer=optimizer), digits, tmp_path / "parts", observer=StopAfter(2))
    assert read_progress(tmp_path / "parts").epoch == 2
    resumed = fit(job(4, optimizer=optimizer), digits, tmp_path / "parts")
    assert len(resumed.history) == 4
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_trains_otherwise(digits: Dataset, tmp_path: Path) -> None:
    first = fit(job(1, seed=1), digits, tmp_path / "1")
    second = fit(job(1, seed=2), digits, tmp_path / "2")
    assert first.history[0]["loss"] != second.history[0]["loss"]


def test_a_loss_that_is_not_finite_stops_the_training(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lower learning_rate"):
        fit(job(3, optimizer="sgd", learning_rate=10.0, schedule="constant", warmup=0.0, weight_decay=1.0),
            digits, tmp_path)  # fmt: skip


def test_the_area_under_the_curve_needs_every_class(digits: Dataset, tmp_path: Path) -> None:
    validation = digits.splits["validation"]
    some = Split(validation.images[validation.labels < 9], validation.labels[validation.labels < 9])
    without = Dataset(
        name="d", source="d", splits={**digits.splits, "validation": some}, class_names=digits.class_names
    )
    with pytest.raises(SettingError, match="monitor='val_accuracy'"):
        fit(job(1, monitor="val_auc"), without, tmp_path)


def test_a_run_holds_what_was_trained_and_its_network(digits: Dataset, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    trained = train("densenet-bc-40", digits, settings=TINY, recipe=Recipe(epochs=3, learning_rate=5e-3),
                    tracking_uri=uri, folder=tmp_path / "runs")  # fmt: skip
    store = Store(uri)
    (run,) = store.runs(experiment="train")
    assert (run.id, run.status, run.model, run.family) == (trained.run_id, "finished", "densenet-bc-40", "densenet")
    assert run.settings["blocks"] == "2,2"
    assert run.recipe["learning_rate"] == "0.005"
    assert run.data_fingerprint == digits.fingerprint
    assert run.metrics["parameters"] == trained.profile.total_parameters
    assert run.metrics["macs"] == trained.profile.macs
    assert run.metrics["val_accuracy"] == trained.fitted.kept["best_val_accuracy"]
    assert {"val_auc", "seconds"} <= set(run.metrics)
    curve = dict(store.curves(run.id)["val_accuracy"])
    assert curve == {epoch: m["val_accuracy"] for epoch, m in enumerate(trained.fitted.history, start=1)}

    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        images = digits.splits["validation"].images[:5].astype("float32")
        expected = trained.best_model.predict(images, verbose=0)
        served = mlflow.pyfunc.load_model(f"runs:/{run.id}/model")
        np.testing.assert_allclose(served.predict(images), expected, rtol=1e-4, atol=1e-6)
        assert served.metadata.signature is not None
        loaded = mlflow.tensorflow.load_model(f"runs:/{run.id}/model")
        np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-4, atol=1e-6)
    finally:
        mlflow.set_tracking_uri(before)
    with pytest.raises(ResumeError, match="is finished, as run"):
        train("densenet-bc-40", digits, settings=TINY, recipe=Recipe(epochs=3, learning_rate=5e-3),
              tracking_uri=uri, folder=tmp_path / "runs", resume=True)  # fmt: skip


def test_a_missing_test_split_is_told_before_training(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no test split"):
        train("lenet5", digits, test=True, folder=tmp_path)


COMMAND = ["train", "densenet-bc-40", "--epochs", "6", "--set", "blocks=2,2", "--set", "growth_rate=4"]


def command_line(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keras_cnns", *arguments],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_is_resumed_in_the_same_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_cnns", *COMMAND],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/epoch-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = command_line(*COMMAND, "--resume", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = Store(f"sqlite:///{tmp_path / 'mlflow.db'}").runs(experiment="train")
    assert [(run.status, run.metrics["epochs"]) for run in runs] == [("finished", 6)]
    assert json.loads(done.stdout)["run_id"] == runs[0].id


DEVICES = """
import sys, keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
from dataclasses import replace
from pathlib import Path
from keras_cnns import Recipe, load
from keras_cnns.data import Split
from keras_cnns.registry import network_settings
from keras_cnns.training.devices import replicas
from keras_cnns.training.fit import Job, fit
assert replicas() == int(sys.argv[1])
digits = load("digits", image_size=28)
train = Split(digits.splits["train"].images[:1400], digits.splits["train"].labels[:1400])
digits = replace(digits, splits={**digits.splits, "train": train})
recipe = Recipe(epochs=2, batch_size=50, optimizer="sgd", learning_rate=0.02, weight_decay=0.0)
settings = network_settings("lenet5", {"activation": "tanh", "subsampling": "average"})
fitted = fit(Job(model="lenet5", settings=settings, recipe=recipe, seed=1), digits, Path(sys.argv[2]))
weights = keras.saving.load_model(fitted.best_model, compile=False).get_weights()
np.savez(sys.argv[2] + "/weights.npz", *weights)
"""


@pytest.mark.slow
def test_two_devices_train_what_one_does(tmp_path: Path) -> None:
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        done = subprocess.run(
            [sys.executable, "-c", DEVICES, str(devices), str(folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(folder / "weights.npz") as archive:
            found.append([archive[name] for name in archive.files])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
