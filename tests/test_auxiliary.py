"""Auxiliary classifiers count in training, weighted, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_cnns import Recipe, build, load, profile, strip_auxiliary, train
from keras_cnns.errors import SettingError
from keras_cnns.networks.auxiliary import AuxiliaryModel
from keras_cnns.networks.registry import network_settings
from keras_cnns.training.job import Job, assemble

SIDE = 80
SMALL: dict[str, Any] = {"width_multiplier": 0.1, "modules": (1, 2, 1), "auxiliary_after": (2, 3)}
STILL: dict[str, Any] = {"dropout": 0.0, "auxiliary_dropout": 0.0}
IMAGES = np.random.default_rng(0).normal(size=(12, SIDE, SIDE, 3)).astype("float32")
LABELS = np.arange(12) % 4


def network(**settings: Any) -> keras.Model:
    chosen = {"auxiliary_classifiers": True, **SMALL, **settings}
    return build("googlenet", input_shape=(SIDE, SIDE, 3), classes=4, **chosen)


def compiled(model: keras.Model, optimizer: Any = "sgd") -> keras.Model:
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def first_gradient(model: keras.Model, layer: str, kernel: keras.Variable) -> np.ndarray:
    """The gradient of one output's own loss at the first convolution."""
    one_output = keras.Model(model.inputs, model.get_layer(layer).output)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(LABELS, one_output(IMAGES, training=True)))
    return np.asarray(tape.gradient(loss, kernel.value))


@pytest.mark.parametrize("weight", [0.3, 1.5])
def test_a_step_of_fit_follows_the_main_gradient_and_the_weighted_one_of_each_head(weight: float) -> None:
    model = compiled(network(auxiliary_weight=weight, **STILL), keras.optimizers.SGD(1.0))
    kernel = model.get_layer("stem_conv1").kernel
    main, first, second = (
        first_gradient(model, name, kernel)
        for name in ("predictions", "auxiliary1_predictions", "auxiliary2_predictions")
    )
    assert min(np.abs(gradient).max() for gradient in (main, first, second)) > 0
    before = keras.ops.convert_to_numpy(kernel).copy()
    model.fit(IMAGES, LABELS, batch_size=len(IMAGES), verbose=0)
    expected = main + weight * (first + second)
    np.testing.assert_allclose(
        before - keras.ops.convert_to_numpy(kernel).copy(), expected, atol=1e-4 * np.abs(expected).max()
    )


def test_the_loss_in_training_is_the_sum_and_in_evaluation_the_main_one() -> None:
    model = compiled(network(**STILL), keras.optimizers.SGD(0.0))
    outputs = {
        name: keras.Model(model.inputs, model.get_layer(name).output).predict(IMAGES, verbose=0)
        for name in ("predictions", "auxiliary1_predictions", "auxiliary2_predictions")
    }
    losses = [-np.log(output[np.arange(12), LABELS]).mean() for output in outputs.values()]
    fitted = model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), batch_size=12, verbose=0).history
    np.testing.assert_allclose(fitted["loss"], [losses[0] + 0.3 * (losses[1] + losses[2])], rtol=1e-5)
    np.testing.assert_allclose(fitted["val_loss"], [losses[0]], rtol=1e-5)
    assert fitted["accuracy"] == fitted["val_accuracy"]


def test_losses_beside_the_outputs_count_once() -> None:
    model = network(**STILL)
    model.get_layer("stem_conv1").kernel.regularizer = keras.regularizers.L2(0.5)
    compiled(model, keras.optimizers.SGD(0.0))
    extra = 0.5 * float(np.square(keras.ops.convert_to_numpy(model.get_layer("stem_conv1").kernel)).sum())
    assert extra > 0.1
    with_extra = model.fit(IMAGES, LABELS, batch_size=12, verbose=0).history["loss"][0]
    model.get_layer("stem_conv1").kernel.regularizer = None
    compiled(model, keras.optimizers.SGD(0.0))
    without = model.fit(IMAGES, LABELS, batch_size=12, verbose=0).history["loss"][0]
    assert with_extra - without == pytest.approx(extra, rel=1e-4)


def test_the_stripped_network_says_the_same_with_fewer_parameters() -> None:
    model = compiled(network())
    model.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    stripped = compiled(strip_auxiliary(model))
    np.testing.assert_array_equal(stripped.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert stripped.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(model.evaluate(IMAGES, LABELS, verbose=0))
    assert not any(layer.name.startswith("auxiliary") for layer in stripped.layers)
    assert strip_auxiliary(stripped) is stripped
    assert type(stripped) is type(build("lenet5"))


def test_the_whole_network_stripped_has_the_counts_of_the_one_without_heads() -> None:
    stripped = strip_auxiliary(build("googlenet", auxiliary_classifiers=True))
    assert stripped.count_params() == 6_998_552
    assert profile(stripped) == profile(build("googlenet"))


def trains_with_heads(model: keras.Model) -> bool:
    """The heads' own weights change in a step of plain `fit`."""
    kernel = model.get_layer("auxiliary1_logits").kernel
    before = keras.ops.convert_to_numpy(kernel).copy()
    compiled(model).fit(IMAGES, LABELS, verbose=0)
    return bool((keras.ops.convert_to_numpy(kernel).copy() != before).any())


def test_heads_survive_saving(tmp_path: Path) -> None:
    model = network()
    model.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert isinstance(loaded, AuxiliaryModel)
    assert trains_with_heads(loaded)


def test_heads_survive_cloning() -> None:
    clone = keras.models.clone_model(network())
    assert isinstance(clone, AuxiliaryModel)
    assert trains_with_heads(clone)
    assert [weight.path for weight in clone.weights] == [weight.path for weight in network().weights]


def test_heads_train_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    assert trains_with_heads(model)
    assert model.predict(IMAGES, verbose=0).dtype == np.float32


def test_an_exported_model_has_the_main_output_alone(tmp_path: Path) -> None:
    model = network()
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(IMAGES), model.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auxiliary_after": (3, 3)}, "names a module twice"),
        ({"auxiliary_after": (3, 10)}, "names module 10, and there are 9; use 1 to 9"),
    ],
)
def test_heads_that_cannot_stand_there_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build("googlenet", auxiliary_classifiers=True, **settings)


@pytest.mark.slow
def test_a_training_keeps_the_network_without_heads_and_what_it_costs(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, SIDE, SIDE, 3), np.uint8)
    np.savez(tmp_path / "images.npz", train_images=pixels, train_labels=np.arange(40) % 4)
    images = load(tmp_path / "images.npz")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    settings = {"auxiliary_classifiers": True, **SMALL}
    trained = train(
        "googlenet-bn", images, settings=settings, recipe=Recipe(epochs=1), folder=tmp_path, tracking_uri=uri
    )
    assert not any(layer.name.startswith("auxiliary") for layer in trained.best_model.layers)
    assert trained.costs.total_parameters == trained.best_model.count_params()
    job = Job(model="googlenet-bn", settings=network_settings("googlenet-bn", settings), recipe=Recipe(), seed=0)
    assert isinstance(assemble(job, images), AuxiliaryModel)


DEVICES = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
devices = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
import keras
from keras_cnns import build
keras.utils.set_random_seed(3)
names = [device.name for device in tf.config.list_logical_devices("CPU")]
with tf.distribute.MirroredStrategy(names).scope():
    model = build("googlenet", input_shape=(80, 80, 3), classes=4, auxiliary_classifiers=True, dropout=0.0,
                  auxiliary_dropout=0.0, width_multiplier=0.1, modules=(1, 2, 1), auxiliary_after=(2, 3))
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
images = np.random.default_rng(0).normal(size=(16, 80, 80, 3)).astype("float32")
history = model.fit(images, np.arange(16) % 4, batch_size=8, epochs=2, shuffle=False, verbose=0).history
np.savez(sys.argv[2], loss=history["loss"], first=model.get_layer("stem_conv1").kernel,
         head=model.get_layer("auxiliary1_logits").kernel)
"""


@pytest.mark.slow
def test_two_devices_train_the_heads_as_one_does(tmp_path: Path) -> None:
    found = []
    for devices in ("1", "2"):
        path = tmp_path / f"{devices}.npz"
        done = subprocess.run(
            [sys.executable, "-c", DEVICES, devices, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(np.load(path))
    one, two = found
    for name in ("loss", "first", "head"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5)
