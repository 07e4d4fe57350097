"""Arguments of `build`, error messages, and details of single architectures; `test_families` has what all share."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import Recipe, build, profile
from keras_cnns.errors import ModelNameError, SettingError
from keras_cnns.networks.registry import all_families
from keras_cnns.testing.small_networks import make_images
from keras_cnns.training.presets import get_recipe


@pytest.mark.parametrize("name", all_families())
def test_a_family_has_a_paper_recipe_or_states_why_not(name: str) -> None:
    family = all_families()[name]
    assert get_recipe("modern", family) != get_recipe("plain", family) == Recipe()
    if isinstance(family.paper_recipe, Recipe):
        assert get_recipe("paper", family) is family.paper_recipe
        return
    with pytest.raises(SettingError, match=f"^{name} has no recipe 'paper': the paper .*--recipe modern") as caught:
        get_recipe("paper", family)
    assert family.paper_recipe in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_of_a_thousand_layers_is_built_despite_pythons_recursion_limit() -> None:
    model = build("plain-cifar-20", units=(170,), widths=(2,), stem_width=2, input_shape=(8, 8, 1))
    assert len(model.layers) > sys.getrecursionlimit()


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
        ({"input_shape": (32, 32, None)}, "input_shape must be .height, width, channels."),
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
    batch = make_images(1, 3, 8)
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
    batch = make_images(8, side=12)
    for model in (plain, recomputed):
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        for _ in range(3):
            model.train_on_batch(batch, np.arange(8) % 3)
    # Predictions depend on the moving means and variances, which must be updated once per step.
    np.testing.assert_allclose(recomputed.predict(batch, verbose=0), plain.predict(batch, verbose=0), atol=1e-5)
