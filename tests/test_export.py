"""Exported files compute what the run's network computes, and say so in a certificate."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from saved_networks import SavedRun, save_run

import keras_cnns
from keras_cnns import export, load
from keras_cnns.cli import main
from keras_cnns.errors import EvaluationError, ExportError, WeightsError
from keras_cnns.exporting import formats, latency
from keras_cnns.exporting.export import certificate_path
from keras_cnns.exporting.formats import all_formats
from keras_cnns.networks.inference import inference_network
from keras_cnns.networks.registry import all_families
from keras_cnns.testing.small_networks import build_small, covering_variants, small_side
from keras_cnns.tracking import Store

FORMATS = [name for name in all_formats() if name != "state-dict"]
QUANTIZED = [name for name, each in all_formats().items() if each.quantize is not None]


@pytest.fixture(scope="module")
def exported(grey_run: SavedRun, tmp_path_factory: pytest.TempPathFactory) -> keras_cnns.Exports:
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(latency, "SECONDS", 0.01)
        return export(grey_run.id, "all", folder=folder, benchmark=True, tracking_uri=grey_run.uri)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_computes_what_the_run_computes(name: str, exported: keras_cnns.Exports, grey_run: SavedRun) -> None:
    made = next(each for each in exported.exports if each.certificate.format == name)
    certificate = made.certificate
    assert certificate.images == len(grey_run.data.splits["validation"]) == 150
    assert certificate.largest_difference <= 1e-5
    assert certificate.changed_decisions == 0
    assert certificate.runtime.split()[1][0].isdigit()
    assert made.latency is not None
    assert made.latency.milliseconds > 0
    runtime = all_formats()[name].load(made.path, None)
    answers = grey_run.classifier.predict(grey_run.images)
    for images in (grey_run.images, grey_run.images[:1]):
        found = runtime(images.astype(np.float32))
        np.testing.assert_allclose(found, answers.probabilities[: len(images)], atol=1e-5)


def test_a_certificate_is_beside_the_file_and_in_the_run(exported: keras_cnns.Exports, grey_run: SavedRun) -> None:
    for made in exported.exports:
        text = certificate_path(made.path).read_text()
        assert json.loads(text)["sha256"] == made.certificate.sha256
        assert grey_run.store.read_file(grey_run.id, f"exports/{certificate_path(made.path).name}") == text
    assert not list(made.path.parent.glob(".export-*"))


def descriptions(exported: keras_cnns.Exports) -> dict[str, Mapping[str, Any]]:
    """Read what each file says of itself, with the means of its own format."""
    import onnx
    import openvino

    paths = {made.certificate.format: made.path for made in exported.exports}
    properties = {each.key: each.value for each in onnx.load(str(paths["onnx"])).metadata_props}
    intel = openvino.Core().read_model(str(paths["openvino"] / "model.xml")).get_rt_info(["model_info", "keras_cnns"])
    archived = {name: zipfile.ZipFile(paths[name]).read("keras_cnns.json") for name in ("keras", "litert")}
    texts = {
        **archived, "onnx": properties["keras_cnns"], "openvino": intel.astype(str),
        "savedmodel": (paths["savedmodel"] / "assets.extra" / "keras_cnns.json").read_text(),
    }  # fmt: skip
    return {name: json.loads(text) for name, text in texts.items()}


def test_every_file_says_what_its_outputs_mean(exported: keras_cnns.Exports, grey_run: SavedRun) -> None:
    found = descriptions(exported)
    assert set(found) == set(FORMATS)
    for described in found.values():
        assert described["class_names"] == list(grey_run.classifier.class_names)
        assert described["thresholds"] == grey_run.classifier.threshold
        assert described["applied_temperature"] == grey_run.classifier.temperature
        assert described["run"]["id"] == grey_run.id
        assert {"licence", "reading", "image_shape"} <= set(described)


def test_an_exported_keras_file_is_a_classifier_and_a_network_for_plain_keras(
    exported: keras_cnns.Exports, grey_run: SavedRun
) -> None:
    path = next(made.path for made in exported.exports if made.certificate.format == "keras")
    answers = grey_run.classifier.predict(grey_run.images, confidence_level=0.9)
    again = load(path).predict(grey_run.images, confidence_level=0.9)
    np.testing.assert_allclose(again.probabilities, answers.probabilities, atol=1e-6)
    assert again.predicted_names == answers.predicted_names
    assert again.set_names == answers.set_names
    plain = keras.saving.load_model(path)
    np.testing.assert_allclose(plain.predict(grey_run.images, verbose=0), answers.probabilities, atol=1e-6)


def test_a_savedmodel_names_its_probabilities(exported: keras_cnns.Exports, grey_run: SavedRun) -> None:
    import tensorflow as tf

    path = next(made.path for made in exported.exports if made.certificate.format == "savedmodel")
    answers = tf.saved_model.load(str(path)).signatures["serving_default"](
        pixels=tf.constant(grey_run.images, tf.float32)
    )
    names = [name.encode() for name in grey_run.classifier.class_names]
    assert answers["class_names"].numpy().tolist() == [names] * len(grey_run.images)
    assert answers["probabilities"].shape == (len(grey_run.images), 2)


def test_what_cannot_be_a_state_dict_is_left_out_of_all_and_named_alone(
    exported: keras_cnns.Exports, grey_run: SavedRun, tmp_path: Path
) -> None:
    assert any("not exported to state-dict" in note for note in exported.notes)
    with pytest.raises(WeightsError, match="no network of this kind"):
        export(grey_run.id, "state-dict", folder=tmp_path, tracking_uri=grey_run.uri)


@pytest.mark.parametrize("name", QUANTIZED)
def test_an_int8_file_is_smaller_and_reports_its_accuracy(name: str, grey_run: SavedRun, tmp_path: Path) -> None:
    (made,) = export(
        grey_run.id, name, quantize="int8", folder=tmp_path, tolerance=0.1, tracking_uri=grey_run.uri
    ).exports
    found = made.certificate
    assert found.form == "int8"
    assert found.calibrated_on == 150
    assert 0 < found.largest_difference < 0.2
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high
    assert found.accuracy_of_run.value - found.accuracy.value <= 0.1


def test_a_file_beyond_the_tolerance_is_not_written(grey_run: SavedRun, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"probabilities differ by up to .*nothing was written"):
        export(grey_run.id, "onnx", folder=tmp_path, tolerance=0.0, tracking_uri=grey_run.uri)
    assert list(tmp_path.iterdir()) == []
    assert export(grey_run.id, "onnx", folder=tmp_path, tolerance=0.5, tracking_uri=grey_run.uri).exports


def test_an_earlier_export_is_replaced(grey_run: SavedRun, tmp_path: Path) -> None:
    for name in ("keras", "savedmodel"):
        first, second = (
            export(grey_run.id, name, folder=tmp_path, tracking_uri=grey_run.uri).exports[0] for _ in range(2)
        )
        assert first.path == second.path
        assert second.path.exists()


def test_a_certificate_can_use_other_images(grey_run: SavedRun, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(40) % 2
    np.savez(
        tmp_path / "other.npz", train_images=generator.integers(0, 256, (40, 20, 20), dtype=np.uint8),
        train_labels=labels,
    )  # fmt: skip
    (made,) = export(
        grey_run.id, "onnx", folder=tmp_path, check=str(tmp_path / "other.npz"), tracking_uri=grey_run.uri
    ).exports
    assert made.certificate.checked_on == "images of other.npz"
    assert made.certificate.images == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onx"), "Did you mean 'onnx'"),
        (("--format", "keras", "--quantize", "int8"), "format keras has no int8 form; use"),
        (("--quantize", "int4"), "use 'int8'"),
        (("--check", "missing.csv"), "does not exist"),
    ],
)
def test_mistakes_are_one_line(
    options: tuple[str, ...], message: str, grey_run: SavedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", grey_run.id, "--tracking-uri", grey_run.uri, "--folder", str(tmp_path), *options]
    assert main(command) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1


def test_a_missing_package_is_named_with_its_extra(
    grey_run: SavedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ExportError, match=r"needs onnxruntime; install it with pip install 'keras-cnns\[onnx\]'"):
        export(grey_run.id, "onnx", folder=tmp_path, tracking_uri=grey_run.uri)


def test_the_command_prints_a_table_or_json(
    grey_run: SavedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", grey_run.id, "--tracking-uri", grey_run.uri, "--folder", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert Path(made["path"]).exists()
    assert made["certificate"]["passed"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "150 validation images of grey" in printed


def test_openvino_reports_its_use_to_nobody(exported: keras_cnns.Exports) -> None:
    assert any(made.certificate.format == "openvino" for made in exported.exports)
    assert sys.modules["openvino_telemetry"] is None


def randomize(model: Any) -> None:
    """Give batch normalization statistics and factors, of both signs, as training does, and small logits."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.moving_mean.shape[0]
            values = {
                "gamma": generator.normal(0.7, 0.5, count), "beta": generator.normal(0, 0.1, count),
                "moving_mean": generator.normal(0, 0.1, count), "moving_variance": generator.uniform(0.5, 1.5, count),
            }  # fmt: skip
            layer.set_weights([values[weight.name] for weight in layer.weights])


def make_pixels(count: int, side: int) -> np.ndarray:
    """Return random images, float32."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.float32)


def calibrate_logits(model: Any, images: np.ndarray) -> None:
    """Scale the classifier so that the probabilities are neither 0 nor 1."""
    layer = next(layer for layer in reversed(model.layers) if layer.weights and "auxiliary" not in layer.name)
    before = keras.Model(model.inputs[0], layer.output)
    spread = float(np.std(before.predict(images, verbose=0))) or 1.0
    layer.set_weights([np.asarray(values) / spread for values in layer.get_weights()])


def build_trained(name: str, images: np.ndarray) -> Any:
    """Build a small network with weights as after training."""
    model = build_small(name, side=images.shape[1])
    randomize(model)
    calibrate_logits(model, images)
    return model


@pytest.mark.parametrize(
    "name",
    ["resnet-cifar-20", "densenet-bc-40", pytest.param("keras:MobileNetV3Small", marks=pytest.mark.exhaustive)],
)
def test_folding_changes_no_output(name: str) -> None:
    images = make_pixels(4, 35)
    model = build_trained(name, images)
    folded = inference_network(model, fold_batch_norm=True)
    expected = model.predict(images, verbose=0)
    assert expected.max() < 0.99
    np.testing.assert_allclose(folded.predict(images, verbose=0), expected, atol=1e-5)
    assert folded.count_params() < model.count_params()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", covering_variants(tuple(all_families().values())))
def test_every_family_is_exported_to_every_format(name: str, tmp_path: Path) -> None:
    images, labels = make_pixels(70, small_side(name)), np.arange(70) % 3
    parts = {"train": slice(0, 30), "val": slice(30, 70)}
    arrays = {f"{part}_images": images[where].astype(np.uint8) for part, where in parts.items()}
    np.savez(tmp_path / "images.npz", **arrays, **{f"{part}_labels": labels[where] for part, where in parts.items()})
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    model = build_trained(name, images[:8])
    run = save_run(store, model, load(tmp_path / "images.npz"))
    for fold_batch_norm in (False, True):
        exported = export(
            run, "all", folder=tmp_path, fold_batch_norm=fold_batch_norm, tracking_uri=store.uri
        )  # fmt: skip
        made = {each.certificate.format: each.certificate for each in exported.exports}
        assert set(FORMATS) <= set(made)
        assert all(found.largest_difference <= 1e-5 for found in made.values()), made
        assert not any(found.changed_decisions for found in made.values()), made
    assert ("state-dict" in made) != any("not exported to state-dict" in note for note in exported.notes)


def test_missing_or_changed_images_of_the_training_are_named(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path)
    options: dict[str, Any] = {"folder": tmp_path / "exports", "tracking_uri": saved.uri}
    arrays = dict(np.load(tmp_path / "grey.npz"))
    arrays["val_images"] = arrays["val_images"][:, ::-1]
    np.savez(tmp_path / "grey.npz", **arrays)
    (made,) = export(saved.id, "onnx", **options).exports
    assert made.certificate.checked_on == "validation images of grey.npz, which have changed since the training"
    (tmp_path / "grey.npz").unlink()
    with pytest.raises(EvaluationError, match=r"does not exist; name others with --check"):
        export(saved.id, "onnx", **options)
