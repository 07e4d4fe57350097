"""Networks without their classifier, on tensors and images of any size, as `keras.applications` has them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_cnns import build, count, decode_predictions, features, preprocess_input, profile
from keras_cnns.errors import KerasCnnsError
from keras_cnns.networks.layers import CeilPooling2D
from keras_cnns.networks.operations import pool
from keras_cnns.networks.weights import from_keras, to_state_dict
from keras_cnns.pretrained import applications
from tests.test_weights import randomise, relative_difference, small

ANY_SIZE = (None, None, 3)
RESNET: dict[str, Any] = {"units": (1, 1), "widths": (4, 8), "stem_width": 4}


def images(count: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels)).astype("float32")


def outputs(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    return np.asarray(model(batch, training=False))


@pytest.mark.parametrize(
    ("theirs", "ours", "settings"),
    [
        ("VGG16", "vgg16", {}),
        pytest.param("ResNet50V2", "resnet50-v2-keras", {}, marks=pytest.mark.exhaustive),
        pytest.param("ResNet50", "resnet50-keras", {}, marks=pytest.mark.exhaustive),
        pytest.param("DenseNet121", "densenet121", {"batch_norm_epsilon": 1.001e-5}, marks=pytest.mark.exhaustive),
    ],
)
def test_features_are_those_of_keras_applications(theirs: str, ours: str, settings: dict[str, Any]) -> None:
    source = getattr(keras.applications, theirs)(weights=None, include_top=False, input_shape=ANY_SIZE, pooling="avg")
    randomise(source)
    model = build(ours, include_top=False, input_shape=ANY_SIZE, pooling="avg", **settings)
    from_keras(model, source)
    batch = images(1, 64, 96) / 255
    assert relative_difference(outputs(model, batch), outputs(source, batch)) <= 1e-5


@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_pooling_and_a_tensor_mean_what_they_mean_in_keras_applications(pooling: str | None) -> None:
    pixels = keras.Input((40, 48, 1), name="pixels")
    tensor = keras.layers.Concatenate()([pixels, pixels, pixels])
    model = build("resnet18", input_tensor=tensor, include_top=False, pooling=pooling, **RESNET)
    assert [inputs.name for inputs in model.inputs] == ["pixels"]
    maps = build("resnet18", input_shape=(40, 48, 3), include_top=False, **RESNET)
    maps.set_weights(model.get_weights())
    batch = images(2, 40, 48, 1)
    expected = outputs(maps, batch.repeat(3, axis=3))
    reduce = {None: lambda values: values, "avg": lambda v: v.mean((1, 2)), "max": lambda v: v.max((1, 2))}[pooling]
    np.testing.assert_allclose(outputs(model, batch), reduce(expected), rtol=1e-4, atol=1e-4)


def test_pretrained_weights_and_their_preprocessing_are_loaded_without_the_classifier(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = small("vgg11", classes=3, seed=0)
    safetensors.numpy.save_file(to_state_dict(source), tmp_path / "x.safetensors")
    options: dict[str, Any] = {"weights": tmp_path / "x.safetensors", "widths": (2, 3, 4, 4, 4), "dense_width": 5}
    with caplog.at_level(logging.WARNING):
        model = build("vgg11", include_top=False, input_shape=(None, None, 1), **options)
    assert "initial values" not in caplog.text
    assert not {"fc6", "logits"} & {layer.name for layer in model.layers}
    whole = build("vgg11", classes=3, input_shape=(64, 96, 3), **options)
    grey = images(1, 64, 96, 1)
    expected = features(whole, ["stage5"])(grey.repeat(3, axis=3))["stage5"]
    assert relative_difference(outputs(model, grey), np.asarray(expected)) <= 1e-5


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("nets.py:small", {}),
        pytest.param("keras:MobileNetV3Small", {"alpha": 0.25, "minimalistic": True}, marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.usefixtures("networks")
def test_baselines_have_features_for_images_of_any_size(name: str, settings: dict[str, Any]) -> None:
    model = build(name, include_top=False, input_shape=ANY_SIZE, **settings)
    fixed = build(name, include_top=False, input_shape=(32, 32, 3), **settings)
    fixed.set_weights(model.get_weights())
    batch = images(2, 32, 32)
    np.testing.assert_allclose(outputs(model, batch), outputs(fixed, batch), rtol=1e-4, atol=1e-4)
    assert len(fixed.output_shape) == 4


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(("size", "strides"), [(3, 2), (2, 2)])
def test_pooling_of_any_size_is_that_of_the_same_fixed_size(kind: str, size: int, strides: int, tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 2))
    any_size = keras.Model(inputs, pool(inputs, kind, size, strides, name="pool", rounding="ceil"))
    assert isinstance(any_size.layers[-1], CeilPooling2D)
    any_size.save(tmp_path / "pool.keras")
    loaded = keras.saving.load_model(tmp_path / "pool.keras")
    for height, width in ((1, 2), (3, 4), (5, 8), (9, 10)):
        fixed_inputs = keras.Input((height, width, 2))
        fixed = keras.Model(fixed_inputs, pool(fixed_inputs, kind, size, strides, name="pool", rounding="ceil"))
        batch = images(2, height, width, 2) - 300
        np.testing.assert_allclose(outputs(loaded, batch), outputs(fixed, batch), rtol=1e-6)
        assert loaded.compute_output_shape(batch.shape) == outputs(fixed, batch).shape
    assert loaded.predict(images(2, 9, 10, 2), verbose=0).shape == outputs(loaded, images(2, 9, 10, 2)).shape


def test_a_feature_pyramid_has_the_last_feature_maps_of_each_stage() -> None:
    settings: dict[str, Any] = {"units": (2, 1, 2, 1), "widths": (2, 3, 4, 5), "stem_width": 2}
    backbone = build("resnet50-v1.5", include_top=False, input_shape=ANY_SIZE, **settings)
    pyramid = features(backbone, strides=(4, 8, 16, 32))
    ends = ("stage1_unit2_relu", "stage2_unit1_relu", "stage3_unit2_relu", "stage4_unit1_relu")
    assert [tensor is backbone.get_layer(end).output for tensor, end in zip(pyramid.output.values(), ends, strict=True)]
    found = pyramid(images(1, 64, 96))
    assert {name: tuple(maps.shape) for name, maps in found.items()} == {
        "stride4": (1, 16, 24, 8), "stride8": (1, 8, 12, 12), "stride16": (1, 4, 6, 16), "stride32": (1, 2, 3, 20),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings", "ends"),
    [
        ("densenet121", {"blocks": (2, 2, 2, 2), "growth_rate": 2},
         ("block1_layer2_concat", "block2_layer2_concat", "block3_layer2_concat", "final_relu")),
        ("resnet50-v2", {"units": (1, 1, 1, 1), "widths": (2, 2, 2, 2)},
         ("stage1_unit1_add", "stage2_unit1_add", "stage3_unit1_add", "final_relu")),
        ("vgg16-bn", {"widths": (2, 2, 2, 2, 2), "dense_width": 2},
         ("stage3_conv3_relu", "stage4_conv3_relu", "stage5_conv3_relu", "stage5_pool")),
        ("googlenet", {"width_multiplier": 0.05, "auxiliary_classifiers": True},
         ("stem_lrn2", "inception3b_concat", "inception4e_concat", "inception5b_concat")),
        ("nin-imagenet", {"widths": (2, 2, 2, 2)},
         ("block1_mlp2_relu", "block2_mlp2_relu", "block3_mlp2_relu", "block4_mlp1_relu")),
    ],
)  # fmt: skip
def test_a_pyramid_ends_each_stage_before_the_next_one_begins(
    name: str, settings: dict[str, Any], ends: tuple[str, ...]
) -> None:
    model = build(name, classes=2, **settings)
    pyramid = features(model, strides=(4, 8, 16, 32))
    assert [id(tensor) for tensor in pyramid.output.values()] == [id(model.get_layer(end).output) for end in ends]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "mean", "include_top": False}, "pooling must be 'avg', 'max' or None, not 'mean'"),
        ({"pooling": "avg"}, "pooling='avg' is for networks without a classifier; add include_top=False"),
        ({"input_tensor": np.zeros((1, 32, 32, 3))}, "input_tensor must be a Keras tensor of images, .* not ndarray"),
        ({"input_tensor": keras.Input((32,))}, r"input_tensor must be a Keras tensor .*, not shape \(None, 32\)"),
        ({"input_tensor": keras.Input((32, 32, 3), dtype="uint8")}, "must have floating-point values, not uint8"),
        ({"input_tensor": keras.Input((32, 32, 3)), "input_shape": (64, 64, 3)}, r"input_shape is \(64, 64, 3\), but"),
        ({"input_shape": (None, None, None)}, "resnet18: input_shape must be"),
        ({"input_tensor": keras.Input((32, 32, None))}, "resnet18: input_shape must be"),
        ({"input_shape": (None, 0, 3)}, "resnet18: input_shape must be"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasCnnsError, match=message) as caught:
        build("resnet18", **RESNET, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("vgg16", "vgg16: images of any size do not work: its dense layers need feature maps of one size; give a height"),
     ("keras:VGG16", "keras:VGG16: images of any size do not work: the function fails: .*; give a height and a width"),
     pytest.param("keras:NASNetMobile", "images of any size do not work: its layers depend on the size; give a height",
                  marks=pytest.mark.exhaustive)],
)  # fmt: skip
def test_a_network_that_needs_one_size_refuses_images_of_any_size_in_one_line(name: str, message: str) -> None:
    with pytest.raises(KerasCnnsError, match=message) as caught:
        build(name, input_shape=ANY_SIZE)
    assert "\n" not in str(caught.value)


def test_costs_need_a_fixed_size() -> None:
    with pytest.raises(KerasCnnsError, match=r"costs and training need a fixed height and width; \(None, None, 3\) is"):
        count("resnet18", input_shape=ANY_SIZE)  # type: ignore[arg-type]
    with pytest.raises(KerasCnnsError, match="has no fixed size, and costs depend on it"):
        profile(build("resnet18", input_shape=ANY_SIZE, **RESNET))
    model = build("resnet18", input_shape=(32, 32, 3), include_top=False, **RESNET)
    assert profile(model).total_parameters == model.count_params()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({}, "features needs either names of layers, such as .* or strides"),
     ({"names": ["stem"], "strides": (4,)}, "features needs either names of layers"),
     ({"strides": 4}, r"strides must be a list of whole numbers, such as \(4, 8, 16, 32\), not 4"),
     ({"strides": ()}, "strides must be a list"),
     ({"strides": ("4",)}, "has no feature maps at stride '4'; it has 2, 4, 8"),
     ({"strides": (8, 64)}, "resnet18 has no feature maps at stride 64; it has 2, 4, 8")],
)  # fmt: skip
def test_a_wrong_pyramid_is_reported_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasCnnsError, match=message) as caught:
        features(build("resnet18", input_shape=(32, 32, 3), **RESNET), **arguments)
    assert "\n" not in str(caught.value)


def test_a_network_without_feature_maps_has_no_features() -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(KerasCnnsError, match="has no feature maps at stride 4; it has none at any stride"):
        features(model, strides=(4,))


def test_images_are_not_preprocessed_twice() -> None:
    batch = images(1, 4, 4)
    assert preprocess_input(batch) is batch


def test_predictions_are_decoded_with_given_class_names() -> None:
    predictions = keras.ops.convert_to_tensor([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]])
    decoded = decode_predictions(predictions, top=2, class_names=("cat", "dog", "fox"))
    assert [[name for _, name, _ in row] for row in decoded] == [["dog", "cat"], ["cat", "fox"]]
    assert decoded[0][0] == (1, "dog", pytest.approx(0.7))


def test_predictions_for_imagenet_are_decoded_with_the_verified_file_of_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = {str(number): [f"n{number:08}", f"class {number}"] for number in range(1000)}
    (tmp_path / "index.json").write_text(json.dumps(index), "utf-8")
    asked: list[str] = []

    def download(url: str, checksum: str, **_: Any) -> Path:
        asked.extend((url, checksum))
        return tmp_path / "index.json"

    monkeypatch.setattr(applications.downloads, "download", download)
    monkeypatch.setattr(keras.src.applications.imagenet_utils, "CLASS_INDEX", None)
    predictions = np.zeros((1, 1000))
    predictions[0, [3, 9]] = 0.7, 0.3
    assert decode_predictions(predictions, top=2) == [[("n00000003", "class 3", 0.7), ("n00000009", "class 9", 0.3)]]
    assert asked[0].endswith("/imagenet_class_index.json")
    assert len(asked[1]) == 32


def test_without_a_connection_the_class_names_are_asked_for_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_CNNS_OFFLINE", "1")
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path))
    monkeypatch.setattr(keras.src.applications.imagenet_utils, "CLASS_INDEX", None)
    with pytest.raises(KerasCnnsError, match=r"imagenet_class_index.json is not in the cache, .*, or give class_names"):
        decode_predictions(np.zeros((1, 1000)))


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [(np.zeros(3), {}, r"must have the shape \(images, classes\), not \(3,\)"),
     (np.zeros((1, 7)), {}, "has 7 classes, not the 1,000 of ImageNet; give their class_names"),
     (np.zeros((1, 7)), {"class_names": ["a"]}, "class_names must be a list of 7 names"),
     (np.zeros((1, 3)), {"class_names": "abc"}, "class_names must be a list of 3 names"),
     (np.zeros((1, 1)), {"class_names": ["a"], "top": 0}, "top must be ")],
)  # fmt: skip
def test_predictions_of_other_classes_are_reported_in_one_line(
    predictions: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(KerasCnnsError, match=message) as caught:
        decode_predictions(predictions, **options)
    assert "\n" not in str(caught.value)
