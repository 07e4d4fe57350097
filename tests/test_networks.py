"""Properties that every network must have, tested on small versions of all networks."""

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
from networks import DISTINCT, images, side_for, small, small_settings

from keras_cnns import Recipe, build, profile
from keras_cnns.errors import ImageSizeError, ModelNameError, SettingError
from keras_cnns.networks.registry import all_families, find_variant, smallest_side
from keras_cnns.training.presets import get_recipe


@pytest.mark.parametrize("name", DISTINCT)
def test_every_weight_has_a_finite_gradient(name: str) -> None:
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
def test_predicts_probabilities_for_single_images_and_odd_batch_sizes(name: str, channels: int) -> None:
    model = small(name, channels=channels)
    batch = images(5, channels, side_for(name))
    together = np.asarray(model(batch))
    assert together.shape == (5, 3)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(model(batch[:1])), together[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DISTINCT)
def test_builds_for_image_sizes_that_are_not_square_or_powers_of_two(name: str) -> None:
    shape: tuple[int, int, int] = (33, 47, 1)
    try:
        model = build(name, input_shape=shape, classes=7, **small_settings(name))
    except ImageSizeError as error:
        side = int(re.findall(r"smallest that works with these settings is (\d+)x", str(error))[0])
        model = build(name, input_shape=(side, side + 14, 5), classes=7, **small_settings(name))
    assert model.output_shape == (None, 7)


@pytest.mark.parametrize("name", DISTINCT)
def test_accepts_the_smallest_image_size_it_reports_and_no_smaller_one(name: str) -> None:
    family, variant = find_variant(name)
    side = smallest_side(family, variant.settings.replace(small_settings(name)))
    assert np.isfinite(np.asarray(small(name, side=side)(images(2, side=side)))).all()
    if side > 1:
        with pytest.raises(ImageSizeError, match=f"smallest that works with these settings is {side}x{side}"):
            small(name, side=side - 1)


@pytest.mark.parametrize("name", DISTINCT)
def test_the_classifier_activation_is_applied_to_the_logits(name: str) -> None:
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
    # Eager execution is faster in TensorFlow, compilation in JAX.
    images = stored["images"]
    outputs = model.predict(images, verbose=0) if keras.backend.backend() == "jax" else model(images).numpy()
    assert np.abs(outputs - stored["outputs"]).max() <= tolerance * np.abs(stored["outputs"]).max(), path.stem
    print(path.stem)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[frozenset[str], str]]:
    """Save every network with images and its outputs; return one network per set of layer types as well."""
    folder = tmp_path_factory.mktemp("saved")
    by_layer_types: dict[frozenset[str], str] = {}
    for name in DISTINCT:
        batch = images(2, side=side_for(name))
        model = small(name, classifier_activation=None)
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", images=batch, outputs=np.asarray(model(batch)))
        by_layer_types.setdefault(frozenset(type(layer).__name__ for layer in model.layers), name)
    return folder, by_layer_types


@pytest.mark.xdist_group("saved networks")
@pytest.mark.parametrize(
    ("backend", "tolerance"), [("tensorflow", 1e-5), pytest.param("jax", 1e-4, marks=pytest.mark.slow)]
)
def test_saved_networks_give_the_same_outputs_in_a_new_process(
    saved: tuple[Path, dict[frozenset[str], str]], backend: str, tolerance: float
) -> None:
    folder, by_layer_types = saved
    names = [*by_layer_types.values()] if backend == "jax" else DISTINCT  # compiling takes long in JAX
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
def test_trains_in_mixed_precision_and_predicts_in_float32(name: str) -> None:
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
def test_layer_names_do_not_change_between_builds(name: str) -> None:
    assert [layer.name for layer in small(name).layers] == [layer.name for layer in small(name).layers]


@pytest.mark.parametrize("family", list(all_families()))
def test_a_family_has_papers_a_valid_search_space_and_results_of_its_variants(family: str) -> None:
    found = all_families()[family]
    assert all(paper.title and paper.authors and 1989 <= paper.year <= 2026 for paper in found.papers)
    base = found.variants[found.search.base].settings
    assert found.search.domains
    for name in found.search.domains:
        base.domain(name)
    assert {result.variant for result in found.results} <= set(found.variants)


REASONS_FOR_NO_PAPER_RECIPE = {
    "lenet": "stochastic diagonal Levenberg-Marquardt",
    "nin": "neither the initial learning rate nor the number of epochs",
    "googlenet": "does not give the initial learning rate, the batch size or the number of epochs",
}


@pytest.mark.parametrize("family", list(all_families()))
def test_a_family_has_a_paper_recipe_or_states_why_not(family: str) -> None:
    found = all_families()[family]
    if family not in REASONS_FOR_NO_PAPER_RECIPE:
        assert isinstance(found.paper_recipe, Recipe)
        assert get_recipe("paper", found) is found.paper_recipe
        return
    with pytest.raises(SettingError, match=f"^{family} has no recipe 'paper': the paper .*--recipe modern") as caught:
        get_recipe("paper", found)
    assert REASONS_FOR_NO_PAPER_RECIPE[family] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert get_recipe("modern", found) != get_recipe("plain", found) == Recipe()


def test_an_unknown_recipe_name_suggests_similar_names() -> None:
    with pytest.raises(SettingError, match=r"no recipe 'papers': choose plain, modern, paper.*Did you mean 'paper'"):
        get_recipe("papers", all_families()["resnet"])


def test_an_unknown_network_name_suggests_similar_names() -> None:
    with pytest.raises(ModelNameError, match="Did you mean 'densenet121'"):
        build("densenet12")


def test_the_name_of_a_family_is_not_a_network() -> None:
    with pytest.raises(ModelNameError, match="is a family of networks; choose one of its networks: densenet121"):
        build("densenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"growth_rat": 8}, "unknown setting 'growth_rat'. Did you mean 'growth_rate'"),
        ({"growth_rate": 0}, "growth_rate must be a whole number from 1 to 512, not 0"),
        ({"growth_rate": "8"}, "growth_rate must be a whole number"),
        ({"compression": float("nan")}, "compression must be a number from 0.05 to 1, not nan"),
        ({"blocks": ()}, "blocks must be 1 to 8 values"),
        ({"stem": "Cifar"}, "stem must be one of imagenet, cifar, not Cifar"),
        ({"classes": 0}, "classes must be a whole number"),
        ({"input_shape": (32, 32)}, "input_shape must be .height, width, channels."),
        ({"input_shape": (32, None, 3)}, "input_shape must be .height, width, channels."),
        ({"classifier_activation": "softmaxx"}, "classifier_activation must be the name of a Keras activation"),
    ],
)
def test_an_illegal_argument_is_rejected_with_the_legal_values(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        build("densenet-bc-40", **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet18", {"units": (2, 2)}, "units has 2 stages and widths 4; give both one value per stage"),
        ("resnet18", {"shortcut": "A", "widths": (64, 32, 64, 64)}, "widths cannot shrink"),
        ("resnet18", {"stem_activation": False}, "pre_activation=True"),
        ("lenet5-1998", {"convolution_widths": (8, 16, 120)}, "connections='full'"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build(name, **settings)


def test_lenet5_1998_has_the_number_of_connections_in_the_paper() -> None:
    """Section II-B: 340,908 connections in total, of which C3 has 151,600 and the output layer 840."""
    from keras_cnns.networks.families.lenet import C3_CONNECTIONS

    assert sum(map(len, C3_CONNECTIONS)) == 60
    counted = profile(build("lenet5-1998"))
    biases = 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84
    subsampling = 5 * (14 * 14 * 6 + 5 * 5 * 16)
    assert counted.macs + biases + subsampling + 840 == 340_908


def test_the_radial_basis_output_is_largest_for_the_nearest_code() -> None:
    from keras_cnns.networks.families.lenet import class_codes
    from keras_cnns.networks.layers import RadialBasisOutput

    codes = class_codes(10, 84)
    assert len({tuple(code) for code in codes}) == 10
    outputs = np.asarray(RadialBasisOutput(codes)(np.asarray(codes, "float32")))
    np.testing.assert_allclose(np.diag(outputs), 0.0, atol=1e-4)
    assert (outputs.argmax(axis=1) == np.arange(10)).all()


def test_a_partial_convolution_depends_only_on_its_connected_channels() -> None:
    from keras_cnns.networks.layers import PartiallyConnectedConv2D

    layer = PartiallyConnectedConv2D(((0, 2), (1,)), 3)
    batch = images(1, 3, 8)
    before = np.asarray(layer(batch))
    changed = batch.copy()
    changed[..., 1] += 1.0
    after = np.asarray(layer(changed))
    np.testing.assert_allclose(after[..., 0], before[..., 0], rtol=1e-5, atol=1e-5)
    assert np.abs(after[..., 1] - before[..., 1]).max() > 1e-3


def test_profile_counts_of_keras_layers_match_counts_by_hand() -> None:
    inputs = keras.Input((10, 12, 4))
    x = keras.layers.Conv2D(6, 3, strides=2, groups=2, padding="same")(inputs)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)
    x = keras.layers.Conv2DTranspose(2, 2, strides=2)(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    positions = 5 * 6
    by_hand = positions * (9 * 2 * 6 + 9 * 12 + 9 * 12 + 12 * 5 + 5 * 2 * 4) + 10 * 12 * 2 * 3
    assert profile(model).macs == by_hand
    nested_inputs = keras.Input((10, 12, 4))
    nested = keras.Model(nested_inputs, model(nested_inputs))
    assert profile(nested).macs == by_hand


def test_peak_activations_are_the_most_values_in_use_at_one_time() -> None:
    inputs = keras.Input((4, 4, 1))
    a = keras.layers.Conv2D(2, 1)(inputs)
    b = keras.layers.Conv2D(3, 1)(a)
    outputs = keras.layers.Concatenate()([a, b])
    assert profile(keras.Model(inputs, outputs)).peak_activations == 16 * (2 + 3 + 5)


def copy_weights_to_recomputed(plain: keras.Model, recomputed: keras.Model) -> None:
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
def test_recomputation_trains_an_identical_densenet(bottleneck_width: int | None) -> None:
    settings: dict[str, Any] = {"blocks": (3, 2), "growth_rate": 4, "bottleneck_width": bottleneck_width}
    plain, recomputed = (
        build("densenet-bc-40", input_shape=(12, 12, 3), classes=3, recompute=recompute, **settings)
        for recompute in (False, True)
    )
    copy_weights_to_recomputed(plain, recomputed)
    assert profile(plain).as_metrics() == profile(recomputed).as_metrics()
    batch = images(8, side=12)
    for model in (plain, recomputed):
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        for _ in range(3):
            model.train_on_batch(batch, np.arange(8) % 3)
    # Predictions depend on the moving means and variances, which must be updated once per step.
    np.testing.assert_allclose(recomputed.predict(batch, verbose=0), plain.predict(batch, verbose=0), atol=1e-5)
