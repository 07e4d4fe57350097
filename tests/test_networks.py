"""What must hold for every network, small versions of them all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import DISTINCT, images, shrunk, side_for, small

from keras_cnns import build, profile
from keras_cnns.errors import ImageSizeError, ModelNameError, SettingError
from keras_cnns.networks.registry import all_families, find_variant, smallest_side


@pytest.mark.parametrize("name", DISTINCT)
def test_trains_without_a_missing_or_infinite_gradient(name: str) -> None:
    model = small(name)
    with tf.GradientTape() as tape:
        outputs = model(images(3, side=side_for(name)), training=True)
        loss = -tf.reduce_mean(tf.math.log(tf.gather(outputs, [1], axis=1) + 1e-6))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert gradients
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path


@pytest.mark.parametrize("name", DISTINCT)
@pytest.mark.parametrize("channels", [1, 3])
def test_predicts_probabilities_for_one_image_and_for_odd_batches(name: str, channels: int) -> None:
    model = small(name, channels=channels)
    batch = images(5, channels, side_for(name))
    together = np.asarray(model(batch))
    assert together.shape == (5, 3)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(model(batch[:1])), together[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DISTINCT)
def test_builds_for_images_that_are_neither_square_nor_a_power_of_two(name: str) -> None:
    shape: tuple[int, int, int] = (33, 47, 1)
    try:
        model = build(name, input_shape=shape, classes=7, **shrunk(name))
    except ImageSizeError as error:
        side = int(re.findall(r"smallest that works with these settings is (\d+)x", str(error))[0])
        model = build(name, input_shape=(side, side + 14, 5), classes=7, **shrunk(name))
    assert model.output_shape == (None, 7)


@pytest.mark.parametrize("name", DISTINCT)
def test_works_on_the_smallest_image_that_it_names_and_on_no_smaller_one(name: str) -> None:
    family, variant = find_variant(name)
    side = smallest_side(family, variant.settings.replace(shrunk(name)))
    assert np.isfinite(np.asarray(small(name, side=side)(images(2, side=side)))).all()
    if side > 1:
        with pytest.raises(ImageSizeError, match=f"smallest that works with these settings is {side}x{side}"):
            small(name, side=side - 1)


@pytest.mark.parametrize("name", DISTINCT)
def test_logits_are_what_the_activation_gets(name: str) -> None:
    keras.utils.set_random_seed(1)
    with_softmax = small(name)
    logits = small(name, classifier_activation=None)
    logits.set_weights(with_softmax.get_weights())
    batch = images(2, side=side_for(name))
    expected = np.asarray(keras.ops.softmax(logits(batch)))
    np.testing.assert_allclose(np.asarray(with_softmax(batch)), expected, rtol=1e-4, atol=1e-6)


LOAD = """
import sys
from pathlib import Path
import keras, numpy as np
import keras_cnns.networks.layers
folder, tolerance, names = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
for path in (folder / f"{name}.keras" for name in names):
    model = keras.saving.load_model(path)
    stored = np.load(path.with_suffix(".npz"))
    # TensorFlow is quicker without a graph, JAX with one.
    images = stored["images"]
    outputs = model.predict(images, verbose=0) if keras.backend.backend() == "jax" else model(images).numpy()
    assert np.abs(outputs - stored["outputs"]).max() <= tolerance * np.abs(stored["outputs"]).max(), path.stem
    print(path.stem)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[frozenset[str], str]]:
    """Every network, saved, with images and what it says of them; and one for each set of kinds of layers."""
    folder = tmp_path_factory.mktemp("saved")
    of_kinds: dict[frozenset[str], str] = {}
    for name in DISTINCT:
        batch = images(2, side=side_for(name))
        model = small(name, classifier_activation=None)
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", images=batch, outputs=np.asarray(model(batch)))
        of_kinds.setdefault(frozenset(type(layer).__name__ for layer in model.layers), name)
    return folder, of_kinds


@pytest.mark.xdist_group("saved networks")
@pytest.mark.parametrize(
    ("backend", "tolerance"), [("tensorflow", 1e-5), pytest.param("jax", 1e-4, marks=pytest.mark.slow)]
)
def test_saved_networks_give_equal_outputs_in_a_fresh_process(
    saved: tuple[Path, dict[frozenset[str], str]], backend: str, tolerance: float
) -> None:
    folder, of_kinds = saved
    names = [*of_kinds.values()] if backend == "jax" else DISTINCT  # JAX takes long to compile
    fast_to_compile = {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), str(tolerance), *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **fast_to_compile},
    )
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    assert loaded.stdout.split() == names


@pytest.mark.parametrize("name", DISTINCT)
def test_trains_in_mixed_precision_and_answers_in_full(name: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(name)
    finally:
        keras.config.set_dtype_policy("float32")
    with tf.GradientTape() as tape:
        outputs = model(images(3, side=side_for(name)), training=True)
        loss = -tf.reduce_mean(tf.math.log(outputs[:, 1] + 1e-6))
    assert outputs.dtype == "float32"
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert variable.dtype == "float32"
        assert np.isfinite(gradient.numpy()).all(), variable.path


@pytest.mark.parametrize("name", DISTINCT)
def test_layer_names_are_the_same_every_time(name: str) -> None:
    assert [layer.name for layer in small(name).layers] == [layer.name for layer in small(name).layers]


@pytest.mark.parametrize("family", list(all_families()))
def test_a_family_says_where_it_comes_from_and_what_may_be_searched(family: str) -> None:
    found = all_families()[family]
    assert all(paper.title and paper.authors and 1989 <= paper.year <= 2026 for paper in found.papers)
    base = found.variants[found.search.base].settings
    assert found.search.domains
    for name in found.search.domains:
        base.domain(name)
    assert {result.variant for result in found.results} <= set(found.variants)


def test_the_nearest_names_are_proposed_for_an_unknown_network() -> None:
    with pytest.raises(ModelNameError, match="Did you mean 'densenet121'"):
        build("densenet12")


def test_a_family_is_no_network() -> None:
    with pytest.raises(ModelNameError, match="is a family of networks; name one of it: densenet121"):
        build("densenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"growth_rat": 8}, "no setting 'growth_rat'. Did you mean 'growth_rate'"),
        ({"growth_rate": 0}, "growth_rate must be a whole number from 1 to 512, not 0"),
        ({"growth_rate": "8"}, "growth_rate must be a whole number"),
        ({"compression": float("nan")}, "compression must be a number from 0.05 to 1, not nan"),
        ({"blocks": ()}, "blocks must be 1 to 8 values"),
        ({"stem": "Cifar"}, "stem must be one of imagenet, cifar, not Cifar"),
        ({"classes": 0}, "classes must be a whole number"),
        ({"input_shape": (32, 32)}, "input_shape must be .height, width, channels."),
        ({"input_shape": (32, None, 3)}, "input_shape must be .height, width, channels."),
        ({"classifier_activation": "softmaxx"}, "classifier_activation must be an activation's name"),
    ],
)
def test_an_illegal_argument_is_named_with_what_is_legal(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        build("densenet-bc-40", **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet18", {"units": (2, 2)}, "units has 2 stages and widths 4"),
        ("resnet18", {"shortcut": "A", "widths": (64, 32, 64, 64)}, "widths cannot shrink"),
        ("resnet18", {"stem_activation": False}, "pre_activation=True"),
        ("lenet5-1998", {"convolution_widths": (8, 16, 120)}, "connections='full'"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build(name, **settings)


def test_the_1998_network_has_the_connections_of_the_paper() -> None:
    """Section II-B: 340,908 connections in all, of which C3 has 151,600 and the output layer 840."""
    from keras_cnns.networks.families.lenet import C3_CONNECTIONS

    assert sum(map(len, C3_CONNECTIONS)) == 60
    counted = profile(build("lenet5-1998"))
    biases = 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84
    subsampling = 5 * (14 * 14 * 6 + 5 * 5 * 16)
    assert counted.macs + biases + subsampling + 840 == 340_908


def test_the_radial_basis_output_prefers_the_nearest_code() -> None:
    from keras_cnns.networks.families.lenet import class_codes
    from keras_cnns.networks.layers import RadialBasisOutput

    codes = class_codes(10, 84)
    assert len({tuple(code) for code in codes}) == 10
    outputs = np.asarray(RadialBasisOutput(codes)(np.asarray(codes, "float32")))
    np.testing.assert_allclose(np.diag(outputs), 0.0, atol=1e-4)
    assert (outputs.argmax(axis=1) == np.arange(10)).all()


def test_a_partial_convolution_sees_only_its_connections() -> None:
    from keras_cnns.networks.layers import PartiallyConnectedConv2D

    layer = PartiallyConnectedConv2D(((0, 2), (1,)), 3)
    batch = images(1, 3, 8)
    before = np.asarray(layer(batch))
    changed = batch.copy()
    changed[..., 1] += 1.0
    after = np.asarray(layer(changed))
    np.testing.assert_allclose(after[..., 0], before[..., 0], rtol=1e-5, atol=1e-5)
    assert np.abs(after[..., 1] - before[..., 1]).max() > 1e-3


def test_profile_counts_the_layers_of_keras_as_by_hand() -> None:
    inputs = keras.Input((10, 12, 4))
    x = keras.layers.Conv2D(6, 3, strides=2, groups=2, padding="same")(inputs)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)
    x = keras.layers.Conv2DTranspose(2, 2, strides=2)(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    places = 5 * 6
    by_hand = places * (9 * 2 * 6 + 9 * 12 + 9 * 12 + 12 * 5 + 5 * 2 * 4) + 10 * 12 * 2 * 3
    assert profile(model).macs == by_hand
    nested_inputs = keras.Input((10, 12, 4))
    nested = keras.Model(nested_inputs, model(nested_inputs))
    assert profile(nested).macs == by_hand


def test_peak_activations_are_what_is_alive_at_one_time() -> None:
    inputs = keras.Input((4, 4, 1))
    a = keras.layers.Conv2D(2, 1)(inputs)
    b = keras.layers.Conv2D(3, 1)(a)
    outputs = keras.layers.Concatenate()([a, b])
    assert profile(keras.Model(inputs, outputs)).peak_activations == 16 * (2 + 3 + 5)


def carry_into_recomputed(plain: keras.Model, recomputed: keras.Model) -> None:
    for layer in recomputed.layers:
        if not layer.name.endswith("_recomputed"):
            if layer.weights:
                layer.set_weights(plain.get_layer(layer.name).get_weights())
            continue
        name = layer.name.removesuffix("_recomputed")
        norm = plain.get_layer(f"{name}_bn")
        for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
            getattr(layer, weight).assign(getattr(norm, weight))
        layer.kernel.assign(plain.get_layer(f"{name}_conv").kernel)


@pytest.mark.parametrize("bottleneck_width", [None, 2])
def test_recomputation_trains_the_same_densenet(bottleneck_width: int | None) -> None:
    settings: dict[str, Any] = {"blocks": (3, 2), "growth_rate": 4, "bottleneck_width": bottleneck_width}
    plain, recomputed = (
        build("densenet-bc-40", input_shape=(12, 12, 3), classes=3, recompute=recompute, **settings)
        for recompute in (False, True)
    )
    carry_into_recomputed(plain, recomputed)
    assert profile(plain).as_metrics() == profile(recomputed).as_metrics()
    batch = images(8, side=12)
    for model in (plain, recomputed):
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        for _ in range(3):
            model.train_on_batch(batch, np.arange(8) % 3)
    # Moving means and variances, taken in once a step, decide what is predicted.
    np.testing.assert_allclose(recomputed.predict(batch, verbose=0), plain.predict(batch, verbose=0), atol=1e-5)
