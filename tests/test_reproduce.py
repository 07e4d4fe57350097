"""Lock files: a run is repeated from them with equal results, or refused with what differs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_cnns
from keras_cnns import Recipe, Reproduction, evaluate, report, reproduce, train
from keras_cnns.cli import main
from keras_cnns.errors import ReportError
from keras_cnns.tracking import Store
from keras_cnns.writing.reproducing import TOLERANCE, Result, describe_differences

SETTINGS = {"blocks": (1, 1), "growth_rate": 4}
RECIPE = Recipe(epochs=2, augmentation="light", learning_rate=5e-3)
OTHER = {"fingerprint": "0"}


@dataclass(frozen=True)
class Made:
    """The lock file of a run on an archive, and the archive."""

    lock: Path
    archive: Path
    run_id: str


def write_archive(path: Path, *, seed: int = 0, test_images: int = 40) -> Path:
    generator = np.random.default_rng(seed)
    labels = np.arange(200) % 2
    images = generator.integers(0, 200, (200, 12, 12), np.uint8) + (40 * labels)[:, None, None].astype(np.uint8)
    test = slice(150, 150 + test_images)
    np.savez(path, train_images=images[:100], train_labels=labels[:100], val_images=images[100:150],
             val_labels=labels[100:150], test_images=images[test], test_labels=labels[test])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("reproduce")
    archive = write_archive(folder / "images.npz")
    uri = f"sqlite:///{folder}/mlflow.db"
    trained = train(
        "densenet-bc-40", str(archive), settings=SETTINGS, recipe=RECIPE, seed=3, folder=folder / "runs",
        tracking_uri=uri,
    )  # fmt: skip
    evaluate(trained.run_id, at_sensitivity=0.9, tracking_uri=uri)
    written = report(trained.run_id, output=folder / "out", tracking_uri=uri)
    return Made(written.folder / "lock.json", archive, trained.run_id)


def test_a_repeated_run_has_equal_results(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    moved = shutil.copyfile(made.archive, tmp_path / "moved.npz")
    assert main(["reproduce", str(made.lock), "--data", str(moved), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    recorded = json.loads(made.lock.read_text("utf-8"))
    assert printed["equal"]
    assert printed["recorded_run_id"] == made.run_id != printed["run_id"]
    assert printed["notes"] == []
    names = printed["results"].keys()
    assert {"best_val_loss", "threshold", "evaluation auc", "evaluation brier low", "evaluation sensitivity"} <= names
    assert {f"evaluation {name}" for name in recorded["results"]["metrics"]} <= names
    assert all(now == before for before, now in printed["results"].values())
    repeated = Store().run(printed["run_id"])
    assert (repeated.experiment, repeated.seed, repeated.recipe["learning_rate"]) == ("reproduce", 3, "0.005")


def test_other_results_are_reported_and_give_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = (Result("auc", 0.75, 0.75 + TOLERANCE / 2), Result("accuracy", 0.5, 0.625), Result("loss", 0.5, 0.5))
    repeated = Reproduction(run_id="new", recorded_run_id="old", results=results, notes=("Another processor.",))
    monkeypatch.setattr(keras_cnns, "reproduce", lambda *_, **__: repeated)
    assert main(["reproduce", "lock.json"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"accuracy +0\.500000 +0\.625000 +0\.1", printed)
    assert f"1 of 3 results differ by more than {TOLERANCE:g}: by up to 0.125." in printed
    assert "Another processor." in printed
    undefined = replace(repeated, results=(*results, Result("f1", 0.5, None)))
    monkeypatch.setattr(keras_cnns, "reproduce", lambda *_, **__: undefined)
    assert main(["reproduce", "lock.json"]) == 1
    assert "2 of 4 results differ by more than 1e-06: a metric is not defined." in capsys.readouterr().out
    equal = replace(repeated, results=results[::2])
    monkeypatch.setattr(keras_cnns, "reproduce", lambda *_, **__: equal)
    assert main(["reproduce", "lock.json"]) == 0
    assert "All 2 results are equal within 1e-06." in capsys.readouterr().out


def test_other_versions_and_hardware_are_named(made: Made) -> None:
    environment = json.loads(made.lock.read_text("utf-8"))["environment"]
    assert list(describe_differences(environment)) == []
    environment["packages"] |= {"aaa": "1.0", "keras": "2.0.0"}
    environment["hardware"]["processor"] = "abacus"
    packages, processor = describe_differences(environment)
    assert re.fullmatch(r"Packages of other versions, 2: keras \S+ instead of 2\.0\.0, aaa not installed.*", packages)
    assert processor.endswith("instead of abacus.")


def write_changed(made: Made, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    lock = json.loads(made.lock.read_text("utf-8"))
    change(lock)
    path = folder / "lock.json"
    path.write_text(json.dumps(lock))
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_images": 30}, "the test split has 30 images instead of 40"),
        ({"seed": 1}, "pixels, labels or the order of the train images differ"),
    ],
)
def test_other_images_are_refused_with_what_differs(
    made: Made, tmp_path: Path, options: dict[str, int], message: str
) -> None:
    other = write_archive(tmp_path / "other.npz", **options)
    with pytest.raises(ReportError, match=message):
        reproduce(made.lock, str(other), tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [  # what is changed in the lock file, and the error message
        (lambda lock: lock["training"].update(trained_on="train and validation"), "is a refit"),
        (lambda lock: lock["training"]["settings"].update(depth="3"), "unknown setting 'depth'"),
        (lambda lock: lock["training"]["recipe"].update(epochs="none"), "Use the version of keras-cnns"),
        (lambda lock: lock["data"].update(source=""), "name it with --data"),
        (lambda lock: lock["data"]["reading"].update(colours=3), "colours, which this version does not have"),
        (lambda lock: lock["data"].update(class_names=["a", "b"], **OTHER), "the classes are 0, 1 instead of a, b"),
        (lambda lock: lock["data"]["splits"].pop("test") and lock["data"].update(OTHER), "there is a test split"),
        (lambda lock: lock.update(format=99), "not a lock file of this version"),
        (lambda lock: lock.pop("training"), "not a lock file of this version"),
    ],
)  # fmt: skip
def test_lock_files_that_cannot_be_repeated_are_refused(
    made: Made, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ReportError, match=message):
        reproduce(
            write_changed(made, tmp_path, change), tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", folder=tmp_path
        )


@pytest.mark.parametrize("content", [None, "not JSON", "[]"])
def test_files_that_are_not_lock_files_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "lock.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ReportError, match=r"lock\.json"):
        reproduce(path)


def test_a_lock_file_has_the_environment_of_the_training(made: Made) -> None:
    lock = json.loads(made.lock.read_text("utf-8"))
    environment = lock["environment"]
    assert {"tensorflow", "keras", "numpy", "mlflow", "scikit-learn"} <= environment["packages"].keys()
    assert environment["python"].startswith("3.")
    assert {"processor", "cores", "memory"} <= environment["hardware"].keys()
    assert lock["data"]["source"] == str(made.archive)
    assert lock["data"]["reading"]["leaks"] == "drop"
    assert lock["evaluation"]["threshold_rule"]["kind"] == "at_sensitivity"
    assert lock["training"]["recipe"]["augmentation"] == "light"


def test_differences_of_results() -> None:
    assert Result("auc", 0.5, 0.5).difference == 0
    assert Result("auc", 0.5, None).difference == np.inf
    assert Result("auc", float("nan"), float("nan")).difference == 0
    assert Result("auc", 0.5, 0.75).difference == 0.25
