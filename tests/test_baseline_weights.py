"""Weights from files, and those that Keras publishes, give the outputs of Keras from raw pixels."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import build
from keras_cnns.errors import WeightsError
from keras_cnns.networks.baselines import code
from keras_cnns.networks.baselines.published import find_published_file, load_published
from keras_cnns.networks.registry import find_variant
from keras_cnns.pretrained import references
from keras_cnns.pretrained.baselines import measure_preprocessing
from tests.test_weights import randomise, relative_difference

MOBILE = "keras:MobileNetV3Small"
SMALL: dict[str, Any] = {"alpha": 0.25, "minimalistic": True}
SHAPE = (32, 32, 3)


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def with_logits(name: str, **arguments: Any) -> keras.Model:
    return build(name, classifier_activation=None, **arguments)


def randomise_all(model: keras.Model) -> None:
    """Set all weights to random values, those of `Normalization` to a mean and a variance of pixels."""
    randomise(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.05, 0.06, 0.07]), np.array(0)])
            layer.finalize_state()


def test_the_weights_of_the_function_are_kept(networks: Path) -> None:
    networks.write_text(networks.read_text("utf-8").replace('initializer="ones"', 'initializer="zeros"'), "utf-8")
    images = pixels(2, 16, 16, 1)
    assert not logits(with_logits("nets.py:small", classes=2), images).any()


@pytest.mark.parametrize("suffix", [".weights.h5", pytest.param(".h5", marks=pytest.mark.exhaustive)])
def test_weights_from_a_file_give_the_outputs_of_keras_from_raw_pixels(suffix: str, tmp_path: Path) -> None:
    source = keras.applications.MobileNetV3Small(
        weights=None, input_shape=SHAPE, classes=5, classifier_activation=None, **SMALL
    )
    randomise(source)
    path = tmp_path / f"mobile{suffix}"
    source.save_weights(path) if suffix == ".weights.h5" else source.save(path)
    images = pixels(3, *SHAPE)
    arguments = {"input_shape": SHAPE, "weights": path, **SMALL}
    model = with_logits(MOBILE, classes=5, **arguments)
    assert relative_difference(logits(model, images), logits(source, images)) <= 1e-5
    grey = with_logits(MOBILE, classes=5, **{**arguments, "input_shape": (32, 32, 1)})
    copies = images[..., :1].repeat(3, axis=3)
    assert relative_difference(logits(grey, images[..., :1]), logits(model, copies)) <= 1e-5


OTHERS = ("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "VGG16", "ResNet50V2", "Xception",
    "InceptionV3", "InceptionResNetV2", "NASNetMobile", "MobileNetV2")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [("MobileNet", {"alpha": 0.25}), *(pytest.param(name, {}, marks=pytest.mark.exhaustive) for name in OTHERS)],
)
def test_networks_without_layers_for_preprocessing_have_that_of_their_module(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    function = getattr(keras.applications, name)
    arguments: dict[str, Any] = {"input_shape": (96, 96, 3), "classes": 5, "classifier_activation": None, **settings}
    source = function(weights=None, **arguments)
    randomise_all(source)
    path = tmp_path / "weights.weights.h5"
    source.save_weights(path)
    images = pixels(2, 96, 96, 3)
    preprocess = importlib.import_module(function.__module__).preprocess_input
    model = build(f"keras:{name}", weights=path, **arguments)
    assert relative_difference(logits(model, images), logits(source, preprocess(images.copy()))) <= 1e-5


@pytest.mark.exhaustive
def test_published_files_of_convnext_with_the_names_of_nested_models_are_read(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"input_shape": (32, 32, 3), "classes": 5, "classifier_activation": None}
    source = keras.applications.ConvNeXtTiny(weights=None, **arguments)
    randomise(source)
    source.save(tmp_path / "convnext.h5")
    model = build("keras:ConvNeXtTiny", weights=tmp_path / "convnext.h5", **arguments)
    images = pixels(2, 32, 32, 3)
    assert relative_difference(logits(model, images), logits(source, images)) <= 1e-5


def test_other_classes_keep_the_initial_classifier_and_other_layers_must_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = keras.applications.MobileNetV3Small(weights=None, input_shape=SHAPE, classes=5, **SMALL)
    path = tmp_path / "mobile.weights.h5"
    source.save_weights(path)
    assert build(MOBILE, input_shape=SHAPE, classes=2, weights=path, **SMALL).output_shape == (None, 2)
    assert "initial values: logits" in caplog.text
    with pytest.raises(WeightsError, match=r"keras-MobileNetV3Small: the weights do not fit: [^\n]*instead of"):
        build(MOBILE, input_shape=SHAPE, classes=5, weights=path, **(SMALL | {"alpha": 0.5}))


def test_published_weights_are_those_of_keras_for_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, checksum = find_published_file(MOBILE, {"minimalistic": True})
    assert url.endswith("weights_mobilenet_v3_small_minimalistic_224_1.0_float.h5")
    assert len(checksum) in (32, 64)
    assert "0.75" in find_published_file(MOBILE, {"alpha": 0.75})[0]
    with pytest.raises(WeightsError, match="has no published weights for these settings: ValueError: If imagenet"):
        build(MOBILE, weights="imagenet", **SMALL)
    source = keras.applications.MobileNetV3Small(weights=None, classifier_activation=None, minimalistic=True)
    randomise(source)
    path = tmp_path / "unverified-mobile.h5"
    source.save(path)
    monkeypatch.setattr(references, "download", lambda *_: path)
    monkeypatch.setattr("keras_cnns.pretrained.baselines.is_published", lambda *_: True)
    model = with_logits(MOBILE, weights="imagenet", minimalistic=True)
    images = pixels(1, 224, 224, 3)
    assert relative_difference(logits(model, images), logits(source, images)) <= 1e-5


@pytest.mark.exhaustive
def test_layers_that_only_published_weights_have_are_part_of_the_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EfficientNet rescales images a second time, but only with the weights of ImageNet."""
    source = keras.applications.EfficientNetB0(weights=None)
    randomise_all(source)
    path = tmp_path / "efficientnet.h5"
    source.save(path)
    monkeypatch.setattr(references, "download", lambda *_: path)
    monkeypatch.setattr("keras_cnns.pretrained.baselines.is_published", lambda *_: True)
    family = find_variant("keras:EfficientNetB0")[0]
    assert family.function is not None
    theirs = load_published(family.function, {}, path)
    assert len(theirs.layers) == len(source.layers) + 1
    images = pixels(1, 224, 224, 3)
    model = with_logits("keras:EfficientNetB0", weights="imagenet")
    assert relative_difference(logits(model, images), logits(theirs, images)) <= 1e-5


def test_the_weights_of_a_users_network_need_its_preprocessing(networks: Path) -> None:
    namespace = code.execute(code.read_code(networks))
    source = namespace.small(input_shape=(16, 16, 3), deep=True)
    randomise(source)
    source.save_weights("small.weights.h5")
    images = pixels(2, 16, 16, 3)
    model = build("nets.py:small", input_shape=(16, 16, 3), deep=True, weights="small.weights.h5")
    assert relative_difference(logits(model, images), logits(source, images)) <= 1e-5
    without_rescaling = networks.read_text("utf-8").replace("layers.Rescaling(1 / 127.5, -1.0)(inputs)", "inputs")
    networks.write_text(without_rescaling, "utf-8")
    with pytest.raises(WeightsError, match=r"begin the network with keras\.layers.Rescaling or Normalization"):
        build("nets.py:small", input_shape=(16, 16, 3), deep=True, weights="small.weights.h5")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_only_layers_after_the_last_convolution_need_not_fit(suffix: str, networks: Path) -> None:
    source = code.execute(code.read_code(networks)).squeezed((16, 16, 3), 5)
    randomise(source)
    path = networks.with_name(f"squeezed{suffix}")
    source.save(path)
    arguments: dict[str, Any] = {"input_shape": (16, 16, 3), "weights": path}
    images = pixels(2, 16, 16, 3)
    model = with_logits("nets.py:squeezed", classes=5, **arguments)
    assert relative_difference(logits(model, images), logits(source, images)) <= 1e-5
    assert build("nets.py:squeezed", classes=2, **arguments).output_shape == (None, 2)
    with pytest.raises(WeightsError, match=r"is unexpected|its network is another one"):
        build("nets.py:squeezed", classes=5, squeeze=False, **arguments)
    if suffix == ".keras":
        with pytest.raises(WeightsError, match="has class_name=GlobalMaxPooling2D, and global_average_pooling2d"):
            build("nets.py:squeezed", classes=5, pool="average", **arguments)


def test_scale_offset_and_order_of_channels_are_measured() -> None:
    def bgr(values: np.ndarray) -> np.ndarray:
        return (values[..., ::-1] - [1.0, 2.0, 3.0]) / [4.0, 5.0, 8.0]

    found, order = measure_preprocessing("x", bgr)
    np.testing.assert_allclose(found.scale, [1 / 8, 1 / 5, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(found.offset, [-3 / 8, -2 / 5, -1 / 4], rtol=1e-6)
    assert list(order) == [2, 1, 0]
    with pytest.raises(WeightsError, match="not linear in each channel"):
        measure_preprocessing("x", lambda values: values.mean(axis=-1, keepdims=True).repeat(3, axis=-1))
