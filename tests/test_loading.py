"""Folders, frames, sizes and patients as users have them, and the same dataset in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns.data import Dataset, load
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.split_names import find_split
from keras_cnns.errors import DataError

RANDOM = np.random.default_rng(0)


def save(path: Path, size: tuple[int, int] = (8, 8), **options: Any) -> Path:
    """Save an image of noise, of a width and a height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, size[::-1], np.uint8)).save(path, **options)
    return path


def save_frames(path: Path, count: int) -> None:
    frames = [Image.fromarray(np.full((8, 8), 20 * index, np.uint8)) for index in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:])


def notes(dataset: Dataset) -> str:
    return "\n".join(dataset.notes)


# Splits


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("Training_Set", "train"), ("trainset", "train"), ("Trainingsdaten", "train"),
     ("train_images", "train"), ("entraînement", "train"), ("训练集", "train"), ("val", "validation"),
     ("dev", "validation"), ("Validation-Set", "validation"), ("validación", "validation"), ("test", "test"),
     ("hold_out", "test"), ("holdout", "test"), ("Testdaten", "test"), ("test2", "test"), ("prueba", "test"),
     ("tumor", None), ("training camp", None), ("testis", None), ("set", None), ("", None)],
)  # fmt: skip
def test_splits_are_recognised_by_their_usual_names(name: str, split: str | None) -> None:
    assert find_split(name) == split


@pytest.mark.parametrize("name", ["eval", "Evaluation", "eval_set"])
def test_a_name_that_may_be_two_splits_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="may be the validation or the test split"):
        find_split(name)


@pytest.mark.parametrize("layout", ["{split}/{name}", "{name}/{split}"])
@pytest.mark.parametrize(
    "words",
    [("train", "val", "test"), ("training_set", "dev", "holdout"), ("Entrenamiento", "Validación", "Prueba")],
)
def test_splits_may_be_above_or_inside_the_classes(tmp_path: Path, layout: str, words: tuple[str, ...]) -> None:
    for number, word in enumerate(words):
        for name in ("benign", "malignant"):
            for index in range(4 - number):
                save(tmp_path / layout.format(split=word, name=name) / f"{index}.png")
    read = load(tmp_path)
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 8, "validation": 6, "test": 4}
    assert read.class_names == ("benign", "malignant")


def test_an_unknown_folder_beside_the_splits_of_a_class_is_an_error(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for split in ("train", "test", "more"):
            save(tmp_path / name / split / "0.png")
    with pytest.raises(DataError, match="'more' is beside"):
        load(tmp_path)


# Patients


def save_patients(root: Path, path: str) -> Path:
    for number in range(12):
        for index in range(3):
            save(root / path.format(name=("ill", "well")[number % 2], patient=f"p{number:02}", index=index))
    return root


def patients_by_split(dataset: Dataset) -> list[set[str]]:
    return [set(split.patients.tolist()) for split in dataset.splits.values() if split.patients is not None]


@pytest.mark.parametrize("path", ["{name}/{patient}/{index}.png", "{name}/{patient}/study/series{index}/0.png"])
def test_folders_below_a_class_are_patients(tmp_path: Path, path: str) -> None:
    read = load(save_patients(tmp_path, path))
    train, validation = patients_by_split(read)
    assert len(train | validation) == 12
    assert not train & validation
    assert "The 12 folders below the classes are regarded as patients: p00, p01, p02, and 9 more." in notes(read)
    ignored = load(tmp_path, patient_pattern="")
    assert not patients_by_split(ignored)
    assert "Patients are not known" in notes(ignored)


def test_patients_in_file_names_are_suggested_and_can_be_chosen(tmp_path: Path) -> None:
    save_patients(tmp_path, "{name}/{patient}_{index}.png")
    assert r"--patient-pattern '(p\d+)_'" in notes(load(tmp_path))
    train, validation = patients_by_split(load(tmp_path, patient_pattern=r"(p\d+)_"))
    assert (len(train | validation), train & validation) == (12, set())
    with pytest.raises(DataError, match="patient"):
        load(tmp_path, patient_pattern=r"(q\d+)_")


def test_a_single_folder_below_each_class_is_no_patient(tmp_path: Path) -> None:
    for name in ("ill", "well"):
        for index in range(8):
            save(tmp_path / name / "images" / f"{index}.png")
    assert not patients_by_split(load(tmp_path))


# Frames and formats


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
@pytest.mark.parametrize(("frames", "images"), [("first", 12), ("middle", 12), ("all", 22)])
def test_frames_are_chosen_or_refused(tmp_path: Path, suffix: str, frames: str, images: int) -> None:
    for index in range(6):
        save(tmp_path / "well" / f"{index}.png")
        save_frames(tmp_path / "ill" / f"{index}.{suffix}", 6 if index < 2 else 1)
    with pytest.raises(DataError, match=rf"ill/0.{suffix}: has 6 frames \(pages\); choose with --frames"):
        load(tmp_path)
    read = load(tmp_path, frames=frames)
    assert sum(map(len, read.splits.values())) == images
    if frames == "all":
        train, validation = patients_by_split(read)
        assert not train & validation
        assert "2 files have 12 frames" in notes(read)
        assert any(f"ill/0.{suffix}#6" in split.files for split in read.splits.values())
    assert load(tmp_path, frames=frames, stream=True).fingerprint == read.fingerprint


@pytest.mark.parametrize("name", ["a.heic", "a.nii.gz", "a.nii", "a.dng", "a.svs", "a.avif"])
def test_images_of_formats_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    for index in range(12):
        save(tmp_path / ("cat", "dog")[index % 2] / f"{index}.png")
    (tmp_path / "cat" / name).write_bytes(b"image")
    with pytest.raises(DataError, match=f"cat/{name}: is .*, which is not read; convert it"):
        load(tmp_path)
    assert [broken.file for broken in load(tmp_path, skip_broken=True).broken] == [f"cat/{name}"]


@pytest.mark.parametrize(
    "name",
    ["__MACOSX/cat/._0.png", "cat/@eaDir/0.png/SYNO.jpg", "cat/Thumbs.db", "$RECYCLE.BIN/x/0.png", "cat/._0.png"],
)
def test_files_of_the_system_are_ignored_with_a_note(tmp_path: Path, name: str) -> None:
    for index in range(12):
        save(tmp_path / ("cat", "dog")[index % 2] / f"{index}.png")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"no image")
    read = load(tmp_path)
    assert read.class_names == ("cat", "dog")
    assert sum(map(len, read.splits.values())) == 12
    assert "Ignored files of the operating system or of the storage device" in notes(read)


# Size


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 60), height=st.integers(1, 60), size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]), how=st.sampled_from(["pad", "crop", "stretch"]),
)  # fmt: skip
def test_resizing_keeps_what_it_says(width: int, height: int, size: tuple[int, int], channels: int, how: str) -> None:
    conversion = Conversion(image_size=size, resize=how)
    white = np.full((height, width, channels), 255, np.uint8)
    resized = conversion.convert_image(white)
    assert resized.shape == (*size, channels)
    inside = (resized == 255).all(axis=-1)
    if how != "pad":
        assert inside.all()
        return
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert len(rows) == size[0] or len(columns) == size[1]
    scale = min(size[0] / height, size[1] / width)
    assert abs(len(rows) - max(1, height * scale)) <= 0.5 + 1e-9
    assert abs(len(columns) - max(1, width * scale)) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("how", "part"),
    [("pad", "padded with black borders"), ("crop", "lost their borders"), ("stretch", "distorts shapes")],
)
def test_images_of_another_aspect_ratio_are_counted(tmp_path: Path, how: str, part: str) -> None:
    for index in range(12):
        save(tmp_path / ("cat", "dog")[index % 2] / f"{index}.png", (16, 8) if index < 5 else (8, 8))
    read = load(tmp_path, image_size=8, resize=how)
    assert any(note.startswith("5 of 12 images have another aspect ratio") and part in note for note in read.notes)


# The same everywhere

DESCRIBE = """
import json, sys
from keras_cnns.data import load
read = load(sys.argv[1], image_size=8)
print(json.dumps([read.class_names, read.fingerprint, {name: split.files for name, split in read.splits.items()}]))
"""


def test_a_source_is_the_same_in_every_process_hash_seed_locale_and_file_order(tmp_path: Path) -> None:
    names = ["Tumor", "normal", "Ödem", "10", "9", "ill "]
    paths = [tmp_path / "a" / name / f"{index}.png" for name in names for index in range(6)]
    for path in paths:
        save(path)
    for path in reversed(paths):
        copy = tmp_path / "b" / path.relative_to(tmp_path / "a")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    found = []
    for seed, locale, folder in (("1", "C", "a"), ("2", "C.UTF-8", "a"), ("3", "C.UTF-8", "b")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONUTF8": "1"}
        done = subprocess.run(
            [sys.executable, "-c", DESCRIBE, str(tmp_path / folder)],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    assert found[0] == found[1] == found[2]
    assert found[0][0] == ["10", "9", "ill", "normal", "Tumor", "Ödem"]
