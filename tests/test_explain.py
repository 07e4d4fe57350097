"""Maps are what their papers say, lie where a signal was planted, and change when the weights are random."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from kept import keep
from networks import DISTINCT, images, side_for, small
from PIL import Image

from keras_cnns import Dataset, explain
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.class_maps import METHODS, class_maps, open_at
from keras_cnns.evaluation.randomization import check_maps
from keras_cnns.tracking import Store


@pytest.mark.parametrize("name", DISTINCT)
def test_every_network_has_a_map_of_several_places(name: str) -> None:
    network = small(name, classifier_activation="softmax")
    seeing = open_at(network)
    before = [weights.copy() for weights in network.get_weights()]
    for method in METHODS:
        found = class_maps(seeing, images(2, side=side_for(name)), np.array([0, 2]), method=method)
        assert found.shape[0] == 2
        assert min(found.shape[1:]) > 1
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert set(found.max(axis=(1, 2))) <= {0.0, 1.0}
    assert all((one == other).all() for one, other in zip(before, network.get_weights(), strict=True))


def test_auxiliary_classifiers_are_left_out() -> None:
    heads = {"auxiliary_classifiers": True, "modules": (1, 2, 1), "auxiliary_after": (2, 3)}
    seeing = open_at(small("googlenet", classifier_activation="softmax", side=96, **heads))
    assert seeing.layer == "inception5a_concat"
    assert not any("auxiliary" in layer.name for layer in seeing.layers)


@pytest.mark.parametrize(("name", "layer"), [("resnet-cifar-20", "stage3_unit2_relu"), ("densenet-40", "final_relu")])
def test_the_layer_is_the_last_one_that_nothing_goes_around(name: str, layer: str) -> None:
    """The last layer in the branch of a residual unit has maps too, but the shortcut goes around it."""
    assert open_at(small(name, classifier_activation="softmax")).layer == layer


def tiny() -> keras.Model:
    """Scores that are linear in the maps of one convolution."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((4, 4, 1))
    maps = keras.layers.Conv2D(3, 2, activation="relu", bias_initializer="ones", name="conv")(pixels)
    scores = keras.layers.Dense(2, name="dense")(keras.layers.Flatten()(maps))
    return keras.Model(pixels, keras.layers.Activation("softmax")(scores))


def tiny_maps(network: keras.Model, pixels: np.ndarray) -> np.ndarray:
    kernel, bias = network.get_layer("conv").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], (2, 2))
    return np.maximum(np.einsum("ijab,abk->ijk", windows, kernel[:, :, 0]) + bias, 0).astype(np.float64)


def scaled(found: np.ndarray) -> np.ndarray:
    positive = np.maximum(found, 0)
    return positive / positive.max()


PIXELS = np.random.default_rng(0).uniform(0, 2, (4, 4, 1)).astype("float32")


@pytest.mark.parametrize("label", [0, 1])
def test_grad_cam_by_hand(label: int) -> None:
    network = tiny()
    maps = tiny_maps(network, PIXELS)
    by_value = network.get_layer("dense").get_weights()[0][:, label].reshape(3, 3, 3)
    alpha = by_value.mean(axis=(0, 1))
    expected = sum(alpha[k] * maps[:, :, k] for k in range(3))
    found = class_maps(open_at(network), PIXELS[np.newaxis], np.array([label]))
    np.testing.assert_allclose(found[0], scaled(expected), atol=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_grad_cam_plus_plus_by_third_derivatives(label: int) -> None:
    """Equation 10 with the derivatives of exp(score) themselves, one value of the maps at a time."""
    network = tiny()
    maps = tiny_maps(network, PIXELS)
    kernel, bias = network.get_layer("dense").get_weights()
    weights = np.zeros(3)
    for i, j, k in np.ndindex(3, 3, 3):
        value = tf.Variable(maps[i, j, k], dtype=tf.float64)
        with tf.GradientTape() as third, tf.GradientTape() as second, tf.GradientTape() as first:
            flat = tf.tensor_scatter_nd_update(tf.constant(maps), [[i, j, k]], [value])
            score = tf.exp(tf.reduce_sum(tf.reshape(flat, [-1]) * kernel[:, label]) + bias[label])
            by_one = first.gradient(score, value)
            by_two = second.gradient(by_one, value)
        by_three = third.gradient(by_two, value)
        alpha = by_two / (2 * by_two + maps[:, :, k].sum() * by_three)
        weights[k] += float(alpha * tf.nn.relu(by_one))
    found = class_maps(open_at(network), PIXELS[np.newaxis], np.array([label]), method="grad-cam++")
    np.testing.assert_allclose(found[0], scaled(maps @ weights), atol=1e-5)


def planted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy images, half of them with a bright square; also where its corner is."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 120, (count, 24, 24, 1)).astype(np.uint8)
    corners, labels = generator.integers(0, 18, (count, 2)), np.arange(count) % 2
    for image, (row, column), label in zip(pixels, corners, labels, strict=True):
        if label:
            image[row : row + 6, column : column + 6] = 230
    return pixels, labels, corners


@dataclass(frozen=True)
class Made:
    folder: Path
    uri: str
    id: str
    network: keras.Model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run that tells images with a square from those without."""
    folder = tmp_path_factory.mktemp("explained")
    parts = {name: planted(count, seed) for seed, (name, count) in enumerate({"train": 300, "validation": 60}.items())}
    data = Dataset(name="squares", source="squares", class_names=("empty", "square"),
                   splits={name: Split(pixels, labels) for name, (pixels, labels, _) in parts.items()})  # fmt: skip
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential([
        keras.Input((24, 24, 1)), layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(2), layers.Conv2D(8, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(2), layers.Activation("softmax"),
    ])  # fmt: skip
    network.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    train = data.splits["train"]
    network.fit(train.images.astype("float32"), train.labels, epochs=8, batch_size=15, verbose=0)
    uri = f"sqlite:///{folder}/mlflow.db"
    return Made(folder, uri, keep(Store(uri), network, data, name="squares"), network)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the store, and images: four with a square."""
    shutil.copytree(made.folder / "mlartifacts", tmp_path / "mlartifacts")
    shutil.copyfile(made.folder / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    pixels, _, _ = planted(8, 9)
    for place in (1, 3, 5, 7):
        Path(f"images/{place % 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[place, ..., 0]).save(f"images/{place % 4}/n{place} [$name$].png")
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_the_map_peaks_in_the_planted_square(method: str, made: Made) -> None:
    pixels, labels, corners = planted(40, 9)
    pixels, corners = pixels[labels == 1], corners[labels == 1]
    found = class_maps(open_at(made.network), pixels, np.ones(len(pixels), int), method=method)
    step = 24 / found.shape[1]
    for place, (row, column) in zip(found, corners, strict=True):
        peak = (np.array(np.unravel_index(place.argmax(), place.shape)) + 0.5) * step
        assert row - step <= peak[0] <= row + 6 + step
        assert column - step <= peak[1] <= column + 6 + step


def test_random_weights_give_other_maps_and_are_taken_back(made: Made) -> None:
    pixels, _, _ = planted(6, 9)
    seeing, before = open_at(made.network), made.network.get_weights()
    check = check_maps(seeing, pixels, np.ones(6, int), method="grad-cam", seed=1)
    assert [stage.layers for stage in check.stages] == [1, 2, 3]
    assert check.all_layers == 3
    assert check.stages[-1].correlation is not None
    assert check == check_maps(seeing, pixels, np.ones(6, int), method="grad-cam", seed=1)
    assert all((one == other).all() for one, other in zip(before, made.network.get_weights(), strict=True))


def test_a_network_that_has_learned_nothing_is_told(made: Made) -> None:
    """All weights of an array equal: another order of them is the same network."""
    network = keras.models.clone_model(made.network)
    network.set_weights([np.full_like(weights, 0.1) for weights in network.get_weights()])
    check = check_maps(open_at(network), planted(4, 9)[0], np.ones(4, int), method="grad-cam")
    assert check.stages[-1].correlation == pytest.approx(1)
    assert "rank correlation 1.00" in check.warning


def test_images_are_explained_as_pictures_and_json(made: Made, fresh: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(("explain", "squares", "images", "--output", "new/maps", "--check", "--class", "square")) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for part in ("grad-cam at layer", "square", "n1 [$name$].png", "rank correlation", "3 of 3", "overview.png"):
        assert part in out
    pictures = sorted(Path("new/maps").iterdir())
    assert [path.name for path in pictures] == [
        "001-n1 [$name$].png", "002-n5 [$name$].png", "003-n3 [$name$].png", "004-n7 [$name$].png", "overview.png"
    ]  # fmt: skip
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    command = ("explain", made.id[:8], "images/1", "--output", "more", "--method", "grad-cam++", "--json")
    assert main(command) == 0
    found = json.loads(capfd.readouterr().out)
    assert [image["class"] for image in found["images"]] == ["square", "square"]
    assert all(image["probability"] > 0.5 and Path(image["picture"]).is_file() for image in found["images"])
    assert (found["method"], found["check"], found["grid"]) == ("grad-cam++", None, [9, 9])
    explained = explain("squares", [fresh / "images"])
    assert explained.maps.shape == (4, 24, 24)
    assert 0 <= explained.maps.min() <= explained.maps.max() <= 1


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--class", "squares"), ["squares", "empty, square", "Did you mean 'square'?"]),
        (("--method", "gradcam"), ["gradcam", "grad-cam or grad-cam++"]),
        (("--layer", "conv"), ["--layer conv", "Did you mean"]),
        (("--output", "mlflow.db"), ["mlflow.db", "name a folder"]),
    ],
)
def test_a_mistake_is_one_line(
    options: tuple[str, ...], parts: list[str], fresh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(("explain", "squares", "images", "--output", str(fresh / "maps"), *options)) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("keras-cnns: ")
    for part in parts:
        assert part in err
    assert not Path("maps").exists(), "nothing is left behind"


def test_a_network_without_scores_or_maps_is_told() -> None:
    pixels = keras.Input((4, 4, 1))
    flat = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(pixels))
    with pytest.raises(EvaluationError, match="no layer of the network has maps"):
        open_at(keras.Model(pixels, flat))
    maps = keras.layers.Conv2D(2, 2)(pixels)
    with pytest.raises(EvaluationError, match="softmax or sigmoid"):
        open_at(keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(maps))))
