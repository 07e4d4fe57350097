"""Fused batch norm: it trains like Keras's own, and is saved as a Keras layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_cnns.training.batch_norm import fuse_batch_norm, without_relu_fusion

IMAGES = np.random.default_rng(0).normal(2.0, 3.0, (12, 6, 6, 3)).astype("float32")
LABELS = np.arange(12) % 2


def network(precision: str = "float32", **options: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    images = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(5, 3, dtype=precision)(images)
    x = keras.layers.BatchNormalization(momentum=0.9, dtype=precision, **options)(x)
    x = keras.layers.Activation("relu", dtype=precision)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=precision)(x)
    x = keras.layers.BatchNormalization()(x)  # not of feature maps, so never fused
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    return model


def train(model: keras.Model) -> keras.Model:
    with without_relu_fusion():
        model.fit(IMAGES, LABELS, batch_size=4, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize(
    ("precision", "options", "tolerance"),
    [
        ("float32", {}, 1e-4),
        ("float32", {"scale": False}, 1e-4),
        ("float32", {"center": False, "epsilon": 0.1}, 1e-4),
        ("mixed_bfloat16", {}, 0.03),
    ],
)
def test_fused_batch_norm_gives_the_same_weights_as_keras(
    precision: str, options: dict[str, Any], tolerance: float
) -> None:
    plain, fused = network(precision, **options), network(precision, **options)
    fuse_batch_norm(fused)
    operations = {node.op for node in tf.function(lambda x: fused(x, training=True)).get_concrete_function(IMAGES).graph
             .as_graph_def().node}  # fmt: skip
    assert "FusedBatchNormV3" in operations
    before = plain.get_weights()
    for expected, actual, initial in zip(train(plain).get_weights(), train(fused).get_weights(), before, strict=True):
        assert not np.allclose(expected, initial)
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(fused.predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0), atol=tolerance)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    model = network()
    layer = model.layers[2]
    layer.trainable = False
    fuse_batch_norm(model)
    before = [np.array(variable) for variable in layer.non_trainable_variables]
    train(model)
    for variable, value in zip(layer.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_saved_network_has_keras_layers(tmp_path: Path) -> None:
    model = network()
    fuse_batch_norm(model)
    train(model).save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert "call" not in vars(loaded.layers[2])
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=1e-6)


def test_tensorflows_options_are_restored() -> None:
    options = tf.config.optimizer.get_experimental_options
    with without_relu_fusion():
        assert options()["remapping"] is False
    assert options()["remapping"] is True
