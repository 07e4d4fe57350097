"""Training: reproducible, resumable and tracked, on one or several devices."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import Dataset, Recipe, load, train
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import DataError, ResumeError, SettingError, TrainingError
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.networks.registry import network_settings
from keras_cnns.tracking import Store
from keras_cnns.training.callbacks import FirstNonFiniteStep, averaged_weights
from keras_cnns.training.checkpoints import read_progress
from keras_cnns.training.devices import cluster, replica_count
from keras_cnns.training.fit import Fitted, fit
from keras_cnns.training.job import Job, assemble
from keras_cnns.training.speed import Speed, choose_speed
from tests.processes import FORKED, call_together, use_devices

TINY = {"blocks": (1, 1), "growth_rate": 4, "dropout": 0.1}


def job(epochs: int, *, seed: int = 3, **recipe: Any) -> Job:
    settings = network_settings("densenet-bc-40", TINY)
    return Job(model="densenet-bc-40", settings=settings, recipe=Recipe(epochs=epochs, **recipe), seed=seed)


def weights(fitted: Fitted) -> list[np.ndarray]:
    return [np.asarray(value) for value in keras.saving.load_model(fitted.best_model, compile=False).get_weights()]


class StopAfter:
    """Interrupts a training in the first step after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.finished = 0

    def step(self, done: int, total: int) -> None:  # noqa: ARG002
        if self.finished == self.epochs:
            raise KeyboardInterrupt

    def epoch(self, number: int, metrics: Any) -> None:  # noqa: ARG002
        self.finished = number


ALL_OPTIONS = {
    "optimizer": "nesterov", "learning_rate": 0.05, "clip_norm": 1.0, "ema": 0.9, "loss": "focal",
    "class_weights": "balanced", "label_smoothing": 0.1, "augmentation": "medical", "mixup": 0.2, "cutmix": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "recipe", [pytest.param({}, id="plain", marks=pytest.mark.exhaustive), pytest.param(ALL_OPTIONS, id="all options")]
)
def test_an_interrupted_training_gives_bit_identical_weights(
    digits: Dataset, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    whole = fit(job(2, **recipe), digits, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(job(2, **recipe), digits, tmp_path / "resumed", progress_callbacks=[StopAfter(1)])
    assert read_progress(tmp_path / "resumed").epoch == 1
    resumed = fit(job(2, **recipe), digits, tmp_path / "resumed")
    assert len(resumed.history) == 2
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_another_training(digits: Dataset, tmp_path: Path) -> None:
    first = fit(job(1, seed=1), digits, tmp_path / "1")
    second = fit(job(1, seed=2), digits, tmp_path / "2")
    assert first.history[0]["loss"] != second.history[0]["loss"]


def test_a_loss_that_is_not_finite_is_an_error(digits: Dataset, tmp_path: Path) -> None:
    broken = job(3, optimizer="sgd", learning_rate=10.0, schedule="constant", weight_decay=1.0)
    message = r"epoch \d, step \d+ of 23.* on 64 training images \(.*learning_rate below"
    with pytest.raises(TrainingError, match=message):
        fit(broken, digits, tmp_path)


def test_the_first_step_with_outputs_that_are_not_finite_is_found() -> None:
    metric = FirstNonFiniteStep()
    for outputs in ([0.5, 0.5], [0.1, 0.9], [np.nan, 1.0], [0.5, 0.5], [np.inf, 0.0]):
        metric.update_state(np.zeros((1, 2)), np.array([outputs], np.float32))
    assert int(metric.result()) == 3
    metric.reset_state()
    assert int(metric.result()) == 0


def test_early_stopping_stops_a_training_for_good(digits: Dataset, tmp_path: Path) -> None:
    early_stopping = job(9, learning_rate=1e-7, warmup=0.0, patience=2)
    stopped = fit(early_stopping, digits, tmp_path)
    scores = [metrics["val_accuracy"] for metrics in stopped.history]
    assert len(scores) == int(stopped.metrics["best_epoch"]) + 2 < 9
    assert max(scores) == stopped.metrics["best_val_accuracy"]
    assert fit(early_stopping, digits, tmp_path).history == stopped.history


def test_the_last_network_can_be_kept_instead_of_the_best(digits: Dataset, tmp_path: Path) -> None:
    last = fit(job(2, keep="last", learning_rate=1e-7, ema=0.9), digits, tmp_path)
    assert last.metrics["best_epoch"] == 2
    assert last.metrics["best_val_accuracy"] == last.history[-1]["val_accuracy"]
    network = keras.saving.load_model(last.best_model, compile=False)
    validation = digits.splits["validation"]
    accuracy = (network.predict(validation.images, verbose=0).argmax(axis=1) == validation.labels).mean()
    assert accuracy == pytest.approx(last.history[-1]["val_accuracy"])


def test_the_moving_average_of_the_weights_is_restored_temporarily() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile("sgd", loss="mse")
    model.optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.75)
    weights = []
    for _ in range(4):
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
        weights.append(float(model.get_weights()[0][0, 0]))
    average = weights[0]
    for weight in weights[1:]:
        average = 0.75 * average + 0.25 * weight
    with averaged_weights(model):
        assert float(model.get_weights()[0][0, 0]) == pytest.approx(average, rel=1e-6)
    assert float(model.get_weights()[0][0, 0]) == weights[-1]


def test_the_faster_precision_is_measured_once_and_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path / "cache"))
    timed: list[str] = []

    def timer(times: dict[str, float]) -> Callable[[str], float]:
        return lambda precision: (timed.append(precision), times[precision])[1]

    fast = timer({"float32": 0.02, "mixed_bfloat16": 0.01})
    slow = timer({"float32": 0.01, "mixed_bfloat16": 0.02})
    first = choose_speed(tmp_path / "1", {"model": "m"}, "auto", fast)
    assert first == Speed(precision="mixed_bfloat16", steps_per_execution=25)
    assert timed == ["float32", "mixed_bfloat16"]
    assert choose_speed(tmp_path / "2", {"model": "m"}, "auto", slow) == first
    assert choose_speed(tmp_path / "3", {"model": "n"}, "auto", slow).precision == "float32"
    assert choose_speed(tmp_path / "3", {"model": "n"}, "mixed_bfloat16", fast).precision == "float32", "as stored"
    assert len(timed) == 4


def test_training_uses_the_precision_of_the_recipe(digits: Dataset, tmp_path: Path) -> None:
    fitted = fit(job(1, precision="mixed_bfloat16"), digits, tmp_path)
    network = keras.saving.load_model(fitted.best_model, compile=False)
    dtypes = {layer.compute_dtype for layer in network.layers if isinstance(layer, keras.layers.Conv2D)}
    assert dtypes == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


def test_standardization_of_each_image_removes_brightness_and_contrast(digits: Dataset) -> None:
    pixels = digits.splits["validation"].images[:20].astype("float32")
    by_image, by_dataset = (assemble(job(1, standardization=by), digits) for by in ("image", "dataset"))
    assert by_image.count_params() == by_dataset.count_params()
    for network, equal in ((by_image, True), (by_dataset, False)):
        original, changed = (network.predict(images, verbose=0) for images in (pixels, pixels * 0.6 + 50))
        assert np.allclose(original, changed, atol=0.01) == equal


def test_multi_label_training_learns_independent_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (300, 3))
    images = random.integers(0, 60, (300, 8, 8, 1))
    for label in range(3):
        images[labels[:, label] == 1, 2 * label : 2 * label + 2] += 150
    splits = {
        name: Split(images[indices].astype(np.uint8), labels[indices].astype(np.int64))
        for name, indices in {"train": slice(0, 200), "validation": slice(200, 300)}.items()
    }
    dataset = Dataset(name="d", source="d", splits=splits, class_names=("a", "b", "c"))
    fitted = fit(job(8, monitor="val_auc", batch_size=16, label_smoothing=0.1, learning_rate=0.01), dataset, tmp_path)
    assert fitted.metrics["best_val_auc"] > 0.9
    probabilities = keras.saving.load_model(fitted.best_model, compile=False).predict(images[200:], verbose=0)
    assert (np.abs(probabilities.sum(axis=1) - 1) > 0.5).any()
    with pytest.raises(SettingError, match="class_weights='balanced' does not support multi-label data"):
        fit(job(1, class_weights="balanced"), dataset, tmp_path / "weighted")


def test_monitoring_the_auc_needs_validation_images_of_every_class(digits: Dataset, tmp_path: Path) -> None:
    validation = digits.splits["validation"]
    incomplete = Split(validation.images[validation.labels < 9], validation.labels[validation.labels < 9])
    dataset = Dataset(
        name="d", source="d", splits={**digits.splits, "validation": incomplete}, class_names=digits.class_names
    )
    with pytest.raises(SettingError, match="monitor='val_accuracy'"):
        fit(job(1, monitor="val_auc"), dataset, tmp_path)


def test_a_run_records_the_training_and_its_network(digits: Dataset, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    logged: list[float] = []
    recorder = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: logged.append(logs["val_accuracy"]))
    trained = train("densenet-bc-40", digits, settings=TINY, recipe=Recipe(epochs=3, learning_rate=5e-3),
                    tracking_uri=uri, folder=tmp_path / "runs", callbacks=[recorder])  # fmt: skip
    store = Store(uri)
    (run,) = store.runs(experiment="train")
    assert (run.id, run.status, run.model, run.family) == (trained.run_id, "finished", "densenet-bc-40", "densenet")
    assert run.settings["blocks"] == "1,1"
    assert run.recipe["learning_rate"] == "0.005"
    assert run.data_fingerprint == digits.fingerprint
    assert run.metrics["parameters"] == trained.costs.total_parameters
    assert run.metrics["macs"] == trained.costs.macs
    assert run.metrics["val_accuracy"] == trained.fitted.metrics["best_val_accuracy"]
    assert {"val_auc", "seconds"} <= set(run.metrics)
    curve = dict(store.curves(run.id)["val_accuracy"])
    assert curve == {epoch: m["val_accuracy"] for epoch, m in enumerate(trained.fitted.history, start=1)}
    assert logged == list(curve.values())

    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        images = digits.splits["validation"].images[:5]
        expected = trained.best_model.predict(images.astype("float32"), verbose=0)
        served = mlflow.pyfunc.load_model(f"runs:/{run.id}/model")
        scaled = apply_temperature(expected, run.metrics["temperature"])
        answers = served.predict(images).filter(like="probability_")
        np.testing.assert_allclose(answers.to_numpy(), scaled, rtol=1e-4, atol=1e-6)
        loaded = mlflow.tensorflow.load_model(f"runs:/{run.id}/model")
        np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-4, atol=1e-6)
    finally:
        mlflow.set_tracking_uri(before)
    with pytest.raises(ResumeError, match="is finished, as run"):
        train("densenet-bc-40", digits, settings=TINY, recipe=Recipe(epochs=3, learning_rate=5e-3),
              tracking_uri=uri, folder=tmp_path / "runs", resume=True)  # fmt: skip


def test_a_missing_test_split_is_an_error_before_training(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no test split"):
        train("lenet5", digits, test=True, folder=tmp_path)


COMMAND = ("train", "densenet-bc-40", "--epochs", "6", "--set", "blocks=1,1", "--set", "growth_rate=4")


def train_in(folder: Path) -> None:
    os.chdir(folder)
    main(COMMAND)


@pytest.mark.slow
def test_a_killed_training_is_resumed_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = FORKED.Process(target=train_in, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/epoch-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.join()
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--resume", "--json"]) == 0
    runs = Store(f"sqlite:///{tmp_path / 'mlflow.db'}").runs(experiment="train")
    assert [(run.status, run.metrics["epochs"]) for run in runs] == [("finished", 6)]
    assert json.loads(capsys.readouterr().out)["run_id"] == runs[0].id


def train_on_devices(devices: int, folder: Path, environment: Mapping[str, str]) -> list[np.ndarray] | None:
    """Return the weights after training on several devices, or nothing in all workers but the first."""
    os.environ.update(environment)
    use_devices(devices)
    assert replica_count() == max(devices, cluster().workers)
    fitted = train_with_even_batches(folder)
    return weights(fitted) if cluster().worker == 0 else None


def train_with_even_batches(folder: Path) -> Fitted:
    """Train with batches that two devices can share evenly."""
    data = load("digits", image_size=28)
    data = replace(data, splits={**data.splits, "train": first_images(data.splits["train"], 1400)})
    recipe = Recipe(epochs=2, batch_size=50, optimizer="sgd", learning_rate=0.02, weight_decay=0.0)
    settings = network_settings("lenet5", {"activation": "tanh", "subsampling": "average"})
    return fit(Job(model="lenet5", settings=settings, recipe=recipe, seed=1), data, folder)


def first_images(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])


def environments(workers: int) -> Iterator[dict[str, str]]:
    """Yield the variables that tell each of several workers about the others."""
    with contextlib.ExitStack() as sockets:
        servers = [sockets.enter_context(socket.create_server(("localhost", 0))) for _ in range(workers)]
        addresses = [f"localhost:{server.getsockname()[1]}" for server in servers]
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        yield {"TF_CONFIG": json.dumps(config)} if workers > 1 else {}


@pytest.fixture(scope="module")
def weights_of_one_device(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    return weights(train_with_even_batches(tmp_path_factory.mktemp("one")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "workers"),
    [pytest.param(2, 1, id="two devices"), pytest.param(1, 2, id="two workers", marks=pytest.mark.exhaustive)],
)
def test_several_devices_give_the_weights_of_one(
    weights_of_one_device: list[np.ndarray], tmp_path: Path, devices: int, workers: int
) -> None:
    calls = [(train_on_devices, devices, tmp_path, environment) for environment in environments(workers)]
    for one, shared in zip(weights_of_one_device, call_together(*calls)[0], strict=True):
        np.testing.assert_allclose(one, shared, atol=1e-5)
