"""A batch that memory does not hold is taken in parts, and the training stays the one that was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
from keras_cnns.training.memory import PARTS, out_of_memory, parts_that_fit, step_in_parts

STILL = {"activation": "tanh", "subsampling": "average"}  # no batch norm, no dropout
EVERYTHING = {
    "clip_norm": 0.1, "ema": 0.9, "weight_decay": 0.05, "loss": "focal", "class_weights": "balanced",
    "label_smoothing": 0.1, "augmentation": "medical", "mixup": 0.2, "cutmix": 1.0,
}  # fmt: skip
MORE_THAN_THERE_IS = 2**60


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """So many training images that an epoch's last batch is smaller than the others."""
    found = load("digits", image_size=28)
    return replace(found, splits={**found.splits, "train": first(found.splits["train"], 163)})


def first(split: Split, images: int) -> Split:
    return Split(split.images[:images], split.labels[:images])


def job(*, dropout: float = 0.0, **recipe: Any) -> Job:
    chosen = network_settings("lenet5", STILL | {"dropout": dropout})
    return Job(model="lenet5", settings=chosen, recipe=Recipe(**{"batch_size": 50, **recipe}), seed=3)


def weights(fitted: Fitted) -> list[np.ndarray]:
    return [np.asarray(value) for value in keras.saving.load_model(fitted.best_model, compile=False).get_weights()]


def assert_equal_trainings(one: Fitted, other: Fitted, *, within: float) -> None:
    for here, there in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=within)
    for before, after in zip(one.history, other.history, strict=True):
        for name in ("loss", "accuracy", "val_loss", "learning_rate"):
            assert before[name] == pytest.approx(after[name], abs=max(within, 1e-12))


def test_parts_give_the_weights_of_the_whole_batch(digits: Dataset, tmp_path: Path) -> None:
    whole = fit(job(epochs=1, **EVERYTHING), digits, tmp_path / "whole")
    (tmp_path / "parted").mkdir()
    (tmp_path / "parted" / PARTS).write_text(json.dumps({"batch_parts": 3}))
    parted = fit(job(epochs=1, **EVERYTHING), digits, tmp_path / "parted")
    assert_equal_trainings(whole, parted, within=1e-6)
    assert "batch_parts" not in whole.kept
    assert parted.kept["batch_parts"] == parted.history[-1]["batch_parts"] == 3


class Seen(keras.layers.Layer):
    """Keeps how many images it was shown at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def call(self, values: Any) -> Any:
        self.numbers.append(values.shape[0])
        return values


@settings(max_examples=12, deadline=None)
@given(images=st.integers(1, 30), most=st.integers(1, 12))
def test_parts_of_any_batch_are_small_enough_and_nearly_of_one_size(images: int, most: int) -> None:
    pixels, labels = np.random.default_rng(images).normal(size=(2, images, 3)).astype("float32")
    seen, weighed = Seen(), np.linspace(0.5, 2.0, images, dtype="float32")
    network = keras.Sequential([keras.Input((3,)), seen, keras.layers.Dense(3, kernel_initializer="ones")])
    results = []
    for parted in (False, True):
        network.set_weights([np.ones((3, 3)), np.zeros(3)])
        network.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"], run_eagerly=True)
        network.train_step = step_in_parts(network, most) if parted else type(network).train_step.__get__(network)
        seen.numbers.clear()
        measured = network.train_on_batch(pixels, labels, weighed, return_dict=True)
        results.append([*network.get_weights(), *measured.values()])
        if parted:
            assert sum(seen.numbers) == images
            assert max(seen.numbers) <= most
            assert max(seen.numbers) - min(seen.numbers) <= 1
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class FailsOnce:
    """Lets memory run out in the middle of an epoch, or kills the training there."""

    def __init__(self, after: int, error: BaseException) -> None:
        self.after = after
        self.error: BaseException | None = error
        self.told: list[int] = []

    def step(self, done: int, total: int) -> None:  # noqa: ARG002
        if self.error is not None and len(self.told) == self.after:
            error, self.error = self.error, None
            raise error

    def epoch(self, number: int, metrics: Any) -> None:  # noqa: ARG002
        self.told.append(number)


def test_a_training_goes_on_in_parts_from_its_checkpoint_also_after_a_kill(digits: Dataset, tmp_path: Path) -> None:
    chosen = job(epochs=3, dropout=0.2)
    progress_callback = FailsOnce(1, MemoryError())
    parted = fit(chosen, digits, tmp_path / "parted", progress_callback=progress_callback)
    assert progress_callback.told == [1, 2, 3]
    assert [metrics.get("batch_parts") for metrics in parted.history] == [None, 2, 2]

    with pytest.raises(KeyboardInterrupt):
        fit(chosen, digits, tmp_path / "killed", progress_callback=BothInTurn())
    assert_equal_trainings(parted, fit(chosen, digits, tmp_path / "killed"), within=0)


class BothInTurn(FailsOnce):
    """Memory runs out in the second epoch, and the process is stopped in the third."""

    def __init__(self) -> None:
        super().__init__(1, MemoryError())

    def epoch(self, number: int, metrics: Any) -> None:
        super().epoch(number, metrics)
        if number == 2:
            self.after, self.error = 2, KeyboardInterrupt()


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: np.zeros(MORE_THAN_THERE_IS, np.int8),
        lambda: jax.numpy.zeros(MORE_THAN_THERE_IS // 4),
    ],
    ids=["numpy", "jax"],
)
def test_a_lack_of_memory_is_told_from_other_errors(allocate: Callable[[], Any]) -> None:
    with pytest.raises(Exception) as lacking:  # noqa: PT011 - which one it is differs, that is the point
        allocate()
    assert out_of_memory(lacking.value)
    with pytest.raises(Exception) as other:  # noqa: PT011
        tf.reshape(tf.zeros(3), (2, 2))
    assert not out_of_memory(other.value)


def test_what_failed_is_freed_before_the_next_try(tmp_path: Path) -> None:
    tried: list[tuple[int, Any]] = []

    def attempt(parts: int) -> int:
        assert all(before() is None for _, before in tried)
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        tried.append((parts, weakref.ref(network)))
        if len(tried) < 4:
            raise MemoryError
        return parts

    assert parts_that_fit(tmp_path / "new", 6, attempt) == 6
    assert [parts for parts, _ in tried] == [1, 2, 4, 6]
    assert parts_that_fit(tmp_path / "new", 6, lambda parts: parts) == 6, "as it went on"


def test_one_image_that_does_not_fit_is_one_line_that_says_what_would_help(tmp_path: Path) -> None:
    tried: list[int] = []

    def attempt(parts: int) -> None:
        tried.append(parts)
        raise MemoryError

    with pytest.raises(TrainingError, match=r"^one image at a time .* smaller images .* would help\.$"):
        parts_that_fit(tmp_path, 4, attempt)
    assert tried == [1, 2, 4]
    with pytest.raises(ZeroDivisionError):
        parts_that_fit(tmp_path / "other", 4, lambda parts: parts // 0)


SMALL_MEMORY = """
import sys, keras, numpy as np
from pathlib import Path
from keras_cnns.training.memory import parts_that_fit, step_in_parts

def train(parts):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Activation("tanh") for _ in range(20)]
    network = keras.Sequential([keras.Input((512,)), keras.layers.Dense(512), *layers, keras.layers.Dense(4)])
    network.compile(keras.optimizers.SGD(0.1), "mse")
    if parts > 1:
        network.train_step = step_in_parts(network, 2048 // parts)
    network.fit(np.ones((2048, 512), "float32"), np.ones((2048, 4), "float32"), batch_size=2048, verbose=0)
    return parts, float(network.get_weights()[2].sum())

print(*parts_that_fit(Path(sys.argv[1]), 2048, train))
"""


def trained_within(megabytes: int, folder: Path) -> tuple[int, float]:
    """The number of parts, and the sum of the last weights, where TensorFlow has so much for all its tensors."""
    limit = {"TF_CPU_ALLOCATOR_USE_BFC": "true", "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(megabytes)}
    done = subprocess.run(
        [sys.executable, "-c", SMALL_MEMORY, str(folder)],
        env=os.environ | limit, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    parts, total = done.stdout.split()
    return int(parts), float(total)


@pytest.mark.slow
def test_a_batch_that_memory_does_not_hold_is_taken_in_parts(tmp_path: Path) -> None:
    """What the layers give for the whole batch takes 80 MiB."""
    of_whole, of_parts = trained_within(1000, tmp_path / "large"), trained_within(64, tmp_path / "small")
    assert of_whole[0] == 1
    assert of_parts[0] in (2, 4)
    assert of_parts[1] == pytest.approx(of_whole[1], rel=1e-5)
