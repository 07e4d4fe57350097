"""Batches: every image once per epoch, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_cnns.data import Split
from keras_cnns.data.pipeline import evaluation_batches, training_batches
from tests.processes import call, use_devices

COUNT = 23
SPLIT = Split(np.arange(COUNT, dtype=np.uint8).reshape(-1, 1, 1, 1), np.arange(COUNT, dtype=np.int64) % 3)


def epochs(first: int, last: int, seed: int = 5) -> list[list[int]]:
    epoch = tf.Variable(first, dtype=tf.int64, trainable=False)
    batches = training_batches(SPLIT, classes=3, batch_size=4, seed=seed, epoch=epoch)
    seen = []
    for number in range(first, last):
        epoch.assign(number)
        seen.append([int(pixel) for images, _ in batches for pixel in images.numpy().ravel()])
    return seen


def test_an_epoch_has_every_image_once_with_its_own_label() -> None:
    batches = training_batches(SPLIT, classes=3, batch_size=4, seed=0, epoch=tf.Variable(0, dtype=tf.int64))
    pairs = [(images.numpy(), labels.numpy()) for images, labels in batches]
    pixels = np.concatenate([images.ravel() for images, _ in pairs]).astype(int)
    labels = np.concatenate([labels for _, labels in pairs]).argmax(axis=1)
    assert sorted(pixels) == list(range(COUNT))
    assert (labels == pixels % 3).all()
    assert [len(labels) for _, labels in pairs] == [4, 4, 4, 4, 4, 3]
    assert batches.cardinality().numpy() == 6
    assert pairs[0][0].dtype == np.float32


def test_the_order_differs_between_epochs_and_seeds_and_is_reproducible() -> None:
    first, second = epochs(0, 2)
    assert first != second
    assert epochs(0, 2) == [first, second]
    assert epochs(0, 1, seed=6) != [first]


def test_a_resumed_training_has_the_same_order_as_an_uninterrupted_one() -> None:
    assert epochs(0, 4) == epochs(0, 2) + epochs(2, 4)


def test_evaluation_batches_keep_the_order_and_the_last_images() -> None:
    batches = [batch.numpy() for batch in evaluation_batches(SPLIT.images, batch_size=4)]
    assert np.concatenate(batches).ravel().tolist() == list(range(COUNT))
    assert len(batches[-1]) == 3


def test_autotuning_is_off_because_tensorflow_would_wait_for_it_at_the_end() -> None:
    training = training_batches(SPLIT, classes=3, batch_size=4, seed=0, epoch=tf.Variable(0, dtype=tf.int64))
    for batches in (training, evaluation_batches(SPLIT.images)):
        assert batches.options().autotune.enabled is False


def collect_batches() -> list[tuple[list[list[int]], list[list[int]]]]:
    """Return the labels of each epoch's batches on one device and on two devices."""
    use_devices(2)
    epoch = tf.Variable(0, dtype=tf.int64)
    plain = training_batches(SPLIT, classes=3, batch_size=4, seed=0, epoch=epoch)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    shared = strategy.experimental_distribute_dataset(
        training_batches(SPLIT, classes=3, batch_size=4, seed=0, epoch=epoch)
    )
    found = []
    for number in range(2):
        epoch.assign(number)
        parts = [strategy.experimental_local_results(images) for images, _ in shared]
        steps = [np.concatenate([part.numpy() for part in step]).ravel().tolist() for step in parts]
        found.append(([images.numpy().ravel().tolist() for images, _ in plain], steps))
    return found


@pytest.mark.slow
def test_two_devices_share_the_same_batches_as_one() -> None:
    for one, two in call(collect_batches):
        assert one == two
