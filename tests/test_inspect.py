"""Inspection: duplicates and other problems of datasets, false positives, and the contact sheet."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import keras_cnns
from keras_cnns import cli
from keras_cnns.data import Dataset, Split
from keras_cnns.data.duplicates import brightness_gradients, exact_duplicates, near_duplicates, pixel_hashes
from keras_cnns.data.inspection import Inspection, inspect_dataset
from keras_cnns.data.inspection.contact_sheet import draw_sheet, draw_text
from keras_cnns.errors import SettingError


def photograph(seed: int, *, side: int = 64, channels: int = 3) -> np.ndarray:
    """Return smooth random colours like those of photographs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, channels), np.uint8)
    image = Image.fromarray(coarse if channels == 3 else coarse[..., 0])
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)).reshape(side, side, channels)


def photographs(count: int, **options: Any) -> np.ndarray:
    return np.stack([photograph(seed, **options) for seed in range(count)])


def make_dataset(images: np.ndarray, labels: np.ndarray, classes: int = 2, validation: int = 0) -> Dataset:
    parts = {
        "train": Split(images[validation:], labels[validation:]),
        "validation": Split(images[:validation], labels[:validation]),
    }
    names = tuple(f"class {label}" for label in range(classes))
    return Dataset(name="set", source="set", splits={name: part for name, part in parts.items() if len(part)},
                   class_names=names)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each problem."""
    root = tmp_path_factory.mktemp("inspected") / "photos"
    for index in range(36):
        split = "val" if index % 3 == 2 else "train"
        path = root / split / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(index, side=40 + 8 * (index % 2))).save(path)
    shutil.copy(root / "train" / "cat" / "0.png", root / "val" / "cat" / "leak.png")
    shutil.copy(root / "train" / "cat" / "4.png", root / "train" / "dog" / "conflict.png")
    Image.open(root / "train" / "cat" / "6.png").save(root / "val" / "cat" / "near.jpg", quality=70)
    Image.new("RGB", (40, 40), "black").save(root / "train" / "dog" / "black.png")
    content = (root / "train" / "dog" / "1.png").read_bytes()
    (root / "train" / "dog" / "broken.png").write_bytes(content[: len(content) // 2])
    return root


@pytest.fixture(scope="module")
def found(folder: Path) -> Inspection:
    return keras_cnns.inspect(folder, image_size=40)


# Near duplicates


def with_pillow(change: Callable[[Image.Image], Image.Image]) -> Callable[[np.ndarray], np.ndarray]:
    def apply(image: np.ndarray) -> np.ndarray:
        return np.asarray(change(Image.fromarray(image)))

    return apply


def compress(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "compressed": with_pillow(compress),
    "reduced and enlarged": with_pillow(lambda image: image.resize((32, 32)).resize((64, 64))),
    "rotated by a degree": with_pillow(lambda image: image.rotate(1, Image.Resampling.BILINEAR)),
    "brighter": lambda image: np.asarray((image * 0.8 + 40).astype(np.uint8)),
    "noisy": lambda image: np.asarray(
        (image + np.random.default_rng(0).normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changed_versions_of_an_image_are_near_duplicates(change: Callable[[np.ndarray], np.ndarray]) -> None:
    images = photographs(80)
    images[70:] = [change(image) for image in images[:10]]
    pairs = near_duplicates(brightness_gradients(images), *pixel_hashes(images))
    assert sorted((one, other) for one, other, _ in pairs) == [(index, index + 70) for index in range(10)]


def test_different_identical_and_blank_images_are_not_near_duplicates() -> None:
    images = photographs(80)
    images[10:20], images[20:30] = images[:10], 7
    (hashes,) = pixel_hashes(images)
    assert near_duplicates(brightness_gradients(images), hashes) == []
    assert [group.tolist() for group in exact_duplicates(hashes)] == [[index, index + 10] for index in range(10)]


def test_pairs_do_not_stand_out_if_all_images_are_similar() -> None:
    one, noise = photograph(0).astype(float), np.random.default_rng(0).normal(0, 8, (60, 64, 64, 3))
    images = (one + noise).clip(0, 255).astype(np.uint8)
    assert near_duplicates(brightness_gradients(images), *pixel_hashes(images)) == []


def test_real_images_have_no_false_near_duplicates(pneumonia: Path) -> None:
    lungs = keras_cnns.inspect(pneumonia)
    assert lungs.near_duplicates == ()
    assert sum(len(group.samples) for group in lungs.exact_duplicates) == 50
    assert [(leak.splits, len(leak.pairs)) for leak in lungs.leaks] == [(("train", "validation"), 8)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_images_can_be_compared(count: int) -> None:
    images = photographs(count)
    assert near_duplicates(brightness_gradients(images), *pixel_hashes(images)) == []


def test_gradients_are_robust_to_size_brightness_contrast_and_rgb() -> None:
    small, large = photograph(0, side=24, channels=1), photograph(0, side=240, channels=1)
    versions = [small, small // 2 + 40, np.repeat(small, 3, axis=-1)]
    gradients = [brightness_gradients(image[np.newaxis])[0] for image in (*versions, large)]
    assert min(np.corrcoef(gradients[0], other)[0, 1] for other in gradients) > 0.99


# Findings


def test_all_problems_are_found_with_examples(found: Inspection) -> None:
    problems = [finding.problem for finding in found.findings]
    expected = (
        ("1 file cannot be read", "train/dog/broken.png"),
        ("1 image is in both train and validation", "train/cat/0.png and val/cat/leak.png"),
        ("1 group of identical images with different labels", "4.png (cat) and train/dog/conflict.png (dog)"),
        ("file size (bytes per pixel) tells the class: AUC", "0.9"),
        ("image size tells the class: AUC", "0.9"),
        ("4 images in 2 groups of identical images", "val/cat/leak.png"),
        ("1 pair of nearly identical images in different splits", "train/cat/6.png and val/cat/near.jpg"),
        ("1 image of a single colour", "train/dog/black.png"),
    )
    assert len(problems) == len(expected)
    for problem, (start, example) in zip(problems, expected, strict=True):
        assert problem.startswith(start), problem
        assert example in problem


def test_the_contents_are_counted(found: Inspection) -> None:
    assert {name: split.images for name, split in found.splits.items()} == {"train": 26, "validation": 14}
    assert found.splits["train"].classes == (12, 14)
    assert found.imbalance == pytest.approx(14 / 12)
    assert (found.task, found.class_names, found.image_shape) == ("binary", ("cat", "dog"), (40, 40, 3))
    assert sum(found.file_sizes.values()) == 40
    assert found.fingerprint == keras_cnns.load(found.source, image_size=40, skip_broken=True,
                                                leaks="allow").fingerprint  # fmt: skip


def test_pixel_statistics_equal_those_of_numpy() -> None:
    images = photographs(12)
    summary = inspect_dataset(make_dataset(images, np.arange(12) % 2)).splits["train"]
    assert (summary.mean, summary.std) == pytest.approx((images.mean(), images.std()))


def test_a_clean_dataset_has_no_findings() -> None:
    clean = inspect_dataset(make_dataset(photographs(20), np.arange(20) % 2, validation=6))
    assert clean.findings == ()
    assert "No problems were found" in clean.describe()


def test_imbalance_of_multi_label_data() -> None:
    labels = np.array([[1, 1]] * 3 + [[1, 0]] * 9)
    several = inspect_dataset(make_dataset(photographs(12), labels))
    assert several.splits["train"].classes == (12, 3)
    assert "4.0 times as many" in several.findings[-1].problem
    assert several.task == "multi-label"


def test_patients_are_counted_and_their_leaks_are_found() -> None:
    parts = {
        "train": Split(photographs(4), np.arange(4) % 2, patients=np.array(["a", "a", "b", ""])),
        "test": Split(photographs(6)[4:], np.arange(2), patients=np.array(["b", "c"])),
    }
    found = inspect_dataset(Dataset(name="set", source="set", splits=parts, class_names=("no", "yes")))
    assert [split.patients for split in found.splits.values()] == [2, 2]
    assert found.findings[0].problem == "1 patient is in both train and test ('b': train[2] and test[0])"


# Contact sheet


@pytest.mark.parametrize(
    ("classes", "side", "channels"), [(2, 8, 1), (10, 28, 1), (13, 28, 3), (2, 256, 3), (130, 12, 1)]
)
def test_a_contact_sheet_can_have_any_number_of_classes_and_any_image_size(
    classes: int, side: int, channels: int
) -> None:
    count = 2 * classes
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)
    images[1] = images[0]
    dataset = make_dataset(images, np.arange(count) % classes, classes)
    inspection = inspect_dataset(dataset)
    sheet = draw_sheet(dataset, inspection, augmentation=None, seed=0)
    assert 400 < sheet.width < 2000
    assert sheet.height < 170 * min(classes, 45) + 800
    edges = np.asarray(sheet)
    for edge in (edges[:20], edges[-20:], edges[:, :20], edges[:, -20:]):
        assert (edge == 255).all(), "something is cut off at an edge"
    assert sheet.tobytes() == draw_sheet(dataset, inspection, augmentation=None, seed=0).tobytes()


def test_small_images_are_enlarged_without_interpolation() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 1), np.uint8)
    dataset = make_dataset(images, np.arange(2))
    sheet = np.asarray(draw_sheet(dataset, inspect_dataset(dataset), augmentation=None, seed=0))[..., 0]
    large = images[0, ..., 0].repeat(14, axis=0).repeat(14, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:, 24 : 24 + 112], 112, axis=0).transpose(0, 2, 1)
    assert (windows == large).all(axis=(1, 2)).any()


def test_augmented_images_are_shown_next_to_the_originals() -> None:
    dataset = make_dataset(photographs(6, side=28), np.arange(6) % 2)
    inspection = inspect_dataset(dataset)
    without = draw_sheet(dataset, inspection, augmentation=None, seed=0)
    augmented = draw_sheet(dataset, inspection, augmentation="light", seed=0)
    assert augmented.height > without.height + 6 * 112
    assert augmented.tobytes() == draw_sheet(dataset, inspection, augmentation="light", seed=0).tobytes()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"sheet": "sheet.jpg"}, "end in .png"),
        ({"sheet": "nowhere/sheet.png"}, "nowhere/sheet.png"),
        ({"augmentation": "light"}, "--sheet"),
        ({"sheet": "sheet.png", "augmentation": "ligth"}, "Did you mean 'light'"),
    ],
)
def test_errors_of_the_contact_sheet_are_raised_before_reading_images(
    arguments: dict[str, str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=part):
        keras_cnns.inspect("no/such/source", **arguments)  # type: ignore[arg-type]


# Command line


def test_the_command_prints_findings_and_writes_the_contact_sheet(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert cli.main(("inspect", str(folder), "--image-size", "40", "--sheet", str(sheet))) == 0
    printed = capsys.readouterr()
    for part in ("photos, fingerprint", "40x40x3", "not known", "53.8%", "broken.png", "-> find out which label",
                 "image size tells the class: AUC"):  # fmt: skip
        assert part in printed.out, part
    assert printed.err == f"contact sheet: {sheet}\n"
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet.png"]


def test_the_command_prints_json(folder: Path, found: Inspection, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(("inspect", str(folder), "--image-size", "40", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(found.as_dict()))
    assert printed["broken"][0]["file"] == "train/dog/broken.png"
    assert printed["near_duplicates"][0]["across_splits"]


def test_all_broken_files_are_listed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = shutil.copytree(folder, tmp_path / "photos")
    for index in range(4):
        (root / "train" / "cat" / f"broken{index}.png").write_bytes(b"")
    assert cli.main(("inspect", str(root), "--image-size", "40")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "5 files cannot be read" in line).endswith("; and 2 more")
    listed = lines.index("Files that cannot be read:") + 1
    assert lines[listed + 4].startswith("  train/dog/broken.png: is broken")


def test_the_error_for_a_missing_source_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(("inspect", "no/such/source")) == 2
    message = capsys.readouterr().err
    assert message.startswith("keras-cnns: no/such/source: does not exist")
    assert message.count("\n") == 1


def test_long_names_are_cut_at_the_beginning_or_the_end() -> None:
    first, second = ("grade 1 " + "of a long name" * 9, "grade 2 " + "of a long name" * 9)
    texts = [draw_text(name, 14, width=200, keep_end=False) for name in (first, second)]
    assert texts[0].tobytes() != texts[1].tobytes()
    assert max(image.width for image in texts) <= 201
    assert draw_text(first, 14, width=200).tobytes() == draw_text(second, 14, width=200).tobytes()
