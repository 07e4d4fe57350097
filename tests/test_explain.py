"""Explanations: Grad-CAM and Grad-CAM++ equal their papers, find a planted signal and depend on the weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from saved_networks import save_run

from keras_cnns import Dataset, explain
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.grad_cam import METHODS, compute_heatmaps, make_grad_cam_model
from keras_cnns.evaluation.sanity_check import check_heatmaps
from keras_cnns.networks.registry import all_families
from keras_cnns.testing.small_networks import build_small, distinct_variants, make_images, small_side
from keras_cnns.tracking import Store
from tests.progress_lines import without_progress

FAMILIES = tuple(all_families().values())
BASES = [family.search.base for family in FAMILIES]
OTHERS = [name for name in distinct_variants(FAMILIES) if name not in BASES]


@pytest.mark.parametrize("name", [*BASES, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS)])
def test_every_network_has_a_heatmap_larger_than_one_pixel(name: str) -> None:
    network = build_small(name, classifier_activation="softmax")
    model = make_grad_cam_model(network)
    before = [weights.copy() for weights in network.get_weights()]
    for method in METHODS:
        found = compute_heatmaps(model, make_images(2, side=small_side(name)), np.array([0, 2]), method=method)
        assert found.shape[0] == 2
        assert min(found.shape[1:]) > 1
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert set(found.max(axis=(1, 2))) <= {0.0, 1.0}
    assert all((one == other).all() for one, other in zip(before, network.get_weights(), strict=True))


def test_auxiliary_classifiers_are_left_out() -> None:
    heads = {"auxiliary_classifiers": True, "modules": (1, 2, 1), "auxiliary_after": (2, 3)}
    model = make_grad_cam_model(build_small("googlenet", classifier_activation="softmax", side=96, **heads))
    assert model.layer == "inception5a_concat"
    assert not any("auxiliary" in layer.name for layer in model.layers)


@pytest.mark.parametrize(("name", "layer"), [("resnet-cifar-20", "stage3_unit2_relu"), ("densenet-40", "final_relu")])
def test_the_default_layer_is_the_last_one_that_no_connection_bypasses(name: str, layer: str) -> None:
    """The last layer in the branch of a residual unit has feature maps too, but the shortcut bypasses it."""
    assert make_grad_cam_model(build_small(name, classifier_activation="softmax")).layer == layer


def tiny() -> keras.Model:
    """Build a network whose logits are linear in the feature maps of one convolution."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((4, 4, 1))
    features = keras.layers.Conv2D(3, 2, activation="relu", bias_initializer="ones", name="conv")(pixels)
    logits = keras.layers.Dense(2, name="dense")(keras.layers.Flatten()(features))
    return keras.Model(pixels, keras.layers.Activation("softmax")(logits))


def tiny_feature_maps(network: keras.Model, pixels: np.ndarray) -> np.ndarray:
    kernel, bias = network.get_layer("conv").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], (2, 2))
    return np.maximum(np.einsum("ijab,abk->ijk", windows, kernel[:, :, 0]) + bias, 0).astype(np.float64)


def normalise(heatmap: np.ndarray) -> np.ndarray:
    positive = np.maximum(heatmap, 0)
    return positive / positive.max()


PIXELS = np.random.default_rng(0).uniform(0, 2, (4, 4, 1)).astype("float32")


@pytest.mark.parametrize("label", [0, 1])
def test_grad_cam_by_hand(label: int) -> None:
    network = tiny()
    feature_maps = tiny_feature_maps(network, PIXELS)
    gradients = network.get_layer("dense").get_weights()[0][:, label].reshape(3, 3, 3)
    alpha = gradients.mean(axis=(0, 1))
    expected = sum(alpha[k] * feature_maps[:, :, k] for k in range(3))
    found = compute_heatmaps(make_grad_cam_model(network), PIXELS[np.newaxis], np.array([label]))
    np.testing.assert_allclose(found[0], normalise(expected), atol=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_grad_cam_plus_plus_by_third_derivatives(label: int) -> None:
    """Equation 10 with the derivatives of exp(logit) themselves, for one value of the feature maps at a time."""
    network = tiny()
    feature_maps = tiny_feature_maps(network, PIXELS)
    kernel, bias = network.get_layer("dense").get_weights()
    weights = np.zeros(3)
    for i, j, k in np.ndindex(3, 3, 3):
        value = tf.Variable(feature_maps[i, j, k], dtype=tf.float64)
        with tf.GradientTape() as third, tf.GradientTape() as second, tf.GradientTape() as first:
            flat = tf.tensor_scatter_nd_update(tf.constant(feature_maps), [[i, j, k]], [value])
            score = tf.exp(tf.reduce_sum(tf.reshape(flat, [-1]) * kernel[:, label]) + bias[label])
            gradient = first.gradient(score, value)
            second_derivative = second.gradient(gradient, value)
        third_derivative = third.gradient(second_derivative, value)
        alpha = second_derivative / (2 * second_derivative + feature_maps[:, :, k].sum() * third_derivative)
        weights[k] += float(alpha * tf.nn.relu(gradient))
    found = compute_heatmaps(make_grad_cam_model(network), PIXELS[np.newaxis], np.array([label]), method="grad-cam++")
    np.testing.assert_allclose(found[0], normalise(feature_maps @ weights), atol=1e-5)


def draw_squares(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw noisy images, half of them with a bright square; also return their labels and the corners."""
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
    """A run that classifies images with and without a square."""
    folder = tmp_path_factory.mktemp("explained")
    parts = {
        name: draw_squares(count, seed) for seed, (name, count) in enumerate({"train": 300, "validation": 60}.items())
    }
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
    return Made(folder, uri, save_run(Store(uri), network, data, name="squares"), network)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the store, and four images with a square."""
    shutil.copytree(made.folder / "mlartifacts", tmp_path / "mlartifacts")
    shutil.copyfile(made.folder / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    pixels, _, _ = draw_squares(8, 9)
    for index in (1, 3, 5, 7):
        Path(f"images/{index % 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index, ..., 0]).save(f"images/{index % 4}/n{index} [$name$].png")
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_the_heatmap_peaks_in_the_square(method: str, made: Made) -> None:
    pixels, labels, corners = draw_squares(40, 9)
    pixels, corners = pixels[labels == 1], corners[labels == 1]
    found = compute_heatmaps(make_grad_cam_model(made.network), pixels, np.ones(len(pixels), int), method=method)
    step = 24 / found.shape[1]
    for heatmap, (row, column) in zip(found, corners, strict=True):
        peak = (np.array(np.unravel_index(heatmap.argmax(), heatmap.shape)) + 0.5) * step
        assert row - step <= peak[0] <= row + 6 + step
        assert column - step <= peak[1] <= column + 6 + step


def test_the_sanity_check_randomises_and_restores_the_weights(made: Made) -> None:
    pixels, _, _ = draw_squares(6, 9)
    model, before = make_grad_cam_model(made.network), made.network.get_weights()
    check = check_heatmaps(model, pixels, np.ones(6, int), method="grad-cam", seed=1)
    assert [stage.layers for stage in check.stages] == [1, 2, 3]
    assert check.stages[-1].correlation is not None
    assert check == check_heatmaps(model, pixels, np.ones(6, int), method="grad-cam", seed=1)
    assert all((one == other).all() for one, other in zip(before, made.network.get_weights(), strict=True))


def test_heatmaps_that_do_not_depend_on_the_weights_are_reported(made: Made) -> None:
    """If all weights of an array are equal, permuting them does not change the network."""
    network = keras.models.clone_model(made.network)
    network.set_weights([np.full_like(weights, 0.1) for weights in network.get_weights()])
    check = check_heatmaps(make_grad_cam_model(network), draw_squares(4, 9)[0], np.ones(4, int), method="grad-cam")
    assert check.stages[-1].correlation == pytest.approx(1)
    assert "rank correlation 1.00" in check.warning


def test_explanations_are_saved_as_plots_and_printed_as_json(
    made: Made, fresh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(("explain", "squares", "images", "--output", "new/maps", "--check", "--class", "square")) == 0
    out, err = capfd.readouterr()
    assert without_progress(err) == ""
    for part in ("grad-cam at layer", "square", "n1 [$name$].png", "rank correlation", "3 of 3", "overview.png"):
        assert part in out
    plots = sorted(Path("new/maps").iterdir())
    assert [path.name for path in plots] == [
        "001-n1 [$name$].png", "002-n5 [$name$].png", "003-n3 [$name$].png", "004-n7 [$name$].png", "overview.png"
    ]  # fmt: skip
    for path in plots:
        with Image.open(path) as plot:
            assert min(plot.size) > 100
    command = ("explain", made.id[:8], "images/1", "--output", "more", "--method", "grad-cam++", "--json")
    assert main(command) == 0
    found = json.loads(capfd.readouterr().out)
    assert [image["class"] for image in found["images"]] == ["square", "square"]
    assert all(image["probability"] > 0.5 and Path(image["heatmap"]).is_file() for image in found["images"])
    assert (found["method"], found["sanity_check"], found["grid"]) == ("grad-cam++", None, [9, 9])
    explained = explain("squares", [fresh / "images"])
    assert explained.heatmaps.shape == (4, 24, 24)
    assert 0 <= explained.heatmaps.min() <= explained.heatmaps.max() <= 1


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--class", "squares"), ["squares", "empty, square", "Did you mean 'square'?"]),
        (("--method", "gradcam"), ["gradcam", "grad-cam or grad-cam++"]),
        (("--layer", "conv"), ["--layer conv", "Did you mean"]),
        (("--output", "mlflow.db"), ["mlflow.db", "use a writable folder"]),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    options: tuple[str, ...], parts: list[str], fresh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(("explain", "squares", "images", "--output", str(fresh / "maps"), *options)) == 2
    out, err = capfd.readouterr()
    err = without_progress(err)
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("keras-cnns: ")
    for part in parts:
        assert part in err
    assert not Path("maps").exists(), "no folder is created"


def test_networks_without_feature_maps_or_logits_are_rejected() -> None:
    pixels = keras.Input((4, 4, 1))
    flat = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(pixels))
    with pytest.raises(EvaluationError, match="no layer of the network has feature maps"):
        make_grad_cam_model(keras.Model(pixels, flat))
    features = keras.layers.Conv2D(2, 2)(pixels)
    with pytest.raises(EvaluationError, match="softmax or sigmoid"):
        make_grad_cam_model(
            keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(features)))
        )
