"""What `inspect` finds in images, what it does not take for a finding, and what it draws."""

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
from keras_cnns.data.duplicates import brightness_steps, exact_duplicates, near_duplicates, pixel_hashes
from keras_cnns.data.inspection import Inspection, inspect_dataset
from keras_cnns.data.sheet import draw_sheet, words
from keras_cnns.errors import DataError, SettingError


def photograph(seed: int, *, side: int = 64, channels: int = 3) -> np.ndarray:
    """Return smooth random colours, as photographs have them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, channels), np.uint8)
    image = Image.fromarray(coarse if channels == 3 else coarse[..., 0])
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)).reshape(side, side, channels)


def photographs(count: int, **how: Any) -> np.ndarray:
    return np.stack([photograph(seed, **how) for seed in range(count)])


def data(images: np.ndarray, labels: np.ndarray, classes: int = 2, held: int = 0) -> Dataset:
    parts = {"train": Split(images[held:], labels[held:]), "validation": Split(images[:held], labels[:held])}
    names = tuple(f"class {label}" for label in range(classes))
    return Dataset(name="set", source="set", splits={name: part for name, part in parts.items() if len(part)},
                   class_names=names)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each fault."""
    root = tmp_path_factory.mktemp("inspected") / "photos"
    for place in range(36):
        split = "val" if place % 3 == 2 else "train"
        path = root / split / ("cat", "dog")[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(place, side=40 + 8 * (place % 2))).save(path)
    shutil.copy(root / "train" / "cat" / "0.png", root / "val" / "cat" / "leak.png")
    shutil.copy(root / "train" / "cat" / "4.png", root / "train" / "dog" / "conflict.png")
    Image.open(root / "train" / "cat" / "6.png").save(root / "val" / "cat" / "near.jpg", quality=70)
    Image.new("RGB", (40, 40), "black").save(root / "train" / "dog" / "black.png")
    whole = (root / "train" / "dog" / "1.png").read_bytes()
    (root / "train" / "dog" / "broken.png").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="module")
def found(folder: Path) -> Inspection:
    return keras_cnns.inspect(folder, image_size=40)


# Near duplicates


def again(change: Callable[[Image.Image], Image.Image]) -> Callable[[np.ndarray], np.ndarray]:
    def changed(image: np.ndarray) -> np.ndarray:
        return np.asarray(change(Image.fromarray(image)))

    return changed


def compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "compressed": again(compressed),
    "smaller and larger again": again(lambda image: image.resize((32, 32)).resize((64, 64))),
    "turned by a degree": again(lambda image: image.rotate(1, Image.Resampling.BILINEAR)),
    "brighter": lambda image: np.asarray((image * 0.8 + 40).astype(np.uint8)),
    "noisy": lambda image: np.asarray(
        (image + np.random.default_rng(0).normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_image_is_known_again_however_it_was_saved(change: Callable[[np.ndarray], np.ndarray]) -> None:
    images = photographs(80)
    images[70:] = [change(image) for image in images[:10]]
    pairs = near_duplicates(brightness_steps(images), pixel_hashes(images))
    assert sorted((one, other) for one, other, _ in pairs) == [(place, place + 70) for place in range(10)]


def test_other_photographs_and_identical_or_blank_ones_are_no_near_duplicates() -> None:
    images = photographs(80)
    images[10:20], images[20:30] = images[:10], 7
    hashes = pixel_hashes(images)
    assert near_duplicates(brightness_steps(images), hashes) == []
    assert [group.tolist() for group in exact_duplicates(hashes)] == [[place, place + 10] for place in range(10)]


def test_images_that_are_all_alike_do_not_stand_out() -> None:
    one, noise = photograph(0).astype(float), np.random.default_rng(0).normal(0, 8, (60, 64, 64, 3))
    images = (one + noise).clip(0, 255).astype(np.uint8)
    assert near_duplicates(brightness_steps(images), pixel_hashes(images)) == []


def test_real_images_are_not_taken_for_each_other(pneumonia: Path) -> None:
    lungs = keras_cnns.inspect(pneumonia)
    assert lungs.near == ()
    assert sum(len(group.samples) for group in lungs.exact) == 50
    assert [(leak.splits, len(leak.pairs)) for leak in lungs.leaks] == [(("train", "validation"), 8)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_are_compared_too(count: int) -> None:
    images = photographs(count)
    assert near_duplicates(brightness_steps(images), pixel_hashes(images)) == []


def test_steps_do_not_depend_on_size_brightness_or_contrast_and_see_colour_as_grey() -> None:
    small, large = photograph(0, side=24, channels=1), photograph(0, side=240, channels=1)
    shown = [small, small // 2 + 40, np.repeat(small, 3, axis=-1)]
    steps = [brightness_steps(image[np.newaxis])[0] for image in (*shown, large)]
    assert min(np.corrcoef(steps[0], other)[0, 1] for other in steps) > 0.99


# What is found


def test_every_fault_is_found_and_named(found: Inspection) -> None:
    whats = [finding.what for finding in found.findings]
    wanted = (
        ("1 file cannot be read", "train/dog/broken.png"),
        ("1 image is in both train and validation", "train/cat/0.png and val/cat/leak.png"),
        ("1 group of identical images with different labels", "4.png (cat) and train/dog/conflict.png (dog)"),
        ("4 images are only 2 different ones", "val/cat/leak.png"),
        ("1 pair of nearly equal images in different splits", "train/cat/6.png and val/cat/near.jpg"),
        ("1 image of one colour", "train/dog/black.png"),
        ("files of 2 sizes", "40 to 48 pixels wide"),
    )
    assert len(whats) == len(wanted)
    for what, (beginning, example) in zip(whats, wanted, strict=True):
        assert what.startswith(beginning), what
        assert example in what


def test_what_there_is_is_counted(found: Inspection) -> None:
    assert {name: contents.images for name, contents in found.splits.items()} == {"train": 26, "validation": 14}
    assert found.splits["train"].classes == (12, 14)
    assert found.imbalance == pytest.approx(14 / 12)
    assert (found.task, found.class_names, found.image_shape) == ("binary", ("cat", "dog"), (40, 40, 3))
    assert sum(found.sizes.values()) == 40
    assert found.fingerprint == keras_cnns.load(found.source, image_size=40, skip_broken=True,
                                                allow_leaks=True).fingerprint  # fmt: skip


def test_pixels_are_those_of_numpy() -> None:
    images = photographs(12)
    contents = inspect_dataset(data(images, np.arange(12) % 2)).splits["train"]
    assert (contents.mean, contents.std) == pytest.approx((images.mean(), images.std()))


def test_a_clean_data_set_has_no_findings() -> None:
    clean = inspect_dataset(data(photographs(20), np.arange(20) % 2, held=6))
    assert clean.findings == ()
    assert "Nothing was found" in clean.describe()


def test_imbalance_and_several_labels() -> None:
    labels = np.array([[1, 1]] * 3 + [[1, 0]] * 9)
    several = inspect_dataset(data(photographs(12), labels))
    assert several.splits["train"].classes == (12, 3)
    assert "4.0 times as many" in several.findings[-1].what
    assert several.task == "multi-label"


def test_patients_are_counted_and_their_leaks_found() -> None:
    parts = {
        "train": Split(photographs(4), np.arange(4) % 2, patients=np.array(["a", "a", "b", ""])),
        "test": Split(photographs(6)[4:], np.arange(2), patients=np.array(["b", "c"])),
    }
    found = inspect_dataset(Dataset(name="set", source="set", splits=parts, class_names=("no", "yes")))
    assert [contents.patients for contents in found.splits.values()] == [2, 2]
    assert found.findings[0].what == "1 patient is in both train and test ('b': train[2] and test[0])"


# The sheet


@pytest.mark.parametrize(
    ("classes", "side", "channels"), [(2, 8, 1), (10, 28, 1), (13, 28, 3), (2, 256, 3), (130, 12, 1)]
)
def test_a_sheet_is_drawn_for_any_number_of_classes_and_any_size(classes: int, side: int, channels: int) -> None:
    count = 2 * classes
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)
    images[1] = images[0]
    drawn = data(images, np.arange(count) % classes, classes)
    inspection = inspect_dataset(drawn)
    sheet = draw_sheet(drawn, inspection, augmented=None, seed=0)
    assert 400 < sheet.width < 2000
    assert sheet.height < 170 * min(classes, 45) + 800
    edges = np.asarray(sheet)
    for edge in (edges[:20], edges[-20:], edges[:, :20], edges[:, -20:]):
        assert (edge == 255).all(), "something is cut off at an edge"
    assert sheet.tobytes() == draw_sheet(drawn, inspection, augmented=None, seed=0).tobytes()


def test_pixels_of_small_images_are_shown_whole() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 1), np.uint8)
    drawn = data(images, np.arange(2))
    sheet = np.asarray(draw_sheet(drawn, inspect_dataset(drawn), augmented=None, seed=0))[..., 0]
    large = images[0, ..., 0].repeat(14, axis=0).repeat(14, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:, 24 : 24 + 112], 112, axis=0).transpose(0, 2, 1)
    assert (windows == large).all(axis=(1, 2)).any()


def test_augmented_images_are_shown_beside_their_originals() -> None:
    drawn = data(photographs(6, side=28), np.arange(6) % 2)
    inspection = inspect_dataset(drawn)
    without = draw_sheet(drawn, inspection, augmented=None, seed=0)
    augmented = draw_sheet(drawn, inspection, augmented="light", seed=0)
    assert augmented.height > without.height + 6 * 112
    assert augmented.tobytes() == draw_sheet(drawn, inspection, augmented="light", seed=0).tobytes()


@pytest.mark.parametrize(
    ("arguments", "kind", "culprit"),
    [
        ({"sheet": "sheet.jpg"}, SettingError, "end in .png"),
        ({"sheet": "nowhere/sheet.png"}, SettingError, "nowhere/sheet.png"),
        ({"augmented": "light"}, SettingError, "--sheet"),
        ({"sheet": "sheet.png", "augmented": "ligth"}, DataError, "Did you mean 'light'"),
    ],
)
def test_mistakes_are_told_before_any_image_is_read(
    arguments: dict[str, str], kind: type[Exception], culprit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=culprit):
        keras_cnns.inspect("no/such/source", **arguments)  # type: ignore[arg-type]


# The command


def test_the_command_prints_what_was_found_and_draws(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert cli.main(("inspect", str(folder), "--image-size", "40", "--sheet", str(sheet))) == 0
    printed = capsys.readouterr()
    for part in ("photos, fingerprint", "40x40x3", "not known", "53.8%", "broken.png", "-> find out which label"):
        assert part in printed.out, part
    assert printed.err == f"sheet: {sheet}\n"
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet.png"]


def test_the_command_prints_all_for_programs(
    folder: Path, found: Inspection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(("inspect", str(folder), "--image-size", "40", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(found.as_dict()))
    assert printed["broken"][0]["file"] == "train/dog/broken.png"
    assert printed["near"][0]["across"]


def test_many_files_that_cannot_be_read_have_a_line_each(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(folder, tmp_path / "photos")
    for place in range(4):
        (root / "train" / "cat" / f"broken{place}.png").write_bytes(b"")
    assert cli.main(("inspect", str(root), "--image-size", "40")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "5 files cannot be read" in line).endswith("; and 2 more")
    listed = lines.index("Files that cannot be read:") + 1
    assert lines[listed + 4].startswith("  train/dog/broken.png: is broken")


def test_a_source_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(("inspect", "no/such/source")) == 2
    message = capsys.readouterr().err
    assert message.startswith("keras-cnns: no/such/source: does not exist")
    assert message.count("\n") == 1


def test_long_names_keep_what_tells_them_apart() -> None:
    first, second = ("grade 1 " + "of a long name" * 9, "grade 2 " + "of a long name" * 9)
    drawn = [words(name, 14, width=200, keep_end=False) for name in (first, second)]
    assert drawn[0].tobytes() != drawn[1].tobytes()
    assert max(image.width for image in drawn) <= 201
    assert words(first, 14, width=200).tobytes() == words(second, 14, width=200).tobytes()
