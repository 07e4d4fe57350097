"""The weighted losses of auxiliary classifiers are added during training only."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_cnns import Recipe, auxiliary_outputs, build, load, profile, strip_auxiliary, train
from keras_cnns.errors import SettingError
from keras_cnns.networks.auxiliary import AuxiliaryModel
from keras_cnns.networks.registry import network_settings
from keras_cnns.training.job import Job, assemble
from tests.processes import call, use_devices

SIDE = 80
SMALL: dict[str, Any] = {"width_multiplier": 0.1, "modules": (1, 1, 1), "auxiliary_after": (1, 2)}
NO_DROPOUT: dict[str, Any] = {"dropout": 0.0, "auxiliary_dropout": 0.0}
IMAGES = np.random.default_rng(0).normal(size=(12, SIDE, SIDE, 3)).astype("float32")
LABELS = np.arange(12) % 4


def network(**settings: Any) -> keras.Model:
    return build(
        "googlenet", input_shape=(SIDE, SIDE, 3), classes=4, **{"auxiliary_classifiers": True, **SMALL, **settings}
    )


def compile_model(model: keras.Model, optimizer: Any = "sgd") -> keras.Model:
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def first_gradient(model: keras.Model, layer: str, kernel: keras.Variable) -> np.ndarray:
    """Return the gradient of the loss of a single output at the first convolution."""
    one_output = keras.Model(model.inputs, model.get_layer(layer).output)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(LABELS, one_output(IMAGES, training=True)))
    return np.asarray(tape.gradient(loss, kernel.value))


@pytest.mark.parametrize("weight", [pytest.param(0.3, marks=pytest.mark.exhaustive), 1.5])
def test_a_training_step_adds_the_weighted_gradients_of_the_heads_to_the_main_gradient(
    weight: float,
) -> None:
    model = compile_model(network(auxiliary_weight=weight, **NO_DROPOUT), keras.optimizers.SGD(1.0))
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


def test_the_heads_count_in_the_training_loss_and_not_in_the_validation_loss() -> None:
    model = compile_model(network(**NO_DROPOUT), keras.optimizers.SGD(0.0))
    outputs = {
        name: keras.Model(model.inputs, model.get_layer(name).output).predict(IMAGES, verbose=0)
        for name in ("predictions", "auxiliary1_predictions", "auxiliary2_predictions")
    }
    losses = [-np.log(output[np.arange(12), LABELS]).mean() for output in outputs.values()]
    fitted = model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), batch_size=12, verbose=0).history
    np.testing.assert_allclose(fitted["loss"], [losses[0] + 0.3 * (losses[1] + losses[2])], rtol=1e-5)
    np.testing.assert_allclose(fitted["val_loss"], [losses[0]], rtol=1e-5)
    assert fitted["accuracy"] == fitted["val_accuracy"]


@pytest.mark.exhaustive  # a loss without it is tested by step
def test_weight_regularization_is_counted_once() -> None:
    model = network(**NO_DROPOUT)
    model.get_layer("stem_conv1").kernel.regularizer = keras.regularizers.L2(0.5)
    compile_model(model, keras.optimizers.SGD(0.0))
    extra = 0.5 * float(np.square(keras.ops.convert_to_numpy(model.get_layer("stem_conv1").kernel)).sum())
    assert extra > 0.1
    with_extra = model.fit(IMAGES, LABELS, batch_size=12, verbose=0).history["loss"][0]
    model.get_layer("stem_conv1").kernel.regularizer = None
    compile_model(model, keras.optimizers.SGD(0.0))
    without = model.fit(IMAGES, LABELS, batch_size=12, verbose=0).history["loss"][0]
    assert with_extra - without == pytest.approx(extra, rel=1e-4)


def test_the_stripped_network_gives_the_same_outputs_without_heads() -> None:
    model = compile_model(network())
    model.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    stripped = compile_model(strip_auxiliary(model))
    np.testing.assert_array_equal(stripped.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert stripped.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(model.evaluate(IMAGES, LABELS, verbose=0))
    assert not any(layer.name.startswith("auxiliary") for layer in stripped.layers)
    assert strip_auxiliary(stripped) is stripped
    assert type(stripped) is type(build("lenet5"))


def test_the_stripped_googlenet_has_the_counts_of_the_network_without_heads() -> None:
    stripped = strip_auxiliary(build("googlenet", auxiliary_classifiers=True))
    assert stripped.count_params() == 6_998_552
    assert profile(stripped) == profile(build("googlenet"))


def trains_with_heads(model: keras.Model) -> bool:
    """Return whether `fit` changes the weights of the heads."""
    kernel = model.get_layer("auxiliary1_logits").kernel
    before = keras.ops.convert_to_numpy(kernel).copy()
    compile_model(model).fit(IMAGES, LABELS, verbose=0)
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


@pytest.mark.exhaustive  # all families train in mixed precision
def test_heads_train_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    assert trains_with_heads(model)
    assert model.predict(IMAGES, verbose=0).dtype == np.float32


@pytest.mark.exhaustive  # exports are tested for all formats
def test_an_exported_model_has_the_main_output_only(tmp_path: Path) -> None:
    model = network()
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(IMAGES), model.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-5)


def nest(model: keras.Model) -> keras.Model:
    inputs = keras.Input((SIDE, SIDE, 3))
    return keras.Model(inputs, model(keras.layers.Rescaling(0.5)(inputs)), name="outer")


def reuse_graph(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, keras.layers.Dense(4, "softmax")(model.output), name="outer")


class Wrapper(keras.Model):
    """A subclassed model around a network."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="outer")
        self.model = model

    def call(self, inputs: Any, *, training: bool | None = None) -> Any:
        return self.model(inputs, training=training)


@pytest.mark.parametrize(
    "wrap",
    [nest, reuse_graph, Wrapper, lambda model: keras.Sequential([keras.Input((SIDE, SIDE, 3)), model], name="outer")],
    ids=["functional", "same graph", "subclass", "sequential"],
)
def test_a_nested_network_that_is_trained_without_its_heads_warns(wrap: Any) -> None:
    outer = wrap(network())
    outer.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.warns(
        UserWarning,
        match="this training ignores the auxiliary classifiers of a nested network; nest keras_cnns.auxiliary_out",
    ):
        outer.train_on_batch(IMAGES[:2], LABELS[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        outer.test_on_batch(IMAGES[:2], LABELS[:2])
        outer.predict_on_batch(IMAGES[:2])


@pytest.mark.parametrize("eager", [False, True])
def test_training_a_network_with_heads_does_not_warn(eager: bool) -> None:
    images, labels = IMAGES[:2], LABELS[:2]
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eager)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(images, labels, validation_data=(images, labels), verbose=0)
        model.compute_loss(images, labels, model(images, training=True), training=True)


def test_training_a_nested_network_without_heads_does_not_warn() -> None:
    outer = nest(strip_auxiliary(network()))
    outer.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        outer.train_on_batch(IMAGES[:2], LABELS[:2])


def test_the_outputs_of_the_heads_train_a_nested_network_like_the_network_itself() -> None:
    alone = network(**NO_DROPOUT)
    clone = keras.models.clone_model(alone)
    clone.set_weights(alone.get_weights())
    inner = auxiliary_outputs(clone)
    assert list(inner.output) == ["main", "auxiliary1", "auxiliary2"]
    inputs = keras.Input((SIDE, SIDE, 3))
    nested = keras.Model(inputs, inner(inputs))
    loss = "sparse_categorical_crossentropy"
    alone.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    nested.compile(
        keras.optimizers.SGD(0.1),
        loss=dict.fromkeys(inner.output, loss),
        loss_weights={"main": 1.0, "auxiliary1": 0.3, "auxiliary2": 0.3},
        run_eagerly=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nested_loss = nested.train_on_batch(IMAGES, dict.fromkeys(inner.output, LABELS), return_dict=True)["loss"]
    np.testing.assert_allclose(nested_loss, alone.train_on_batch(IMAGES, LABELS), rtol=1e-5)
    for weight, expected in zip(clone.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)


def test_a_network_without_heads_has_no_auxiliary_outputs() -> None:
    with pytest.raises(SettingError, match="googlenet has no auxiliary classifiers; build it with auxiliary_class"):
        auxiliary_outputs(network(auxiliary_classifiers=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auxiliary_after": (3, 3)}, "names a module twice"),
        ({"auxiliary_after": (3, 10)}, "names module 10, but there are only 9; use 1 to 9"),
    ],
)
def test_impossible_positions_of_heads_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build("googlenet", auxiliary_classifiers=True, **settings)


@pytest.mark.slow
def test_training_saves_the_network_without_heads_and_its_costs(tmp_path: Path) -> None:
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


def train_on_devices(devices: int) -> list[np.ndarray]:
    """Return the losses of two epochs and two kernels after them."""
    use_devices(devices)
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    with tf.distribute.MirroredStrategy(names).scope():
        return train_in_scope()


def train_in_scope() -> list[np.ndarray]:
    """Return what `train_on_devices` returns, from a training on the devices of the scope."""
    keras.utils.set_random_seed(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*auxiliary classifiers")
        model = compile_model(network(**NO_DROPOUT), keras.optimizers.SGD(0.5))
        history = model.fit(IMAGES, LABELS, batch_size=6, epochs=2, shuffle=False, verbose=0).history
    kernels = [np.asarray(model.get_layer(name).kernel) for name in ("stem_conv1", "auxiliary1_logits")]
    return [np.array(history["loss"]), *kernels]


@pytest.mark.exhaustive
def test_two_devices_train_the_heads_like_one_device() -> None:
    for one, two in zip(train_in_scope(), call(train_on_devices, 2), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
