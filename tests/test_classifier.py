"""Networks are loaded, and answer, with all that turns images into decisions."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image
from saved_networks import SavedRun

import keras_cnns
from keras_cnns import Dataset, load, predict
from keras_cnns.errors import DataError, EvaluationError, StoreError
from keras_cnns.evaluation.classifier import CONFIDENCE_LEVELS
from keras_cnns.tracking.mlflow_model import NETWORK, REQUIREMENTS
from keras_cnns.tracking.network_file import add_description, read_description
from keras_cnns.tracking.registry import Registry


@pytest.fixture(scope="module")
def served(grey_run: SavedRun) -> Any:
    return mlflow.pyfunc.load_model(str(grey_run.model))


def encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def as_text(pixels: np.ndarray) -> str:
    return base64.b64encode(encode(pixels)).decode()


def test_a_run_a_file_and_a_registered_model_are_the_same_classifier(grey_run: SavedRun) -> None:
    point = grey_run.classifier.network.operating_point
    Registry(grey_run.store).register(
        grey_run.id, "net", scored_by="score", tags={"score": "1", "data.fingerprint": "x"}
    )
    registered = load("models:/net@champion", tracking_uri=grey_run.uri)
    from_file = load(grey_run.model / NETWORK)
    expected = grey_run.classifier.predict(grey_run.images, confidence_level=0.9)
    assert point.threshold is not None
    assert point.temperature is not None
    for classifier in (registered, from_file):
        assert classifier.class_names == grey_run.data.class_names
        assert classifier.run_id == grey_run.id
        assert classifier.threshold == pytest.approx(point.scaled_threshold)
        assert classifier.temperature == pytest.approx(point.temperature)
        assert classifier.network.conversion == grey_run.classifier.network.conversion
        answers = classifier.predict(grey_run.images, confidence_level=0.9)
        np.testing.assert_array_equal(answers.probabilities, expected.probabilities)
        assert answers.predicted_names == expected.predicted_names
        assert answers.set_names == expected.set_names


def test_a_classifier_answers_as_predict_does(grey_run: SavedRun, tmp_path: Path) -> None:
    for index, pixels in enumerate(grey_run.images):
        (tmp_path / f"{index}.png").write_bytes(encode(pixels))
    expected = predict(grey_run.id, [tmp_path], confidence_level=0.9, tracking_uri=grey_run.uri)
    encoded = [encode(pixels) for pixels in grey_run.images]
    inputs: list[Any] = [grey_run.images, grey_run.images.astype(np.float32), [*grey_run.images], encoded, [tmp_path]]
    for images in inputs:
        answers = grey_run.classifier.predict(images, confidence_level=0.9)
        np.testing.assert_array_equal(answers.probabilities, expected.probabilities)
        np.testing.assert_array_equal(answers.classes, expected.classes)
        assert answers.set_names == expected.set_names


def test_images_of_any_size_are_converted_as_for_training(grey_run: SavedRun) -> None:
    large = grey_run.images.repeat(3, axis=1).repeat(2, axis=2)
    expected = grey_run.classifier.predict([encode(pixels) for pixels in large])
    np.testing.assert_array_equal(grey_run.classifier.predict(large).probabilities, expected.probabilities)
    colour = large.repeat(3, axis=-1)
    np.testing.assert_allclose(grey_run.classifier.predict(colour).probabilities, expected.probabilities, atol=1e-6)
    assert any("aspect ratio" in note for note in grey_run.classifier.predict(large).notes)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((1, 8, 8, 1), 0.5, np.float32), "multiply them by 255"),
        (np.full((1, 8, 8, 1), 300, np.int32), "scale them to 0 to 255"),
        (np.full((1, 8, 8, 1), -1.0), "scale them to 0 to 255"),
        (np.full((1, 8, 8, 1), np.nan), "NaN"),
        (np.zeros((8, 8, 3), np.uint8), "image\\[np.newaxis\\]"),
        (np.zeros((1, 8, 8, 2), np.uint8), "cannot have shape"),
        ([b"not an image"], "no image can be read"),
        ([np.zeros((8, 8), np.uint8), b"x"], "one kind"),
        ([], "at least one"),
        ("photo.png", "pass a list"),
        (["missing.png"], "does not exist"),
    ],
)
def test_what_is_not_an_image_is_named(grey_run: SavedRun, images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        grey_run.classifier.predict(images)


def test_a_broken_file_among_others_is_listed(grey_run: SavedRun) -> None:
    answers = grey_run.classifier.predict([encode(grey_run.images[0]), b"broken"])
    assert [str(file) for file in answers.files] == ["image 1"]
    assert [each.file for each in answers.broken] == ["image 2"]


def test_a_file_that_declares_a_huge_image_is_not_decoded(grey_run: SavedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.evaluation.input_images.MAX_PIXELS", 10)
    with pytest.raises(DataError, match="more than 10 pixels"):
        grey_run.classifier.predict([encode(grey_run.images[0])])


def test_prediction_sets_exist_for_the_stored_levels_only(grey_run: SavedRun) -> None:
    assert tuple(grey_run.classifier.rules) == CONFIDENCE_LEVELS
    with pytest.raises(EvaluationError, match=r"use 0\.8, 0\.9, 0\.95, 0\.99"):
        grey_run.classifier.predict(grey_run.images, confidence_level=0.7)


def test_a_plain_keras_file_is_a_classifier_with_numbered_classes(grey_run: SavedRun, tmp_path: Path) -> None:
    grey_run.classifier.model.save(tmp_path / "plain.keras")
    plain = load(tmp_path / "plain.keras")
    assert plain.class_names == ("0", "1")
    assert plain.temperature is None
    assert not plain.rules


def test_load_still_reads_images(digits: Dataset) -> None:
    assert load("digits").fingerprint == digits.fingerprint


def test_what_cannot_be_loaded_is_named(grey_run: SavedRun, tmp_path: Path) -> None:
    (tmp_path / "broken.keras").write_bytes(b"PK")
    shutil.copy(grey_run.model / NETWORK, tmp_path / "incomplete.keras")
    keras.models.load_model(tmp_path / "incomplete.keras").save(tmp_path / "incomplete.keras")
    add_description(tmp_path / "incomplete.keras", {"run": {"params": []}, "rules": [{}]})
    for reference, error, message in (
        (tmp_path / "broken.keras", DataError, "cannot be read as a network"),
        (tmp_path / "missing.keras", DataError, "cannot be read as a network"),
        (tmp_path / "incomplete.keras", DataError, "is not complete"),
        ("missing/photos", DataError, "missing/photos: does not exist; use"),
        ("cases.csv", DataError, "cases.csv: does not exist; use"),
        ("nothing", DataError, "nothing is not a source of images .* and no run 'nothing'"),
        ("models:/none@champion", StoreError, "is not in"),
    ):
        with pytest.raises(error, match=message):
            load(reference, tracking_uri=grey_run.uri)


def test_the_description_contains_no_path_machine_or_user(grey_run: SavedRun) -> None:
    stored = json.dumps(read_description(grey_run.model / NETWORK))
    described = json.dumps(grey_run.classifier.describe())
    for text in (stored, described):
        assert str(grey_run.model.parents[2]) not in text
        assert not any(f'"{name}' in text for name in ("mlflow.", "hardware.", "git.", "folder"))
        assert grey_run.id in text


def test_the_mlflow_model_answers_what_the_classifier_answers(grey_run: SavedRun, served: Any) -> None:
    expected = grey_run.classifier.predict(grey_run.images, confidence_level=0.9)
    texts = [as_text(pixels) for pixels in grey_run.images]
    inputs = (
        grey_run.images, grey_run.images.astype(np.float64), {"image": grey_run.images}, pd.DataFrame({"image": texts}),
        np.array(texts),
    )  # fmt: skip
    for images in inputs:
        answers = served.predict(images)
        assert list(answers) == [column.name for column in served.metadata.signature.outputs]
        np.testing.assert_array_equal(answers.filter(like="probability_").to_numpy(), expected.probabilities)
        assert [(name,) for name in answers["predicted_class"]] == expected.predicted_names
        assert answers["prediction_set"].tolist() == expected.set_names
    wide = served.predict(grey_run.images, params={"confidence_level": 0.99})["prediction_set"]
    assert all(set(narrow) <= set(names) for narrow, names in zip(expected.set_names, wide, strict=True))
    with pytest.raises(DataError, match="multiply them by 255"):
        served.predict(grey_run.images.astype(np.float32) / 255)
    with pytest.raises(DataError, match="not base64"):
        served.predict(np.array(["?"]))
    with pytest.raises(DataError, match="different lengths"):
        served.predict(np.array([[[0, 0], [0]], [[0]]], dtype=object))


def test_a_server_of_the_mlflow_model_answers_every_form_of_json(grey_run: SavedRun, served: Any) -> None:
    expected = [name for (name,) in grey_run.classifier.predict(grey_run.images).predicted_names]
    texts = [as_text(pixels) for pixels in grey_run.images]
    pixels = grey_run.images.tolist()
    for body in (
        {"inputs": pixels},
        {"inputs": {"image": pixels}},
        {"instances": pixels},
        {"instances": [{"image": text} for text in texts]},
        {"inputs": {"image": texts}},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"image": f"data:image/png;base64,{text}"} for text in texts]},
    ):
        reply = invocations(json.dumps(body), "application/json", served, served.metadata.signature.inputs)
        assert reply.status == 200
        assert [row["predicted_class"] for row in json.loads(reply.response)["predictions"]] == expected


def test_nothing_of_an_mlflow_model_is_pickled(grey_run: SavedRun) -> None:
    files = [path for path in grey_run.model.rglob("*") if path.is_file()]
    assert not [path for path in files if "pickle" in path.name or path.suffix in {".pkl", ".pickle", ".joblib"}]
    assert not [path for path in files if path.read_bytes()[:2] in {b"\x80\x04", b"\x80\x05"}]


BLOCK = """
import importlib.metadata, sys
allowed = set(sys.argv[3].split(","))
versions = importlib.metadata.version
tops = importlib.metadata.packages_distributions()
needed = set()
def require(name):
    if name in needed:
        return
    needed.add(name)
    for text in importlib.metadata.requires(name) or []:
        if "extra ==" not in text:
            other = __import__("re").match(r"[A-Za-z0-9._-]+", text).group().lower().replace("_", "-")
            try:
                require(other)
            except importlib.metadata.PackageNotFoundError:
                pass
for name in allowed | {"mlflow"}:
    require(name)
class Finder:
    def find_spec(self, name, *_):
        top = name.partition(".")[0]
        owners = {owner.lower().replace("_", "-") for owner in tops.get(top, ())}
        if top != "keras_cnns" and owners and not owners & needed:
            raise ModuleNotFoundError(f"{name} is blocked", name=top)
def no_version(name):
    if name == "keras-cnns":
        raise importlib.metadata.PackageNotFoundError(name)
    return versions(name)
sys.path = [path for path in sys.path if path not in {"", sys.argv[4]}]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.meta_path.insert(0, Finder())
importlib.metadata.version = no_version
import mlflow, numpy
model = mlflow.pyfunc.load_model(sys.argv[1])
import keras_cnns
assert "keras_cnns.zip" in keras_cnns.__file__, keras_cnns.__file__
print(",".join(model.predict(numpy.load(sys.argv[2]))["predicted_class"]))
"""


@pytest.mark.slow
def test_the_mlflow_model_needs_only_its_code_and_requirements(grey_run: SavedRun, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", grey_run.images)
    listed = (grey_run.model / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in listed)
    assert {line.partition("==")[0] for line in listed} == {"mlflow", *REQUIREMENTS}
    with zipfile.ZipFile(grey_run.model / "code" / "keras_cnns.zip") as archive:
        assert "keras_cnns/__init__.py" in archive.namelist()
    root = Path(keras_cnns.__file__).parents[1]
    command = [sys.executable, "-c", BLOCK, grey_run.model, tmp_path / "images.npy", ",".join(REQUIREMENTS), root]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = [name for (name,) in grey_run.classifier.predict(grey_run.images).predicted_names]
    assert done.stdout.strip() == ",".join(expected)
