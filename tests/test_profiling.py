"""Costs and receptive fields of layers and blocks, feature extraction, and plots of block costs."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_cnns
from keras_cnns import build, features, profile
from keras_cnns.errors import KerasCnnsError, SettingError
from keras_cnns.networks.profile_plots import draw_blocks, plot_blocks
from keras_cnns.networks.profiling import Profile
from keras_cnns.networks.receptive_fields import output_receptive_field, single_pixel
from keras_cnns.networks.registry import all_families
from keras_cnns.testing.small_networks import build_small

FAMILIES = list(all_families())


def base(family: str) -> str:
    """Return the variant of a family that sweeps start from."""
    return all_families()[family].search.base


def assert_sums(model: keras.Model, costs: Profile) -> None:
    for parts in (costs.layers, costs.blocks):
        assert sum(part.parameters for part in parts) == costs.total_parameters == model.count_params()
        assert sum(part.trainable_parameters for part in parts) == costs.trainable_parameters
        assert sum(part.macs for part in parts) == costs.macs
        assert sum(part.activations for part in parts) == costs.activations
        assert sum(part.activation_bytes for part in parts) == costs.activation_bytes
    assert sum(block.layers for block in costs.blocks) == len(costs.layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_blocks_sum_to_the_total(family: str) -> None:
    model = build(base(family))
    costs = profile(model)
    assert_sums(model, costs)
    assert [layer.name for layer in costs.layers if layer.kind == "Conv2D"]
    assert costs.peak_activations <= costs.activations + math.prod(model.input_shape[1:])
    for layer in costs.layers:
        assert layer.output_shape == model.get_layer(layer.name).output.shape[1:]
        assert layer.block == layer.name.split("_")[0]
    assert costs.layers[-1].receptive_field is None
    assert json.loads(json.dumps(costs.as_dict()))["blocks"][0]["name"] == costs.blocks[0].name


def test_auxiliary_classifiers_are_part_of_the_total() -> None:
    model = build_small("googlenet-bn", side=96, auxiliary_classifiers=True, auxiliary_after=(3, 4))
    costs = profile(model)
    assert_sums(model, costs)
    assert {"auxiliary1", "auxiliary2"} <= {block.name for block in costs.blocks}


def test_a_shared_layer_counts_its_parameters_once_and_its_macs_twice() -> None:
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared_conv")
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, shared(keras.layers.ReLU()(shared(inputs))))
    costs = profile(model)
    assert_sums(model, costs)
    first, second = (layer for layer in costs.layers if layer.name == "shared_conv")
    assert (first.parameters, second.parameters) == (148, 0)
    assert first.macs == second.macs == 64 * 144
    assert (first.receptive_field, second.receptive_field) == ((3, 3), (5, 5))


def test_a_nested_network_is_one_layer_with_the_receptive_field_of_all_its_layers() -> None:
    inner_inputs = keras.Input((None, None, 2))
    x = keras.layers.Conv2D(2, 3, strides=2, padding="same")(inner_inputs)
    inner = keras.Model(inner_inputs, keras.layers.Conv2D(2, 3, padding="same")(x), name="inner")
    fixed_inputs = keras.Input((16, 16, 2))
    fixed = keras.models.clone_model(inner, input_tensors=fixed_inputs)
    inputs = keras.Input((16, 16, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same")(fixed(inputs)))
    costs = profile(model)
    assert_sums(model, costs)
    assert [layer.receptive_field for layer in costs.layers] == [(7, 7), (11, 11)]


def test_activation_memory_depends_on_the_precision() -> None:
    def profile_of(precision: str) -> Profile:
        inputs = keras.Input((8, 8, 3))
        return profile(keras.Model(inputs, keras.layers.Conv2D(4, 1, dtype=precision)(inputs)))

    assert profile_of("float32").activation_bytes == 4 * 8 * 8 * 4
    assert profile_of("mixed_bfloat16").activation_bytes == 2 * 8 * 8 * 4


def test_a_printed_profile_is_one_short_line() -> None:
    assert len(repr(profile(build("lenet5")))) < 150


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vgg16", {"stage1_conv2": 5, "stage1_pool": 6, "stage3_conv3": 40, "stage5_conv3": 196, "stage5_pool": 212}),
        ("resnet50", {"stem_conv": 7, "stem_pool": 11, "stage1_unit3_relu": 35, "stage4_unit3_add": 483}),
        ("alexnet", {"conv1": 11, "conv1_pool": 19, "conv2": 51, "conv5": 163, "conv5_pool": 195}),
        # C1 5; S2 5 + 1; C3 6 + 4 * 2; S4 14 + 2; C5 16 + 4 * 4: all 32 pixels.
        ("lenet5-1998", {"c1": 5, "s2": 6, "c3": 14, "s4": 16, "c5": 32}),
        # 7; pooling 7 + 2 * 2; 3x3 11 + 2 * 4; pooling 19 + 2 * 4; then 5x5 + 4 * 8, pooling + 2 * 8, 5x5 + 4 * 16.
        (
            "googlenet",
            {
                "stem_conv1": 7,
                "stem_pool1": 11,
                "stem_conv3": 19,
                "stem_pool2": 27,
                "inception3a_1x1": 27,
                "inception3a_3x3": 43,
                "inception3a_concat": 59,
                "inception3b_concat": 91,
                "pool3": 107,
                "inception4a_concat": 171,
            },
        ),
    ],
)
def test_receptive_fields_equal_those_computed_by_hand(name: str, fields: dict[str, int]) -> None:
    small_classifier = {"vgg16": {"dense_width": 2}, "alexnet": {"dense_width": 2}}.get(name, {})
    found = {layer.name: layer.receptive_field for layer in profile(build(name, **small_classifier)).layers}
    assert {layer: found[layer] for layer in fields} == {layer: (side, side) for layer, side in fields.items()}
    assert found["logits"] is None


WINDOWS = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.booleans()), max_size=6)


@given(windows=WINDOWS)
@settings(deadline=None)
def test_a_receptive_field_equals_the_pixels_found_by_tracing_one_value_back_to_the_image(
    windows: list[tuple[int, int, int, bool]],
) -> None:
    field = single_pixel(2)
    for side, stride, dilation, pooled in windows:
        layer = (
            keras.layers.MaxPooling2D((side, 1), strides=stride)
            if pooled
            else keras.layers.Conv2D(1, (side, 1), strides=1, dilation_rate=(dilation, 1))
        )
        field = output_receptive_field(layer, [field], 2, (None, 9, 9, 1), (None, 9, 9, 1))
    rows = {0}
    for side, stride, dilation, pooled in reversed(windows):
        step, spread = (stride, 1) if pooled else (1, dilation)
        rows = {row * step + offset * spread for row in rows for offset in range(side)}
    assert field.pixels == (max(rows) + 1, 1)


@pytest.mark.parametrize("name", ["densenet-bc-40", "resnet-cifar-20-v2", "vgg-small", "googlenet-bn"])
def test_no_pixel_outside_the_receptive_field_has_a_gradient(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = build_small(name, side=129, **({"widths": (8, 8, 8, 8)} if name == "vgg-small" else {}))
    layer = [layer for layer in profile(model).layers if layer.receptive_field and layer.receptive_field[0] < 100][-1]
    extractor = features(model, [layer.name])
    image = tf.Variable(np.random.default_rng(0).normal(size=(1, 129, 129, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        values = extractor(image)[layer.name]
        value = tf.reduce_sum(values[0, values.shape[1] // 2, values.shape[2] // 2])
    rows, columns, _ = np.nonzero(np.asarray(tape.gradient(value, image))[0])
    assert layer.receptive_field is not None
    assert 1 < np.ptp(rows) + 1 <= layer.receptive_field[0]
    assert 1 < np.ptp(columns) + 1 <= layer.receptive_field[1]


def test_the_receptive_field_of_adaptive_pooling_is_that_of_its_largest_window() -> None:
    layer = keras.layers.AdaptiveAveragePooling2D(4)
    field = output_receptive_field(layer, [single_pixel(2)], 2, (None, 14, 12, 8), (None, 4, 4, 8))
    assert (field.pixels, field.jumps) == ((4, 3), (3.5, 3.0))


def test_a_transposed_convolution_halves_the_distance_between_receptive_fields() -> None:
    down, up = keras.layers.Conv2D(1, 3, strides=2), keras.layers.Conv2DTranspose(1, 4, strides=2)
    before = output_receptive_field(down, [single_pixel(2)], 2, (None, 9, 9, 1), (None, 4, 4, 1))
    after = output_receptive_field(up, [before], 2, (None, 4, 4, 1), (None, 10, 10, 1))
    assert (after.pixels, after.jumps) == ((5, 5), (1.0, 1.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_features_of_each_block_have_its_output_shape_and_share_all_weights(family: str) -> None:
    model = build_small(base(family))
    blocks = [block for block in profile(model).blocks if block.layers > 1]
    network = features(model, [block.name for block in blocks])
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    outputs = network(images)
    assert list(outputs) == [block.name for block in blocks]
    layers = {layer.name for layer in profile(model).layers}
    for block in blocks:
        if block.name not in layers:  # otherwise the name stands for that layer
            assert tuple(outputs[block.name].shape[1:]) == block.output_shape
    assert {id(weight) for weight in network.weights} <= {id(weight) for weight in model.weights}


def test_a_prefix_stands_for_the_last_layer_that_it_matches() -> None:
    model = build("densenet-bc-40", blocks=(2, 10), growth_rate=2)
    network = features(model, ["block1", "block2", "block2_layer1", "transition1_relu"])
    expected = {
        "block1": "block1_layer2_concat",
        "block2": "block2_layer10_concat",
        "block2_layer1": "block2_layer1_concat",
        "transition1_relu": "transition1_relu",
    }
    assert {name: id(network.output[name]) for name in expected} == {
        name: id(model.get_layer(layer).output) for name, layer in expected.items()
    }


def test_an_exact_layer_name_takes_precedence_over_a_prefix() -> None:
    model = build("alexnet-small", dense_width=2)
    assert features(model, ["conv1"]).output["conv1"] is model.get_layer("conv1").output


def test_features_of_a_training_model_are_computed_from_pixels() -> None:
    from keras_cnns import Recipe, load
    from keras_cnns.networks.registry import network_settings
    from keras_cnns.training.job import Job, assemble

    settings = network_settings("densenet-bc-40", {"blocks": (2, 2), "growth_rate": 2})
    dataset = load("digits")
    model = assemble(Job(model="densenet-bc-40", settings=settings, recipe=Recipe()), dataset)
    network = features(model, ["standardize", "block2"])
    assert [tensor.name for tensor in network.inputs] == ["pixels"]
    outputs = network(dataset.splits["train"].images[:3].astype("float32"))
    assert abs(float(np.mean(outputs["standardize"]))) < 0.5
    assert tuple(outputs["block2"].shape) == (3, 4, 4, 8)
    costs = profile(model)
    assert_sums(model, costs)
    assert costs.blocks[0].name == "standardize"


def test_features_do_not_include_auxiliary_classifiers() -> None:
    model = build_small("googlenet-bn", side=96, auxiliary_classifiers=True, auxiliary_after=(3, 4))
    network = features(model, ["inception3a", "logits"])
    assert not [layer.name for layer in network.layers if layer.name.startswith(("auxiliary", "main"))]
    with pytest.raises(SettingError, match="unknown layer 'auxiliary1'"):
        features(model, ["auxiliary1"])


def test_features_of_a_very_deep_network_and_of_a_sequential_model() -> None:
    deep = features(build("resnet-cifar-110", widths=(2, 2, 2), stem_width=2), ["stage3"])
    assert deep.output["stage3"].shape == (None, 8, 8, 2)
    sequential = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="a_conv")])
    assert features(sequential, ["a"]).output["a"].shape == (None, 6, 6, 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["block9"], "unknown layer 'block9'. Did you mean 'block"),
        (["xyzzy"], "unknown layer 'xyzzy'. There are: stem, block1, transition1"),
        (["block"], "unknown layer 'block'. Did you mean 'block"),
        ([], "must be a list of layers"),
        ("block1", "must be a list of layers"),
    ],
)
def test_an_unknown_layer_is_rejected_with_similar_names(names: Any, message: str) -> None:
    with pytest.raises(KerasCnnsError, match=message) as caught:
        features(build("densenet-bc-40", blocks=(2, 2), growth_rate=2), names)
    assert "\n" not in str(caught.value)


def test_features_of_an_object_that_is_not_a_functional_model_are_rejected() -> None:
    with pytest.raises(KerasCnnsError, match="functional Keras model, not int"):
        features(3, ["block1"])


def test_public_functions_are_not_replaced_by_modules_of_the_same_name() -> None:
    assert all(callable(getattr(keras_cnns, name)) for name in ("describe", "features", "profile", "list_models"))


def profile_with_blocks(count: int) -> Profile:
    block = {"activation_bytes": 10, "parameters": 0, "macs": 3}
    blocks = tuple(SimpleNamespace(name=f"block{number}", **block) for number in range(count))
    return SimpleNamespace(blocks=blocks)  # type: ignore[return-value]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_a_plot_of_the_blocks_is_written_atomically(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"blocks.{suffix}"
    plot_blocks(profile(build("lenet5")), path, title="lenet5")
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix.lower()]
    assert path.read_bytes().startswith(start)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("count", [1, 10, 60])
def test_a_plot_has_a_row_for_each_block_from_input_to_output(count: int) -> None:
    figure = draw_blocks(profile_with_blocks(count).blocks, "many blocks")
    panels = figure.axes
    assert len(panels) == 3
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == [f"block{number}" for number in range(count)]
    figure.draw_without_rendering()
    tops = [label.get_window_extent() for label in panels[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(tops)), "names do not overlap"
    assert min(box.x0 for box in tops) >= 0


def test_profile_of_a_name_explains_how_to_build_the_network() -> None:
    with pytest.raises(SettingError, match=r"profile needs a built model, such as keras_cnns\.build\('lenet5'\)"):
        profile("lenet5")
