"""The flow of images and patients: what a source has is in the splits, or counted as left out with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_cnns import Dataset, load
from keras_cnns.data import Split
from keras_cnns.data.dataset import Exclusion
from keras_cnns.data.flow import MAX_CATEGORIES, UNKNOWN, describe_columns, describe_flow, known_patients
from keras_cnns.errors import DataError


@dataclass(frozen=True)
class Made:
    """A source with a known number of images, and the arguments to load it."""

    source: str
    images: int
    options: dict[str, object]


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)).save(path)


def make_folder(root: Path) -> Made:
    """Make splits with a leak, a broken file, a hidden image and images outside the classes."""
    for split, count in (("train", 20), ("test", 4)):
        for index in range(count):
            for shade, name in enumerate(("cat", "dog")):
                draw(root / split / name / f"{index}.png", 1000 * len(split) + 2 * index + shade)
    draw(root / "train" / "cat" / "leak.png", 1000 * len("test"))  # the pixels of test/cat/0.png
    (root / "train" / "dog" / "broken.png").write_bytes(b"not an image")
    (root / "test" / "dog" / "broken.png").write_bytes(b"not an image")
    draw(root / "train" / "cat" / ".hidden.png", 1)
    draw(root / "train" / "loose.png", 2)
    draw(root / "loose.png", 3)
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    return Made(str(root), len([*root.rglob("*.png")]), {"skip_broken": True})


def make_table(root: Path) -> Made:
    """Make a table with patients, a leak and broken files."""
    rows = ["path,label,patient,split"]
    for index in range(40):
        draw(root / f"{index}.png", index)
        split = "test" if index % 5 == 0 else "train"
        rows.append(f"{index}.png,{index % 2},{split}{index // 5},{split}")
    draw(root / "copy.png", 0)  # the pixels of a test image
    rows.append("copy.png,0,only-in-the-leak,train")
    for name, patient in (("a", "train0"), ("b", "only-broken"), ("c", "only-broken")):
        (root / f"{name}.png").write_bytes(b"")
        rows.append(f"{name}.png,1,{patient},train")
    rows.append("missing.png,1,train1,train")
    (root / "cases.csv").write_text("\n".join([*rows, ",,,", ""]))
    return Made(str(root / "cases.csv"), len(rows) - 1, {"skip_broken": True})


def make_archive(root: Path) -> Made:
    """Make an archive whose training images have two of the test images."""
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    images[40:42] = images[:2]
    labels = np.arange(60) % 2
    path = root / "images.npz"
    np.savez(path, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    return Made(str(path), 60, {})


def make_digits(_: Path) -> Made:
    return Made("digits", 1797, {})


MAKERS: list[Callable[[Path], Made]] = [make_folder, make_table, make_archive, make_digits]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_images_in_splits_and_images_left_out_are_all_images_of_the_source(
    make: Callable[[Path], Made], tmp_path: Path
) -> None:
    made = make(tmp_path)
    found = load(made.source, **made.options)
    assert sum(map(len, found.splits.values())) + sum(each.images for each in found.exclusions) == made.images
    assert all(each.images > 0 and each.reason for each in found.exclusions)
    assert sum(each.images for each in found.exclusions if "read" in each.reason) == len(found.broken)


def test_each_reason_is_counted_separately_for_each_split(tmp_path: Path) -> None:
    found = load(make_folder(tmp_path).source, skip_broken=True)
    counted = {(each.reason, each.split): each.images for each in found.exclusions}
    assert counted == {
        ("outside class folders", ""): 2,
        ("hidden file", ""): 1,
        ("file cannot be read", "train"): 1,
        ("file cannot be read", "test"): 1,
        ("identical to an image of the test split", "train"): 1,
    }


def test_patients_are_left_out_if_they_have_no_other_image_in_the_split(tmp_path: Path) -> None:
    found = load(make_table(tmp_path).source, skip_broken=True)
    by_reason = {each.reason: each for each in found.exclusions}
    assert by_reason["file cannot be read"] == Exclusion("file cannot be read", 4, "train", patients=1)
    assert by_reason["identical to an image of the test split"].patients == 1
    flow = describe_flow(found)
    left = sum(each["patients"] for each in flow["exclusions"])
    included = sum(split["patients"] for split in flow["splits"].values())
    assert included + left == 8 + 8 + 2  # of the training images, of the test images, and those of left out images only


def test_leaks_that_are_allowed_leave_nothing_out(tmp_path: Path) -> None:
    assert load(make_archive(tmp_path).source, leaks="allow").exclusions == ()


def test_files_that_cannot_be_read_are_an_error_before_they_are_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load(make_folder(tmp_path).source)


def test_images_of_other_splits_of_tensorflow_datasets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_cnns.data.sources import tfds as source

    def make_examples(_: object, split: str, **__: object) -> list[tuple[np.ndarray, int]]:
        count = {"train": 20, "test": 4, "unlabelled": 7}[split]
        images = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 1), np.uint8)
        return [(image, index % 2) for index, image in enumerate(images)]

    class Builder:
        def __init__(self, _: str) -> None:
            names = tfds.features.ClassLabel(names=["cat", "dog"])
            features = {"image": tfds.features.Image(), "label": names}
            counts = {"train": 20, "test": 4, "unlabelled": 7}
            splits = {name: type("Info", (), {"num_examples": count}) for name, count in counts.items()}
            supervised = {"supervised_keys": ("image", "label"), "features": features, "splits": splits}
            self.info = type("Info", (), supervised)

        as_dataset = make_examples

        def download_and_prepare(self) -> None: ...

    monkeypatch.setattr(source.tfds, "builder", Builder)
    monkeypatch.setattr(source.tfds, "as_numpy", lambda examples: examples)
    found = load("tfds:made")
    assert found.exclusions == (Exclusion("split 'unlabelled', which is not training, validation or test", 7),)
    assert sum(map(len, found.splits.values())) + 7 == 31


def test_the_flow_has_counts_of_images_classes_and_patients() -> None:
    patients = np.array(["a", "a", "b", "", f"{UNKNOWN}3.png"])
    split = Split(np.zeros((5, 2, 2, 1), np.uint8), np.array([0, 1, 1, 1, 0]), patients=patients)
    data = Dataset(name="made", source="made", splits={"train": split}, class_names=("no", "yes"))
    described = describe_flow(replace(data, exclusions=(Exclusion("hidden file", 2),)))
    train = described["splits"]["train"]
    assert (train["images"], train["patients"], train["images_without_patient"]) == (5, 2, 2)
    assert train["classes"] == {"no": 2, "yes": 3}
    assert train["fingerprint"] == split.fingerprint
    assert described["exclusions"] == [{"reason": "hidden file", "images": 2, "split": "", "patients": None}]
    assert known_patients(None) is None


def test_columns_are_summarised_without_texts_that_may_identify_patients() -> None:
    count = MAX_CATEGORIES + 1
    columns = {
        "age": np.array([*map(float, range(count)), np.nan]),
        "sex": np.array(["F", "M"] * 5)[: count + 1],
        "name": np.array([f"person {index}" for index in range(count + 1)]),
        "image": np.array(["train[0]"] * (count + 1)),
    }
    described = describe_columns(columns)
    assert described["age"] == {"quartiles": [2.0, 4.0, 6.0], "missing": 1}
    assert described["sex"] == {"counts": {"F": 5, "M": 5}, "missing": 0}
    assert described.keys() == {"age", "sex"}
