"""Batch norm in one operation: it trains as Keras's own does, and is saved as that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_cnns.training.batch_norm import fuse_batch_norm, relu_apart

IMAGES = np.random.default_rng(0).normal(2.0, 3.0, (12, 6, 6, 3)).astype("float32")
LABELS = np.arange(12) % 2


def network(precision: str = "float32", **options: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    images = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(5, 3, dtype=precision)(images)
    x = keras.layers.BatchNormalization(momentum=0.9, dtype=precision, **options)(x)
    x = keras.layers.Activation("relu", dtype=precision)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=precision)(x)
    x = keras.layers.BatchNormalization()(x)  # of features, not of maps
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    return model


def trained(model: keras.Model) -> keras.Model:
    with relu_apart():
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
def test_a_training_gives_the_weights_that_kerass_own_gives(
    precision: str, options: dict[str, Any], tolerance: float
) -> None:
    plain, fused = network(precision, **options), network(precision, **options)
    fuse_batch_norm(fused)
    kinds = {node.op for node in tf.function(lambda x: fused(x, training=True)).get_concrete_function(IMAGES).graph
             .as_graph_def().node}  # fmt: skip
    assert "FusedBatchNormV3" in kinds
    before = plain.get_weights()
    for own, other, first in zip(trained(plain).get_weights(), trained(fused).get_weights(), before, strict=True):
        assert not np.allclose(own, first)
        np.testing.assert_allclose(other, own, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(fused.predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0), atol=tolerance)


def test_what_is_not_trained_keeps_its_statistics() -> None:
    model = network()
    layer = model.layers[2]
    layer.trainable = False
    fuse_batch_norm(model)
    before = [np.array(variable) for variable in layer.non_trainable_variables]
    trained(model)
    for variable, was in zip(layer.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, was)


def test_the_saved_network_is_one_of_kerass_own_layers(tmp_path: Path) -> None:
    model = network()
    fuse_batch_norm(model)
    trained(model).save(tmp_path / "kept.keras")
    loaded = keras.saving.load_model(tmp_path / "kept.keras")
    assert "call" not in vars(loaded.layers[2])
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=1e-6)


def test_what_was_settled_for_tensorflow_comes_back() -> None:
    settled = tf.config.optimizer.get_experimental_options
    with relu_apart():
        assert settled()["remapping"] is False
    assert settled()["remapping"] is True
