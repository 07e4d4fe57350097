"""The shortcut audit: facts that are not image content and tell the class, and no false alarms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

import keras_cnns
from keras_cnns.data import Dataset, Split
from keras_cnns.data.inspection import Inspection
from keras_cnns.data.inspection.facts import Fact, column_facts, measure_pixels, one_hot
from keras_cnns.data.inspection.headers import count_sizes, read_headers
from keras_cnns.data.inspection.prediction import area_under_curve, auc_interval
from keras_cnns.data.inspection.shortcuts import TOGETHER, Shortcut, audit, shortcut_notes

CLASSES = ("healthy", "ill", "other")


def photograph(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    """Return smooth random colours whose brightness does not depend on the seed's class."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_photos(root: Path, save: Callable[[int, int, Path], None], *, classes: int = 2, count: int = 12) -> Path:
    """Write `count` images of each class: `save` gets a seed, the class and the path without a suffix."""
    for label in range(classes):
        folder = root / CLASSES[label]
        folder.mkdir(parents=True)
        for index in range(count):
            save(index * classes + label, label, folder / f"{index:02}")
    return root


def found_in(inspection: Inspection) -> list[str]:
    """Return the facts that are no image content and tell the class."""
    return [each.fact for each in inspection.shortcuts if each.tells_class and not each.content]


def audit_labels(labels: np.ndarray, *facts: Fact, groups: np.ndarray | None = None) -> dict[str, Shortcut]:
    """Audit facts of images of which only the labels are known."""
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    split = Split(np.zeros((len(labels), 2, 2, 1), np.uint8), labels)
    names = tuple(f"class {label}" for label in range(classes))
    dataset = Dataset(name="set", source="set", splits={"train": split}, class_names=names)
    images = np.arange(len(labels))
    return {each.fact: each for each in audit(dataset, facts, images if groups is None else groups, images)}


def text_fact(values: np.ndarray, name: str = "maker") -> Fact:
    return Fact(name, one_hot(values.astype(str)), "balance")


# Facts of files


def save_sizes(seed: int, label: int, path: Path) -> None:
    photograph(seed, 32 + 8 * label, 32 + 8 * label).save(path.with_suffix(".png"))


def save_shapes(seed: int, label: int, path: Path) -> None:
    photograph(seed, *((48, 32), (32, 48))[label]).save(path.with_suffix(".png"))


def save_formats(seed: int, label: int, path: Path) -> None:
    photograph(seed).save(path.with_suffix((".png", ".jpg")[label]))


def save_qualities(seed: int, label: int, path: Path) -> None:
    photograph(seed).save(path.with_suffix(".jpg"), quality=(60, 95)[label])


def save_colours(seed: int, label: int, path: Path) -> None:
    photograph(seed).convert(("RGB", "L")[label]).save(path.with_suffix(".png"))


def save_cameras(seed: int, label: int, path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = ("Maker A", "Maker B")[label]
    photograph(seed).save(path.with_suffix(".jpg"), exif=exif)


@pytest.mark.parametrize(
    ("save", "fact"),
    [
        (save_sizes, "image size"),
        (save_shapes, "aspect ratio"),
        (save_formats, "file format"),
        (save_qualities, "JPEG quality"),
        (save_colours, "colour of the files"),
        (save_cameras, "camera (Exif)"),
    ],
)
def test_a_difference_between_the_files_of_the_classes_is_found(
    save: Callable[[int, int, Path], None], fact: str, tmp_path: Path
) -> None:
    found = keras_cnns.inspect(write_photos(tmp_path / "photos", save), image_size=32)
    assert fact in found_in(found)
    finding = next(each for each in found.findings if each.problem.startswith(fact))
    assert finding.problem.startswith(f"{fact} tells the class: AUC 1.00 (0.8")
    assert all(TOGETHER not in each.problem for each in found.findings)


@pytest.mark.parametrize("save", [save_sizes, save_shapes, save_formats, save_qualities, save_cameras])
def test_a_difference_that_all_classes_share_is_not_found(
    save: Callable[[int, int, Path], None], tmp_path: Path
) -> None:
    root = write_photos(tmp_path / "photos", lambda seed, _, path: save(seed, seed // 2 % 2, path))
    found = keras_cnns.inspect(root, image_size=32)
    assert found_in(found) == []
    assert all("tells" not in finding.problem for finding in found.findings)


def test_padding_makes_the_aspect_ratio_visible_after_resizing(tmp_path: Path) -> None:
    found = keras_cnns.inspect(write_photos(tmp_path / "photos", save_shapes), image_size=32)
    padding = next(each for each in found.shortcuts if each.fact == "padding")
    assert (padding.tells_class, padding.auc) == (True, 1.0)
    cropped = keras_cnns.inspect(tmp_path / "photos", image_size=32, resize="crop")
    assert all(each.fact != "padding" or not each.tells_class for each in cropped.shortcuts)


def test_burnt_in_text_in_a_corner_is_found(tmp_path: Path) -> None:
    def save(seed: int, label: int, path: Path) -> None:
        image = photograph(seed, 64, 64)
        for x in range(1, 7, 2 if label else 7):
            image.paste((255, 255, 255), (x, 1, x + 1, 7))
            image.paste((0, 0, 0), (x + 1, 1, x + 2, 7))
        image.save(path.with_suffix(".png"))

    found = keras_cnns.inspect(write_photos(tmp_path / "photos", save, count=30))
    corners = next(each for each in found.shortcuts if each.fact == "brightness of the corners")
    assert corners.tells_class
    assert corners.content
    assert "real content" in corners.advice


def test_headers_are_read_after_rotation_and_broken_ones_are_empty(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(0, 40, 20).save(tmp_path / "turned.jpg", exif=exif)
    photograph(0, 40, 20).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    headers = read_headers(tmp_path, ["turned.jpg", "plain.png", "broken.png"])
    assert [(header.get("width"), header.get("height")) for header in headers] == [(20, 40), (40, 20), (None, None)]
    assert count_sizes(headers) == {(20, 40): 1, (40, 20): 1}


# Columns


def write_table(root: Path, columns: str, rows: list[str]) -> Path:
    write_photos(root, lambda seed, _, path: photograph(seed).save(path.with_suffix(".png")))
    files = [f"{name}/{index:02}.png,{name}" for name in CLASSES[:2] for index in range(12)]
    lines = [f"{file},{row}" for file, row in zip(files, rows, strict=True)]
    (root / "cases.csv").write_text("\n".join((f"path,label,{columns}", *lines)))
    return root / "cases.csv"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("site", lambda index: ("A", "B")[index // 12]),
        ("site", lambda index: f"{'AB'[index // 12]}{index % 3}"),
        ("exposure", lambda index: f"{index // 12 + index % 5 / 10:.2f}"),
        ("date", lambda index: f"{2019 + index // 12}-03-{index % 12 + 1:02}"),
        ("StudyDate", lambda index: f"{2019 + index // 12}03{index % 12 + 1:02}"),
        ("operator", lambda index: "" if index < 12 else "Smith"),
    ],
    ids=["text", "texts", "numbers", "dates", "whole dates", "missing values"],
)
def test_a_column_that_tells_the_class_is_found(name: str, value: Callable[[int], str], tmp_path: Path) -> None:
    table = write_table(tmp_path / "photos", name, [value(index) for index in range(24)])
    assert found_in(keras_cnns.inspect(table))[:1] == [name]
    (note,) = shortcut_notes(keras_cnns.load(table))
    assert note.startswith(f"Shortcut: {name} tells the class: AUC 1.00")
    assert "keras-cnns inspect" in note


@pytest.mark.parametrize(
    "value", [str, lambda index: f"case-{index}", lambda index: "AB"[index % 2], lambda _: "A"],
    ids=["number of the image", "name of the image", "independent", "constant"],
)  # fmt: skip
def test_other_columns_are_not_found(value: Callable[[int], str], tmp_path: Path) -> None:
    table = write_table(tmp_path / "photos", "column", [value(index) for index in range(24)])
    assert found_in(keras_cnns.inspect(table)) == []
    assert shortcut_notes(keras_cnns.load(table)) == []


def test_columns_that_name_images_are_no_facts() -> None:
    columns = {"image": np.array(["train[0]", "train[1]"]), "id": np.arange(2.0), "code": np.array(["a", "b"])}
    assert list(column_facts(columns)) == []


# Judgement


def test_the_largest_of_several_classes_need_not_be_known_for_one_to_be_found() -> None:
    labels = np.arange(100) % 5
    found = audit_labels(labels, text_fact(labels == 3))["maker"]
    assert (found.label, found.tells_class) == ("class 3", True)
    assert str(found).startswith("maker tells 'class 3': AUC 1.00")
    assert audit_labels(labels, text_fact(labels))["maker"].label is None


def test_the_best_predicted_of_several_labels_counts() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (120, 4))
    found = audit_labels(labels, text_fact(labels[:, 2]))["maker"]
    assert (found.label, found.auc, found.tells_class) == ("class 2", 1.0, True)


def test_patients_and_not_images_are_counted_and_never_divided() -> None:
    labels = np.repeat([0, 1], 60)
    patients = np.repeat(np.arange(6), 20)
    maker = text_fact(labels)
    assert audit_labels(labels, maker)["maker"].tells_class
    assert audit_labels(labels, maker, groups=patients) == {}
    more = np.repeat(np.arange(24), 5)
    by_patient, by_image = audit_labels(labels, maker, groups=more)["maker"], audit_labels(labels, maker)["maker"]
    assert by_patient.tells_class
    assert by_patient.low < by_image.low
    identity = Fact("patient", one_hot(more.astype(str)), "")
    assert audit_labels(labels, identity, groups=more)["patient"].auc < 0.7


def test_facts_that_tell_the_class_only_together_are_found() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(0, 2, (2, 200))
    found = audit_labels(one ^ other, text_fact(one, "one"), text_fact(other, "other"))
    assert [fact for fact, each in found.items() if each.tells_class] == [TOGETHER]


@pytest.mark.parametrize("labels", [np.zeros(12, np.int64), np.array([0, 1, 1]), np.array([0] * 12 + [1] * 3)])
def test_too_few_images_are_not_audited(labels: np.ndarray) -> None:
    assert audit_labels(labels, text_fact(labels)) == {}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 30))
def test_random_facts_rarely_tell_the_class_clearly(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    facts = [text_fact(random.integers(0, 3, 2 * count)), Fact("number", random.normal(size=(2 * count, 2)), "")]
    assert not any(
        each.tells_class and each.low > 0.8 for each in audit_labels(np.arange(2 * count) % 2, *facts).values()
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_auc_is_that_of_scikit_learn(cases: list[tuple[int, bool]]) -> None:
    scores, positive = (np.array(values) for values in zip(*cases, strict=True))
    if 0 < positive.sum() < len(positive):
        assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


@given(st.floats(0, 1), st.integers(2, 500), st.integers(2, 500))
def test_intervals_contain_the_auc_and_narrow_with_the_number_of_images(auc: float, one: int, other: int) -> None:
    low, high = auc_interval(auc, one, other, 1.96)
    assert 0 <= low <= auc <= high <= 1
    wider_low, wider_high = auc_interval(auc, one, other, 3.0)
    assert wider_low <= low
    assert wider_high >= high
    more_low, more_high = auc_interval(auc, 4 * one, 4 * other, 1.96)
    assert more_high - more_low <= high - low + 1e-3


def test_a_perfect_prediction_of_few_images_has_a_wide_interval() -> None:
    lows = [auc_interval(1.0, count, count, 1.96)[0] for count in (5, 12, 100, 10_000)]
    assert lows == sorted(lows)
    assert lows[0] < 0.7 < lows[1] < 0.9 < lows[2] < 0.99 < lows[3]


def test_pixels_are_measured_at_the_edges() -> None:
    images = np.random.default_rng(0).integers(1, 256, (3, 16, 8, 3), np.uint8)
    images[0, :4] = 0
    images[1, :, -2:] = 7
    measured = measure_pixels(images)
    assert measured["padding"].tolist() == [[0.25, 0.0], [0.0, 0.25], [0.0, 0.0]]
    assert measured["colour"].tolist() == [[1.0], [1.0], [1.0]]
    assert measured["corners"][0, :4].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert measured["brightness"][:, 0] == pytest.approx(images[..., 1].mean(axis=(1, 2)))


def test_the_result_has_all_facts_as_json(tmp_path: Path) -> None:
    found: dict[str, Any] = keras_cnns.inspect(write_photos(tmp_path / "photos", save_formats)).as_dict()
    first = found["shortcuts"][0]
    assert (first["fact"], first["auc"], first["tells_class"]) == ("file format", 1.0, True)
    assert {"brightness", "brightness of the border"} <= {each["fact"] for each in found["shortcuts"]}
