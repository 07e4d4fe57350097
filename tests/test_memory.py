"""Batches that do not fit into memory are split into micro-batches, with the results of whole batches."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns import Dataset, Recipe, load
from keras_cnns.data import Split
from keras_cnns.errors import TrainingError
from keras_cnns.networks.registry import network_settings
from keras_cnns.training.fit import Fitted, fit
from keras_cnns.training.job import Job
from keras_cnns.training.memory import MICRO_BATCHES_FILE, is_out_of_memory, micro_batch_step, train_within_memory
from tests.processes import call

DETERMINISTIC = {"activation": "tanh", "subsampling": "average"}  # no batch norm, no dropout
ALL_OPTIONS = {
    "clip_norm": 0.1, "ema": 0.9, "weight_decay": 0.05, "loss": "focal", "class_weights": "balanced",
    "label_smoothing": 0.1, "augmentation": "medical", "mixup": 0.2, "cutmix": 1.0,
}  # fmt: skip
TOO_MANY_BYTES = 2**60


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The last batch of an epoch is smaller than the others."""
    dataset = load("digits", image_size=28)
    return replace(dataset, splits={**dataset.splits, "train": first_images(dataset.splits["train"], 163)})


def first_images(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])


def job(*, dropout: float = 0.0, **recipe: Any) -> Job:
    settings = network_settings("lenet5", DETERMINISTIC | {"dropout": dropout})
    return Job(model="lenet5", settings=settings, recipe=Recipe(**{"batch_size": 50, **recipe}), seed=3)


def weights(fitted: Fitted) -> list[np.ndarray]:
    return [np.asarray(value) for value in keras.saving.load_model(fitted.best_model, compile=False).get_weights()]


def assert_equal_results(first: Fitted, second: Fitted, *, tolerance: float) -> None:
    for weight, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_allclose(weight, other, rtol=0, atol=tolerance)
    for metrics, others in zip(first.history, second.history, strict=True):
        for name in ("loss", "accuracy", "val_loss", "learning_rate"):
            assert metrics[name] == pytest.approx(others[name], abs=max(tolerance, 1e-12))


def test_micro_batches_give_the_weights_of_whole_batches(digits: Dataset, tmp_path: Path) -> None:
    whole = fit(job(epochs=1, **ALL_OPTIONS), digits, tmp_path / "whole")
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / MICRO_BATCHES_FILE).write_text(json.dumps({"micro_batches": 3}))
    split = fit(job(epochs=1, **ALL_OPTIONS), digits, tmp_path / "split")
    assert_equal_results(whole, split, tolerance=1e-6)
    assert "micro_batches" not in whole.metrics
    assert split.metrics["micro_batches"] == split.history[-1]["micro_batches"] == 3


class RecordSizes(keras.layers.Layer):
    """Records the number of images in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def call(self, values: Any) -> Any:
        self.sizes.append(values.shape[0])
        return values


@settings(max_examples=12, deadline=None)
@given(images=st.integers(1, 30), max_images=st.integers(1, 12))
def test_micro_batches_are_small_enough_and_of_nearly_equal_size(images: int, max_images: int) -> None:
    pixels, labels = np.random.default_rng(images).normal(size=(2, images, 3)).astype("float32")
    recorder, sample_weights = RecordSizes(), np.linspace(0.5, 2.0, images, dtype="float32")
    network = keras.Sequential([keras.Input((3,)), recorder, keras.layers.Dense(3, kernel_initializer="ones")])
    results = []
    for split in (False, True):
        network.set_weights([np.ones((3, 3)), np.zeros(3)])
        network.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"], run_eagerly=True)
        default = type(network).train_step.__get__(network)
        network.train_step = micro_batch_step(network, max_images) if split else default
        recorder.sizes.clear()
        metrics = network.train_on_batch(pixels, labels, sample_weights, return_dict=True)
        results.append([*network.get_weights(), *metrics.values()])
        if split:
            assert sum(recorder.sizes) == images
            assert max(recorder.sizes) <= max_images
            assert max(recorder.sizes) - min(recorder.sizes) <= 1
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


class FailsOnce:
    """Raises an error in the first step after some epochs."""

    def __init__(self, epochs: int, error: BaseException) -> None:
        self.epochs = epochs
        self.error: BaseException | None = error
        self.finished: list[int] = []

    def step(self, done: int, total: int) -> None:  # noqa: ARG002
        if self.error is not None and len(self.finished) == self.epochs:
            error, self.error = self.error, None
            raise error

    def epoch(self, number: int, metrics: Any) -> None:  # noqa: ARG002
        self.finished.append(number)


def test_training_continues_with_micro_batches_from_its_checkpoint_even_after_a_kill(
    digits: Dataset, tmp_path: Path
) -> None:
    dropout_job = job(epochs=3, dropout=0.2)
    out_of_memory = FailsOnce(1, MemoryError())
    split = fit(dropout_job, digits, tmp_path / "split", progress_callbacks=[out_of_memory])
    assert out_of_memory.finished == [1, 2, 3]
    assert [metrics.get("micro_batches") for metrics in split.history] == [None, 2, 2]

    with pytest.raises(KeyboardInterrupt):
        fit(dropout_job, digits, tmp_path / "killed", progress_callbacks=[FailsTwice()])
    assert_equal_results(split, fit(dropout_job, digits, tmp_path / "killed"), tolerance=0)


class FailsTwice(FailsOnce):
    """Runs out of memory in the second epoch, and is interrupted in the third."""

    def __init__(self) -> None:
        super().__init__(1, MemoryError())

    def epoch(self, number: int, metrics: Any) -> None:
        super().epoch(number, metrics)
        if number == 2:
            self.epochs, self.error = 2, KeyboardInterrupt()


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: np.zeros(TOO_MANY_BYTES, np.int8),
        lambda: jax.numpy.zeros(TOO_MANY_BYTES // 4),
    ],
    ids=["numpy", "jax"],
)
def test_out_of_memory_errors_are_recognized(allocate: Callable[[], Any]) -> None:
    with pytest.raises(Exception) as out_of_memory:  # noqa: PT011 - the class depends on the library
        allocate()
    assert is_out_of_memory(out_of_memory.value)
    with pytest.raises(Exception) as other:  # noqa: PT011
        tf.reshape(tf.zeros(3), (2, 2))
    assert not is_out_of_memory(other.value)


def test_a_failed_network_is_freed_before_the_next_attempt(tmp_path: Path) -> None:
    attempts: list[tuple[int, Any]] = []

    def train(micro_batches: int) -> int:
        assert all(earlier() is None for _, earlier in attempts)
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        attempts.append((micro_batches, weakref.ref(network)))
        if len(attempts) < 4:
            raise MemoryError
        return micro_batches

    assert train_within_memory(tmp_path / "new", 6, train) == 6
    assert [micro_batches for micro_batches, _ in attempts] == [1, 2, 4, 6]
    assert train_within_memory(tmp_path / "new", 6, lambda micro_batches: micro_batches) == 6, "the number is stored"


def test_a_single_image_that_does_not_fit_is_a_one_line_error(tmp_path: Path) -> None:
    attempts: list[int] = []

    def train(micro_batches: int) -> None:
        attempts.append(micro_batches)
        raise MemoryError

    with pytest.raises(TrainingError, match=r"^a single image does not fit .* use smaller images .*\.$"):
        train_within_memory(tmp_path, 4, train)
    assert attempts == [1, 2, 4]
    with pytest.raises(ZeroDivisionError):
        train_within_memory(tmp_path / "other", 4, lambda micro_batches: micro_batches // 0)


def train_with_limit(megabytes: int, folder: Path) -> tuple[int, float]:
    """Return what `train_large_batch` returns with limited memory for tensors."""
    os.environ.update({"TF_CPU_ALLOCATOR_USE_BFC": "true", "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(megabytes)})
    return train_large_batch(folder)


def train_large_batch(folder: Path) -> tuple[int, float]:
    """Return the number of micro-batches and the sum of the last weights; a whole batch takes 80 MiB."""

    def train(micro_batches: int) -> tuple[int, float]:
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Activation("tanh") for _ in range(20)]
        network = keras.Sequential([keras.Input((512,)), keras.layers.Dense(512), *layers, keras.layers.Dense(4)])
        network.compile(keras.optimizers.SGD(0.1), "mse")
        if micro_batches > 1:
            network.train_step = micro_batch_step(network, 2048 // micro_batches)
        network.fit(np.ones((2048, 512), "float32"), np.ones((2048, 4), "float32"), batch_size=2048, verbose=0)
        return micro_batches, float(network.get_weights()[2].sum())

    return train_within_memory(folder, 2048, train)


@pytest.mark.exhaustive  # TensorFlow waits ten seconds for memory before it gives up
def test_a_batch_that_does_not_fit_into_memory_is_split(tmp_path: Path) -> None:
    whole, split = train_large_batch(tmp_path / "whole"), call(train_with_limit, 64, tmp_path / "split")
    assert whole[0] == 1
    assert split[0] in (2, 4)
    assert split[1] == pytest.approx(whole[1], rel=1e-5)
