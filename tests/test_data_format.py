"""Networks, training models and augmentation do not depend on Keras's global image data format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import Recipe, build, load
from keras_cnns.data.augmentation import augment_views, make_layers
from keras_cnns.networks.augmentations import AUGMENTATIONS
from keras_cnns.networks.registry import network_settings
from keras_cnns.testing.small_networks import build_small, make_images, small_side
from keras_cnns.training.job import Job, assemble

# Networks with layers that those that sweeps start from, which `test_families` covers, do not have.
NETWORKS: dict[str, dict[str, Any]] = {
    "alexnet": {},
    "densenet121": {"recompute": True},
    "googlenet-torchvision": {"auxiliary_classifiers": True, "auxiliary_after": (1, 2)},
    "lenet5-1998": {},
    "resnet18-v2": {},
    "vgg11-lrn": {},
}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 20, 3), np.uint8)


@contextmanager
def data_format(value: str) -> Iterator[None]:
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(value)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def configs(model: keras.Model) -> list[dict[str, Any]]:
    return [layer.get_config() for layer in model.layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_under_channels_first(name: str) -> None:
    expected = build_small(name, **NETWORKS[name])
    batch = make_images(2, side=small_side(name))
    with data_format("channels_first"):
        model = build_small(name, **NETWORKS[name])
        assert model.count_params() == expected.count_params()
        assert configs(model) == configs(expected)
        model.set_weights(expected.get_weights())
        outputs = np.asarray(model(batch))
    np.testing.assert_array_equal(outputs, np.asarray(expected(batch)))


def test_nin_has_the_published_number_of_parameters_under_channels_first() -> None:
    with data_format("channels_first"):
        assert build("nin-cifar").count_params() == 966_986


@pytest.mark.parametrize("standardization", ["dataset", "image"])
def test_a_training_model_is_the_same_under_channels_first(standardization: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "colour.npz", train_images=pixels, train_labels=np.arange(40) % 2)
    settings = network_settings("lenet5", {"hidden_width": 8})
    job = Job(model="lenet5", settings=settings, recipe=Recipe(standardization=standardization))
    dataset = load(tmp_path / "colour.npz")
    expected = assemble(job, dataset)
    with data_format("channels_first"):
        model = assemble(job, dataset)
        model.set_weights(expected.get_weights())
        outputs = np.asarray(model(pixels))
    np.testing.assert_array_equal(outputs, np.asarray(expected(pixels)))


@pytest.mark.parametrize("preset", AUGMENTATIONS)
def test_augmentation_is_the_same_under_channels_first(preset: str) -> None:
    expected = augment_views(IMAGES, preset, views=2, seed=1)
    with data_format("channels_first"):
        np.testing.assert_array_equal(augment_views(IMAGES, preset, views=2, seed=1), expected)


def test_mixing_layers_expect_channels_last_under_channels_first() -> None:
    with data_format("channels_first"):
        _, mixing = make_layers(Recipe(mixup=0.2, cutmix=1.0))
    assert [layer.data_format for layer in mixing] == ["channels_last", "channels_last"]
