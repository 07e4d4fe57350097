"""Networks begin with pretrained weights from any source, for raw pixels, other channels and other classes."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_cnns import Dataset, Recipe, build, cross_validate, train
from keras_cnns.cli import main
from keras_cnns.errors import ResumeError, SettingError, WeightsError
from keras_cnns.networks import registry
from keras_cnns.networks.heads import Head
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.pretrained import CAFFE, SYMMETRIC, TORCH, Pretrained
from keras_cnns.networks.registry import all_families
from keras_cnns.networks.weights import to_state_dict
from keras_cnns.networks.weights.channels import adapt_channels
from keras_cnns.pretrained import references
from keras_cnns.pretrained.references import find_published, find_weights
from keras_cnns.tracking import Store
from tests.pytorch_files import save_pytorch
from tests.test_weights import SMALL as SMALL_NETWORKS
from tests.test_weights import randomise, relative_difference

SMALL = {"units": (1, 1), "widths": (4, 8), "stem_width": 4}
SHAPE = (32, 32, 3)
ENTRIES = [entry for family in all_families().values() for entry in family.pretrained]
TORCHVISION = [entry for entry in ENTRIES if entry.name.startswith("torchvision")]
KERAS = [entry for entry in ENTRIES if entry.name.startswith("keras")]


def keras_parameters() -> list[Any]:
    """Return the entries of Keras; one of them is tried by `make test`."""
    return [
        pytest.param(
            entry,
            id=entry.variant,
            marks=[] if entry.variant == "resnet50-keras" else [pytest.mark.exhaustive],
        )
        for entry in KERAS
    ]


def torchvision_parameters() -> list[Any]:
    """Return the entries of torchvision in full size, and small networks in their place for `make test`."""
    full = [pytest.param(entry, {}, id=entry.variant, marks=[pytest.mark.exhaustive]) for entry in TORCHVISION]
    reduced = {entry.variant: entry for entry in TORCHVISION if entry.variant in SMALL_NETWORKS}
    return full + [pytest.param(entry, SMALL_NETWORKS[name], id=f"small {name}") for name, entry in reduced.items()]


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    """A file with the weights of a small ResNet for five classes, in torchvision's layout."""
    model = registry.build("resnet18", input_shape=SHAPE, classes=5, **SMALL)
    randomise(model)
    path = tmp_path / "resnet.safetensors"
    safetensors.numpy.save_file(to_state_dict(model), path)
    return path


@pytest.mark.parametrize(("entry", "settings"), torchvision_parameters())
def test_a_file_gives_the_logits_of_torchvision_from_raw_pixels(
    entry: Pretrained, settings: dict[str, Any], tmp_path: Path
) -> None:
    """`test_weights` shows that networks with a state dict give the outputs of torchvision."""
    side = 96 if entry.variant.startswith("alexnet") else 64
    arguments: dict[str, Any] = {
        "classes": 7, "classifier_activation": None, "auxiliary_classifiers": False, **settings,
        "input_shape": (side, side, 3),
    }  # fmt: skip
    if entry.variant != "googlenet-torchvision":
        del arguments["auxiliary_classifiers"]
    plain = registry.build(entry.variant, **arguments)
    randomise(plain)
    path = tmp_path / "weights.pth"
    save_pytorch(to_state_dict(plain), path)
    images = pixels(2, side, side, 3)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    standardized = (images / 255 - mean) / deviation
    if entry.variant == "googlenet-torchvision":
        standardized = images / 127.5 - 1
    expected = logits(plain, standardized.astype("float32"))
    assert relative_difference(logits(build(entry.variant, weights=path, **arguments), images), expected) <= 1e-5


@pytest.mark.parametrize("entry", keras_parameters())
def test_a_file_gives_the_logits_of_keras_applications_from_raw_pixels(entry: Pretrained, tmp_path: Path) -> None:
    name = entry.url.rpartition("/")[2].partition("_")[0]
    model_name = {"vgg": "VGG", "resnet": "ResNet", "densenet": "DenseNet"}
    class_name = next(name.replace(ours, theirs, 1) for ours, theirs in model_name.items() if name.startswith(ours))
    function = getattr(keras.applications, class_name.replace("v2", "V2"))
    arguments: dict[str, Any] = {"input_shape": (64, 64, 3), "classes": 7, "classifier_activation": None}
    source = function(weights=None, **arguments)
    randomise(source)
    path = tmp_path / "weights.weights.h5"
    source.save_weights(path)
    images = pixels(2, 64, 64, 3)
    module = importlib.import_module(function.__module__.replace("keras.src", "keras"))
    expected = logits(source, module.preprocess_input(images.copy()))
    assert relative_difference(logits(build(entry.variant, weights=path, **arguments), images), expected) <= 1e-5


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("preprocessing", [TORCH, SYMMETRIC, CAFFE], ids=["torch", "symmetric", "caffe"])
def test_grey_images_give_what_their_rgb_copies_give(
    preprocessing: Preprocessing, channels: int, resnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_weights(resnet, "resnet18")
    monkeypatch.setattr(references, "from_file", lambda *_: replace(found, preprocessing=preprocessing))
    arguments: dict[str, Any] = {"classes": 5, "classifier_activation": None, "weights": resnet, **SMALL}
    grey = pixels(3, 32, 32, 1)
    of_rgb = logits(build("resnet18", input_shape=SHAPE, **arguments), grey.repeat(3, axis=3))
    model = build("resnet18", input_shape=(32, 32, channels), **arguments)
    assert relative_difference(logits(model, grey.repeat(channels, axis=3)), of_rgb) <= 1e-5
    assert model.input_shape == (None, 32, 32, channels)


def test_a_kernel_that_was_adapted_can_be_adapted_again() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 2))
    grey, of_grey = adapt_channels(kernel, TORCH, 1)
    assert of_grey.input_channels == 2
    again, of_colour = adapt_channels(grey, of_grey, 3)
    image = np.full(3, 100.0) * of_colour.scale + of_colour.offset
    standardized = np.full(3, 100.0) * TORCH.scale + TORCH.offset
    np.testing.assert_allclose(
        np.append(image, 1.0) @ again.sum(axis=(0, 1)), standardized @ kernel.sum(axis=(0, 1)), rtol=1e-6
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_the_same_weights_in_any_file_give_the_same_network(suffix: str, resnet: Path) -> None:
    state = safetensors.numpy.load_file(resnet)
    path = resnet.with_suffix(suffix)
    if suffix == ".npz":
        np.savez(path, **state)
    elif suffix == ".pth":
        save_pytorch({"state_dict": state, "epoch": 1}, path)
    first, second = (build("resnet18", input_shape=SHAPE, classes=5, weights=file, **SMALL) for file in (resnet, path))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_files_of_keras_are_read(suffix: str, tmp_path: Path) -> None:
    source = keras.applications.VGG16(weights=None, include_top=False, input_shape=SHAPE)
    randomise(source)
    path = tmp_path / f"vgg{suffix}"
    if suffix == ".weights.h5":
        source.save_weights(path)
    else:
        source.save(path)
    model = build("vgg16", input_shape=SHAPE, classes=3, classifier="global_average", weights=path)
    kernel = source.get_layer("block1_conv1").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("stage1_conv1").get_weights()[0], kernel[:, :, ::-1])
    deepest = source.get_layer("block5_conv3").get_weights()
    for one, other in zip(model.get_layer("stage5_conv3").get_weights(), deepest, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_with_links_to_other_files_is_refused(tmp_path: Path) -> None:
    import h5py

    source = registry.build("vgg-small", classes=3)
    path = tmp_path / "x.weights.h5"
    source.save_weights(path)
    with h5py.File(path, "a") as file:
        layer = file["layers/conv2d/vars"]
        del layer["0"]
        layer["0"] = h5py.ExternalLink("/etc/hostname", "x")
    with pytest.raises(WeightsError, match=r"x\.weights\.h5: it has no array [^\n]*"):
        build("vgg-small", classes=3, weights=path)


def test_the_head_keeps_its_initial_values_where_the_weights_do_not_fit(
    resnet: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build("resnet18", input_shape=SHAPE, classes=2, weights=resnet, **SMALL)
    assert model.output_shape == (None, 2)
    assert "initial values: logits" in caplog.text
    assert f"weights {resnet}" in caplog.text
    assert "licence unknown" in caplog.text


@pytest.mark.parametrize("settings", [{"classifier": "global_average"}, {"dense_width": 6}, {}], ids=str)
def test_vgg_without_its_dense_layers(settings: dict[str, Any], tmp_path: Path) -> None:
    small: dict[str, Any] = {"widths": (2, 3, 4, 4, 4)}
    source = registry.build("vgg11", input_shape=SHAPE, classes=5, dense_width=5, **small)
    randomise(source)
    for layout in ("torchvision", "timm"):
        path = tmp_path / f"{layout}.safetensors"
        safetensors.numpy.save_file(to_state_dict(source, layout), path)
        model = build(
            "vgg11", input_shape=(64, 64, 3), classes=2, weights=path, **small, **{"dense_width": 5, **settings}
        )
        name = "stage5_conv2"
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], source.get_layer(name).get_weights()[0])


def test_other_layers_must_fit_and_nothing_is_half_loaded(resnet: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet18: the weights do not fit: [^\n]*is missing"):
        build("resnet18", input_shape=SHAPE, weights=resnet, **(SMALL | {"units": (2, 1)}))
    state = safetensors.numpy.load_file(resnet)
    del state["layer1.0.bn1.running_mean"]
    safetensors.numpy.save_file(state, resnet)
    with pytest.raises(WeightsError, match=r"layer1\.0\.bn1\.running_mean \(4,\) is missing"):
        build("resnet18", input_shape=SHAPE, weights=resnet, **SMALL)


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [
        ("resnet50", "imagenet", r"resnet50 has no published weights 'imagenet'; .*: resnet50-keras, resnet50-v1\.5"),
        ("googlenet", "imagenet", "differences: googlenet-torchvision"),
        ("resnet50-v1.5", "torchvision:IMAGENET1K_V3", "there are imagenet, torchvision:IMAGENET1K_V1, torchvision:IM"),
        ("resnet50-keras", "torchvision:IMAGENET1K_V1", "there are imagenet, keras:imagenet"),
        ("lenet5", "imagenet", "lenet5 has no published weights 'imagenet'"),
        ("resnet18", "nothing.pth", "nothing.pth: the file does not exist"),
        ("resnet18", "imagnet", "unknown weights 'imagnet': give imagenet, .*no run"),
        ("resnet18", "models:/nothing@champion", "unknown weights 'models:/nothing@champion'"),
        ("resnet18", "hf://nothing", "'nothing' is not a repository; write hf://ORGANISATION/NAME"),
    ],
)
def test_weights_that_do_not_exist_are_reported_in_one_line(
    name: str, reference: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=message) as caught:
        build(name, weights=reference)
    assert "\n" not in str(caught.value)


def test_a_run_with_other_strides_is_another_network(tmp_path: Path) -> None:
    settings = {**SMALL, "units": (1, 1)}
    arguments: dict[str, Any] = {"input_shape": SHAPE, "weights": tmp_path / "run.keras", **settings}
    registry.build_for_pixels("resnet50", TORCH, SHAPE, classes=5, head=Head(), settings=settings).save(
        tmp_path / "run.keras"
    )
    assert build("resnet50", classes=2, classifier_activation=None, **arguments).output_shape == (None, 2)
    with pytest.raises(WeightsError, match=r"its network is another one: stage2_unit1_layer1_conv has "):
        build("resnet50-v1.5", classes=5, **arguments)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.variant} {entry.name}")
def test_published_weights_belong_to_a_variant_and_have_a_checksum(entry: Pretrained) -> None:
    assert find_published(entry.name, entry.variant) is entry
    assert find_published("imagenet", entry.variant).variant == entry.variant
    assert set(entry.checksum) <= set("0123456789abcdef")
    assert len(entry.checksum) in (8, 32, 64)
    assert entry.url.startswith("https://")
    assert entry.licence


class Handler(BaseHTTPRequestHandler):
    """Serves files of a folder, and answers as told by the beginning of the path."""

    folder: Path
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/file/{name}")
            self.end_headers()
            return
        if kind == "missing":
            self.send_error(404)
            return
        content = (self.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if kind == "truncated" else content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server(resnet: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Return a function that publishes the file, given how the server answers and the checksum."""
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(resnet.parent / "cache"))
    handler = type("Own", (Handler,), {"folder": resnet.parent, "requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()

        def publish(kind: str, checksum: str = "") -> list[str]:
            correct = hashlib.sha256(resnet.read_bytes()).hexdigest()[:8]
            url = f"http://127.0.0.1:{running.server_port}/{kind}/{resnet.name}"
            entry = replace(find_published("imagenet", "resnet18"), url=url, checksum=checksum or correct)
            monkeypatch.setattr(references, "find_published", lambda *_: entry)
            found: list[str] = handler.requests
            return found

        yield publish
        running.shutdown()


def download_and_build() -> keras.Model:
    return build("resnet18", input_shape=SHAPE, classes=5, weights="imagenet", **SMALL)


@pytest.mark.parametrize("kind", ["file", "redirect"])
def test_published_weights_are_downloaded_once_and_verified(
    kind: str, server: Any, resnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = server(kind)
    model = download_and_build()
    stored = safetensors.numpy.load_file(resnet)["conv1.weight"]
    np.testing.assert_array_equal(model.get_layer("stem_conv").get_weights()[0], stored.transpose(2, 3, 1, 0))
    known = len(requests)
    monkeypatch.setenv("KERAS_CNNS_OFFLINE", "1")
    download_and_build()
    assert len(requests) == known, "the second one is from the cache"
    (cached,) = (resnet.parent / "cache" / "weights").glob("*.safetensors")
    cached.write_bytes(b"another file")
    with pytest.raises(WeightsError, match=r"the checksum is not that of .*; delete the file and try again"):
        download_and_build()


@pytest.mark.parametrize(
    ("kind", "checksum", "message"),
    [
        ("missing", "", "cannot be downloaded .*404"),
        ("truncated", "", "cannot be downloaded|the checksum is"),
        ("file", "00000000", "the checksum is .* instead of 00000000"),
        ("file", "0" * 32, "the checksum is .* instead of 000000000000"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing(
    kind: str, checksum: str, message: str, server: Any, resnet: Path
) -> None:
    server(kind, checksum)
    with pytest.raises(WeightsError, match=message) as caught:
        download_and_build()
    assert "\n" not in str(caught.value)
    assert not [path for path in (resnet.parent / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_without_a_connection_a_download_is_one_line(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server("file")
    monkeypatch.setenv("KERAS_CNNS_OFFLINE", "1")
    with pytest.raises(WeightsError, match="is not in the cache, and KERAS_CNNS_OFFLINE or HF_HUB_OFFLINE forbids"):
        download_and_build()
    monkeypatch.delenv("KERAS_CNNS_OFFLINE")
    entry = replace(references.find_published("imagenet", "resnet18"), url="http://127.0.0.1:9/x.pth")
    monkeypatch.setattr(references, "find_published", lambda *_: entry)
    with pytest.raises(WeightsError, match=r"cannot be downloaded .* check the network connection"):
        download_and_build()


@pytest.fixture
def trained(digits: Dataset, resnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path / "cache"))
    small = {name: split.take(np.arange(60)) for name, split in digits.splits.items()}
    data = replace(digits, splits=small)
    return data, train("resnet18", data, settings=SMALL, weights=resnet, recipe=Recipe(epochs=1))


def test_a_training_begins_with_weights_and_its_run_says_which(trained: Any, resnet: Path) -> None:
    data, found = trained
    run = Store().run(found.run_id)
    assert run.tags["weights.sha256"] == hashlib.sha256(resnet.read_bytes()).hexdigest()
    assert run.tags["weights.source"] == str(resnet)
    assert run.tags["weights.initial_layers"] == "logits"
    assert run.recipe["standardization"] == "weights"
    network = found.best_model
    assert network.count_params() == run.metrics["parameters"] == found.costs.total_parameters
    assert network.input_shape == (None, 8, 8, 1)
    # A run, or the file of its network, is a source of weights as well.
    for reference in (found.run_id[:8], found.fitted.best_model):
        model = build("resnet18", input_shape=(8, 8, 1), classes=10, weights=reference, **SMALL)
        np.testing.assert_array_equal(logits(model, data.training.images[:4].astype("float32")),
                                      logits(network, data.training.images[:4].astype("float32")))  # fmt: skip
    # Its images are known, so that no fold of them is new.
    with pytest.raises(SettingError, match="were trained on these images, so every fold would be validated on images"):
        cross_validate("resnet18", data, folds=2, settings=SMALL, weights=found.run_id, recipe=Recipe(epochs=1))
    Store().log(found.run_id, tags={"trained_on": "train and validation"})
    with pytest.raises(SettingError, match="were trained on the validation images of digits too"):
        train("resnet18", data, settings=SMALL, weights=found.run_id, recipe=Recipe(epochs=1))
    # A training with other weights is another training.
    state = safetensors.numpy.load_file(resnet)
    safetensors.numpy.save_file({**state, "bn1.bias": state["bn1.bias"] + 1}, resnet)
    with pytest.raises(ResumeError):
        train("resnet18", data, settings=SMALL, weights=resnet, recipe=Recipe(epochs=1), resume=True)


def test_the_command_line_trains_with_weights(
    resnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(resnet, "weights.safetensors")
    sets = [
        f"--set={name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in SMALL.items()
    ]
    command = ("train", "resnet18", "--epochs", "1", "--weights", "weights.safetensors", *sets)
    assert main(command) == 0
    assert (
        "weights weights.safetensors: weights.safetensors, licence unknown; images are standardized as for the weights "
        "of torchvision; initial values: logits"
    ) in capsys.readouterr().out
    assert main(("train", "resnet18", "--epochs", "1", "--weights", "nothing.pth")) == 2
    assert capsys.readouterr().err == "keras-cnns: nothing.pth: the file does not exist.\n"


def test_the_standardization_of_weights_needs_weights(digits: Dataset) -> None:
    with pytest.raises(SettingError, match="standardization='weights' is for trainings that begin with weights"):
        train("lenet5", digits, recipe=Recipe(standardization="weights"))
