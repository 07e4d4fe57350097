"""Sources, conversion, validation splits and error messages of `load`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns.data import Dataset, Split, load
from keras_cnns.data.dataset import SPLITS
from keras_cnns.data.partition import hold_out
from keras_cnns.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20) % 2


def assert_error(source: Path | str, *parts: str, **arguments: Any) -> None:
    with pytest.raises(DataError) as raised:
        load(source, **arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [part for part in parts if part not in message] == [], message


def archive(path: Path, **changes: Any) -> Path:
    arrays = {"train_images": IMAGES, "train_labels": LABELS[:, np.newaxis], **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def save_image(path: Path, *, size: tuple[int, int] = (5, 6), mode: str = "L", value: Any = None, **saved: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (90 if mode == "L" else (10, 20, 30)) if value is None else value).save(path, **saved)
    return path


def folder(
    root: Path, splits: tuple[str, ...] = ("",), classes: tuple[str, ...] = ("cat", "dog"), count: int = 6
) -> Path:
    for split in splits:
        for label, name in enumerate(classes):
            for index in range(count):
                save_image(root / split / name / f"{index}.png", value=label * 100 + index)
    return root


def dataset(images: np.ndarray = IMAGES[..., np.newaxis], labels: np.ndarray = LABELS) -> Dataset:
    return Dataset(name="a", source="a", splits={"train": Split(images, labels)}, class_names=("no", "yes"))


# Sources


def test_digits_have_a_stratified_fifth_as_validation_split() -> None:
    digits = load()
    assert (len(digits.splits["train"]), len(digits.splits["validation"])) == (1437, 360)
    assert "test" not in digits.splits
    assert digits.image_shape == (8, 8, 1)
    assert (digits.classes, digits.task, digits.class_names[9]) == (10, "multi-class", "9")
    assert digits.splits["train"].images.dtype == np.uint8
    assert digits.splits["train"].images.max() == 255
    assert "stratified, seed 0" in " ".join(digits.notes)
    assert "No test split" in " ".join(digits.notes)
    assert digits.fingerprint == load("digits").fingerprint != load("digits", seed=1).fingerprint


def test_a_medmnist_file_keeps_its_validation_split(pneumonia: Path) -> None:
    lungs = load(pneumonia, leaks="allow")
    assert {name: len(split) for name, split in lungs.splits.items()} == {"train": 4708, "validation": 524}
    assert (lungs.image_shape, lungs.task) == ((28, 28, 1), "binary")
    assert lungs.name == "pneumoniamnist_trainval.npz"
    assert [note for note in lungs.notes if "Validation" in note] == []
    assert "No test split" in " ".join(lungs.notes)


def test_validation_images_never_come_from_the_test_split(mnist: Path) -> None:
    digits = load(mnist)
    assert {name: len(split) for name, split in digits.splits.items()} == {
        "train": 48_000,
        "validation": 12_000,
        "test": 10_000,
    }
    with np.load(mnist) as arrays:
        assert (digits.splits["test"].images[..., 0] == arrays["x_test"]).all()


@pytest.mark.parametrize("shape", [(20, 6, 5), (20, 6, 5, 1), (20, 6, 5, 3)])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, np.newaxis], LABELS.astype(np.uint8), LABELS.astype(float)])
def test_archives_may_be_greyscale_or_rgb_with_labels_of_either_shape(
    tmp_path: Path, shape: tuple[int, ...], labels: np.ndarray
) -> None:
    images = RANDOM.integers(0, 256, shape, np.uint8)
    read = load(archive(tmp_path / "a.npz", train_images=images, train_labels=labels))
    assert read.image_shape == (6, 5, shape[3] if len(shape) == 4 else 1)
    assert read.splits["train"].labels.dtype == np.int64
    assert read.splits["train"].images.flags.c_contiguous


def test_floats_of_0_to_1_and_of_0_to_255_become_the_same_pixels(tmp_path: Path) -> None:
    whole = load(archive(tmp_path / "whole.npz")).fingerprint
    assert load(archive(tmp_path / "bytes.npz", train_images=IMAGES.astype(np.float32))).fingerprint == whole
    assert load(archive(tmp_path / "unit.npz", train_images=IMAGES / 255)).fingerprint == whole


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "valid")])
def test_a_folder_of_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    read = load(folder(tmp_path, names))
    assert set(read.splits) == set(SPLITS[: len(names)])
    assert read.class_names == ("cat", "dog")
    assert read.splits["train"].images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104, 105]


def test_files_that_are_not_images_are_ignored_and_noted_unless_they_are_hidden(
    tmp_path: Path,
) -> None:
    folder(tmp_path)
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    assert "Ignored hidden images: 1." in load(tmp_path).notes
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / "0.XYZ").write_text("an unknown format")
    (tmp_path / "loose.png").write_bytes(b"")
    read = load(tmp_path)
    assert read.notes[1:3] == (
        "Ignored images outside class folders: 1, such as loose.png.",
        "Ignored files that are not images by their suffix: 2 (.txt, .xyz).",
    )
    assert sum(map(len, read.splits.values())) == 12
    assert read.fingerprint == load(tmp_path).fingerprint


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "tif", "tiff", "gif", "webp", "jp2", "pgm"])
def test_a_folder_may_have_any_format(tmp_path: Path, suffix: str) -> None:
    for name in ("cat", "dog"):
        for index in range(6):
            save_image(tmp_path / name / f"{index}.{suffix}", value=90)
    assert load(tmp_path).image_shape[:2] == (6, 5)


def test_one_rgb_image_makes_all_rgb_and_alpha_is_dropped(tmp_path: Path) -> None:
    folder(tmp_path)
    assert load(tmp_path).image_shape == (6, 5, 1)
    save_image(tmp_path / "cat" / "0.png", mode="RGBA", value=(200, 100, 50, 0))
    read = load(tmp_path, seed=1)
    everything = np.concatenate([split.images for split in read.splits.values()])
    assert everything.shape == (12, 6, 5, 3)
    assert (everything[:, 0, 0] == (200, 100, 50)).all(axis=1).sum() == 1


def test_16_bit_greyscale_is_reduced_to_the_upper_8_bits(tmp_path: Path) -> None:
    folder(tmp_path, ("train", "val"))
    deep = np.full((6, 5), 0x8000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "train" / "cat" / "0.png")
    assert load(tmp_path).splits["train"].images[0].max() == 128


def test_floating_point_files_of_0_to_1_are_scaled_and_others_need_a_range(tmp_path: Path) -> None:
    folder(tmp_path, ("train", "val"))
    path = tmp_path / "train" / "cat" / "0.tif"
    Image.fromarray(np.linspace(0, 1, 30, dtype=np.float32).reshape(6, 5)).save(path)
    read = load(tmp_path)
    image = read.splits["train"].images[read.splits["train"].files.index("train/cat/0.tif")]
    assert (image[..., 0] == np.rint(np.linspace(0, 255, 30)).reshape(6, 5)).all()
    Image.fromarray(np.linspace(-3.5, 2.25, 30, dtype=np.float32).reshape(6, 5)).save(path)
    with pytest.raises(
        DataError, match=r"floating-point TIFF: values range from -3.5 to 2.25; .*--value-range LOW HIGH"
    ):
        load(tmp_path)
    assert load(tmp_path, value_range=(-3.5, 2.25)).splits["train"].images.max() == 255


def test_the_orientation_in_exif_is_applied(tmp_path: Path) -> None:
    folder(tmp_path, ("train", "val"))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "train" / "cat" / "0.png").unlink()
    save_image(tmp_path / "train" / "cat" / "0.jpg", size=(6, 5), exif=exif)
    assert load(tmp_path).image_shape == (6, 5, 1)


# Sizes and channels


def test_resizing_to_the_same_size_does_not_change_images(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz")
    assert load(path, image_size=(6, 5)).fingerprint == load(path).fingerprint


@pytest.mark.parametrize(("size", "shape"), [(12, (12, 12, 3)), ((4, 8), (4, 8, 3))])
def test_all_splits_are_converted_to_the_size_and_channels(
    tmp_path: Path, size: int | tuple[int, int], shape: tuple[int, int, int]
) -> None:
    read = load(archive(tmp_path / "a.npz"), image_size=size, channels=3)
    assert {split.images.shape[1:] for split in read.splits.values()} == {shape}


def test_greyscale_images_survive_a_conversion_to_rgb_and_back(tmp_path: Path) -> None:
    colour = np.repeat(IMAGES[..., np.newaxis], 3, axis=-1)
    grey = load(archive(tmp_path / "colour.npz", train_images=colour), channels=1)
    assert grey.fingerprint == load(archive(tmp_path / "grey.npz")).fingerprint


@pytest.mark.parametrize("arguments", [{"image_size": 0}, {"image_size": (4, -1)}, {"channels": 2}])
def test_impossible_sizes_and_channels_are_errors(arguments: dict[str, Any]) -> None:
    assert_error("digits", **arguments)


# Datasets


def test_pixel_statistics_are_those_of_the_training_images_with_a_minimum_deviation() -> None:
    images = np.stack([IMAGES, np.full_like(IMAGES, 7), IMAGES // 2], axis=-1)
    read = dataset(images)
    assert read.pixel_mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert read.pixel_std == pytest.approx((IMAGES.std(), 1.0, (IMAGES // 2).std()))


def test_a_pickled_dataset_is_the_same() -> None:
    digits = load()
    copy = pickle.loads(pickle.dumps(digits))  # noqa: S301 - pickled on the same line
    assert copy.fingerprint == digits.fingerprint
    assert copy.describe() == digits.describe()
    assert digits.name in digits.describe()


@given(position=st.tuples(st.integers(0, 19), st.integers(0, 5), st.integers(0, 4)), by=st.integers(1, 255))
def test_the_fingerprint_depends_on_every_pixel_and_every_label(position: tuple[int, int, int], by: int) -> None:
    images, labels = IMAGES.copy(), LABELS.copy()
    images[position] ^= np.uint8(by)
    labels[position[0]] = 1 - labels[position[0]]
    fingerprints = {
        dataset().fingerprint,
        dataset(images[..., np.newaxis]).fingerprint,
        dataset(labels=labels).fingerprint,
    }
    assert len(fingerprints) == 3
    assert {len(fingerprint) for fingerprint in fingerprints} == {16}


@settings(deadline=None)
@given(counts=st.lists(st.integers(5, 60), min_size=2, max_size=6), seed=st.integers(0, 2**31))
def test_held_out_images_are_disjoint_stratified_and_reproducible(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, held = hold_out(labels, 0.2, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    share = np.bincount(labels[held], minlength=len(counts))
    assert (np.abs(share - np.array(counts) * len(held) / len(labels)) <= 1).all()
    assert [part.tolist() for part in hold_out(labels, 0.2, seed)] == [kept.tolist(), held.tolist()]


# Errors


def test_errors_for_broken_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.npz").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "text": b"not zip", "empty": b""}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        assert_error(tmp_path / f"{name}.npz", f"{name}.npz")
    np.savez(tmp_path / "other.npz", pixels=IMAGES, answers=LABELS)
    assert_error(tmp_path / "other.npz", "other.npz", "answers, pixels")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    assert_error(archive(tmp_path / "a.npz", train_labels=np.array([{}] * 20, object)), "a.npz", "pickled")


NAN, BRIGHT = IMAGES.astype(np.float32), IMAGES.astype(np.float32)
NAN[3, 1, 1] = np.nan
BRIGHT[3, 1, 1] = 300


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"train_labels": LABELS[:-1]}, "19"),
        ({"train_labels": np.arange(20) % 3 - 1}, "-1"),
        ({"train_labels": LABELS + 0.5}, "whole numbers"),
        ({"train_labels": np.full(20, "cat")}, "whole numbers"),
        ({"train_labels": LABELS * 2}, "'1'"),
        ({"train_labels": LABELS * 0}, "one class"),
        ({"train_labels": 2 * np.eye(2, dtype=int)[LABELS]}, "2 columns"),
        ({"val_images": IMAGES, "val_labels": LABELS + 5}, "validation label 5 is out of range"),
        ({"train_images": NAN}, "image 3"),
        ({"train_images": BRIGHT}, "300"),
        ({"train_images": -BRIGHT}, "-300"),
        ({"train_images": IMAGES[:, 0]}, "(20, 5)"),
        ({"train_images": IMAGES[:0], "train_labels": LABELS[:0]}, "0 train images"),
        ({"train_labels": (np.arange(20) == 0).astype(int)}, "'1'"),
    ],
)
def test_errors_for_invalid_archives(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    assert_error(archive(tmp_path / "a.npz", **changes), "a.npz", part)


def test_the_error_for_a_broken_image_names_the_file(tmp_path: Path) -> None:
    folder(tmp_path)
    whole = tmp_path / "cat" / "3.png"
    whole.write_bytes(whole.read_bytes()[:40])
    assert_error(tmp_path, "cat/3.png")


def test_the_error_for_mixed_sizes_names_two_files_and_the_option(tmp_path: Path) -> None:
    save_image(folder(tmp_path) / "cat" / "3.png", size=(9, 9))
    assert_error(tmp_path, "3.png", "0.png", "--image-size")
    assert load(tmp_path, image_size=8).image_shape == (8, 8, 1)


@pytest.mark.parametrize("make", [lambda _: None, lambda root: (root / "cat").mkdir()])
def test_errors_for_empty_folders(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    assert_error(tmp_path, tmp_path.name)


def test_links_out_of_the_folder_are_errors(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "link.png").symlink_to(save_image(tmp_path / "elsewhere.png"))
    assert_error(root, "link.png", "outside")


def test_the_error_for_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(folder: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    assert_error(tmp_path, tmp_path.name, "permission")


def test_the_error_for_a_class_with_too_few_images_to_split(tmp_path: Path) -> None:
    folder(tmp_path)
    for index in range(1, 6):
        (tmp_path / "dog" / f"{index}.png").unlink()
    assert_error(tmp_path, "'dog'")


def test_images_without_labels_are_an_error(tmp_path: Path) -> None:
    assert_error(archive(tmp_path / "a.npz", val_images=IMAGES), "val_labels")


def test_splits_of_different_shapes_are_an_error(tmp_path: Path) -> None:
    assert_error(archive(tmp_path / "a.npz", test_images=IMAGES[:, :4], test_labels=LABELS), "4")


def test_all_splits_have_the_same_pixel_scale(tmp_path: Path) -> None:
    dark = np.ones((20, 6, 5), np.float32)
    path = archive(tmp_path / "a.npz", train_images=IMAGES.astype(np.float32), val_images=dark, val_labels=LABELS)
    assert_error(path, "train 0 to 255", "validation 1 to 1", "--value-range")
    assert load(path, bits=8).splits["validation"].images.max() == 1


def test_scaled_pixels_are_noted(tmp_path: Path) -> None:
    assert "255" in " ".join(load(archive(tmp_path / "a.npz", train_images=IMAGES / 255)).notes)


def test_an_empty_class_folder_is_an_error(tmp_path: Path) -> None:
    (folder(tmp_path) / "empty").mkdir()
    assert_error(tmp_path, "'empty'")


def test_hidden_folders_inside_a_class_are_ignored(tmp_path: Path) -> None:
    save_image(folder(tmp_path) / "cat" / ".checkpoints" / "0.png")
    assert sum(map(len, load(tmp_path).splits.values())) == 12


def test_two_folders_of_the_same_split_are_an_error(tmp_path: Path) -> None:
    assert_error(folder(tmp_path, ("train", "val", "valid")), "val", "valid")


def test_the_source_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path / "a.npz")
    monkeypatch.chdir(tmp_path)
    assert load("a.npz").source == str(tmp_path / "a.npz")


def test_an_impossible_seed_is_an_error() -> None:
    assert_error("digits", "-1", seed=-1)
