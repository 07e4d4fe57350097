"""What can be read, what is refused and in which words, and who lands in which split."""

from __future__ import annotations

import functools
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
from keras_cnns.data.splits import hold_out
from keras_cnns.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20) % 2


def refused(source: Path | str, *culprits: str, **arguments: Any) -> str:
    with pytest.raises(DataError) as raised:
        load(source, **arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [culprit for culprit in culprits if culprit not in message] == [], message
    return message


def archive(path: Path, **changes: Any) -> Path:
    arrays = {"train_images": IMAGES, "train_labels": LABELS[:, np.newaxis], **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def picture(path: Path, *, size: tuple[int, int] = (5, 6), mode: str = "L", value: Any = None, **saved: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (90 if mode == "L" else (10, 20, 30)) if value is None else value).save(path, **saved)
    return path


def folder(
    root: Path, splits: tuple[str, ...] = ("",), classes: tuple[str, ...] = ("cat", "dog"), count: int = 6
) -> Path:
    for split in splits:
        for label, name in enumerate(classes):
            for index in range(count):
                picture(root / split / name / f"{index}.png", value=label * 100 + index)
    return root


def dataset(images: np.ndarray = IMAGES[..., np.newaxis], labels: np.ndarray = LABELS) -> Dataset:
    return Dataset(name="a", source="a", splits={"train": Split(images, labels)}, class_names=("no", "yes"))


# Sources


def test_digits_are_the_real_ones_with_a_stratified_fifth_held_out() -> None:
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


def test_medmnist_file_keeps_its_own_validation_split(pneumonia: Path) -> None:
    lungs = load(pneumonia, allow_leaks=True)
    assert {name: len(split) for name, split in lungs.splits.items()} == {"train": 4708, "validation": 524}
    assert (lungs.image_shape, lungs.task) == ((28, 28, 1), "binary")
    assert lungs.name == "pneumoniamnist_trainval.npz"
    assert [note for note in lungs.notes if "Validation" in note] == []
    assert "No test split" in " ".join(lungs.notes)


def test_mnist_validation_is_never_taken_from_test(mnist: Path) -> None:
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
def test_archive_takes_grey_and_colour_and_both_shapes_of_labels(
    tmp_path: Path, shape: tuple[int, ...], labels: np.ndarray
) -> None:
    images = RANDOM.integers(0, 256, shape, np.uint8)
    read = load(archive(tmp_path / "a.npz", train_images=images, train_labels=labels))
    assert read.image_shape == (6, 5, shape[3] if len(shape) == 4 else 1)
    assert read.splits["train"].labels.dtype == np.int64
    assert read.splits["train"].images.flags.c_contiguous


def test_floats_of_0_to_1_and_of_0_to_255_are_the_same_pixels(tmp_path: Path) -> None:
    whole = load(archive(tmp_path / "whole.npz")).fingerprint
    assert load(archive(tmp_path / "bytes.npz", train_images=IMAGES.astype(np.float32))).fingerprint == whole
    assert load(archive(tmp_path / "unit.npz", train_images=IMAGES / 255)).fingerprint == whole


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "valid")])
def test_folder_of_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    read = load(folder(tmp_path, names))
    assert set(read.splits) == set(SPLITS[: len(names)])
    assert read.class_names == ("cat", "dog")
    assert read.splits["train"].images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104, 105]


def test_folder_of_classes_leaves_out_files_that_are_no_images_and_says_so_unless_they_are_hidden(
    tmp_path: Path,
) -> None:
    folder(tmp_path)
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    assert "left out" not in " ".join(load(tmp_path).notes)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "dog" / "0.WEBP").write_text("no image that is read")
    (tmp_path / "loose.png").write_bytes(b"")
    read = load(tmp_path)
    assert read.notes[:2] == (
        "Images that are in no folder of a class were left out: 1.",
        "Files that are no images by their endings were left out: 2 (.txt, .webp).",
    )
    assert sum(map(len, read.splits.values())) == 12
    assert read.fingerprint == load(tmp_path).fingerprint


@pytest.mark.parametrize("ending", ["png", "jpg", "JPEG", "bmp", "tif", "tiff", "gif"])
def test_folder_reads_every_format(tmp_path: Path, ending: str) -> None:
    for name in ("cat", "dog"):
        for index in range(6):
            picture(tmp_path / name / f"{index}.{ending}", value=90)
    assert load(tmp_path).image_shape[:2] == (6, 5)


def test_one_colour_image_makes_all_colour_and_alpha_is_dropped(tmp_path: Path) -> None:
    folder(tmp_path)
    assert load(tmp_path).image_shape == (6, 5, 1)
    picture(tmp_path / "cat" / "0.png", mode="RGBA", value=(200, 100, 50, 0))
    read = load(tmp_path, seed=1)
    everything = np.concatenate([split.images for split in read.splits.values()])
    assert everything.shape == (12, 6, 5, 3)
    assert (everything[:, 0, 0] == (200, 100, 50)).all(axis=1).sum() == 1


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    folder(tmp_path, ("train", "val"))
    deep = np.full((6, 5), 0x8000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "train" / "cat" / "0.png")
    assert load(tmp_path).splits["train"].images[0].max() == 128


def test_floating_point_pixels_of_no_known_range_are_refused_not_clipped(tmp_path: Path) -> None:
    folder(tmp_path, ("train", "val"))
    Image.fromarray(np.full((6, 5), 0.5, np.float32)).save(tmp_path / "train" / "cat" / "0.tif")
    with pytest.raises(DataError, match=r"0.tif: its pixels are floating-point numbers"):
        load(tmp_path)


def test_orientation_in_exif_is_applied(tmp_path: Path) -> None:
    folder(tmp_path, ("train", "val"))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "train" / "cat" / "0.png").unlink()
    picture(tmp_path / "train" / "cat" / "0.jpg", size=(6, 5), exif=exif)
    assert load(tmp_path).image_shape == (6, 5, 1)


def test_tfds_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    from keras_cnns.data import tfds_source

    class TinyHouseSet(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            labels = tfds.features.ClassLabel(names=["cat", "dog"])
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(6, 5, 1)), "label": labels})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples(20), "test": self._generate_examples(4)}

        def _generate_examples(self, count: int) -> Any:
            for index in range(count):
                yield index, {"image": IMAGES[index][..., np.newaxis], "label": index % 2}

    here = functools.partial(tfds.builder, data_dir=tmp_path)
    monkeypatch.setattr(tfds_source.tfds, "builder", here)
    read = load(f"tfds:{TinyHouseSet.name}", allow_leaks=True)
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 16, "validation": 4, "test": 4}
    assert read.class_names == ("cat", "dog")
    refused("tfds:no_such_set_of_images", "tfds:no_such_set_of_images")


# Sizes and channels


def test_resizing_to_the_same_size_changes_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz")
    assert load(path, image_size=(6, 5)).fingerprint == load(path).fingerprint


@pytest.mark.parametrize(("size", "shape"), [(12, (12, 12, 3)), ((4, 8), (4, 8, 3))])
def test_sizes_and_channels_of_every_split(
    tmp_path: Path, size: int | tuple[int, int], shape: tuple[int, int, int]
) -> None:
    read = load(archive(tmp_path / "a.npz"), image_size=size, channels=3)
    assert {split.images.shape[1:] for split in read.splits.values()} == {shape}


def test_grey_made_colour_and_grey_again_is_what_it_was(tmp_path: Path) -> None:
    colour = np.repeat(IMAGES[..., np.newaxis], 3, axis=-1)
    grey = load(archive(tmp_path / "colour.npz", train_images=colour), channels=1)
    assert grey.fingerprint == load(archive(tmp_path / "grey.npz")).fingerprint


@pytest.mark.parametrize("arguments", [{"image_size": 0}, {"image_size": (4, -1)}, {"channels": 2}])
def test_impossible_sizes_and_channels(arguments: dict[str, Any]) -> None:
    refused("digits", **arguments)


# The data set


def test_pixel_statistics_are_those_of_the_training_images_and_never_divide_by_zero() -> None:
    images = np.stack([IMAGES, np.full_like(IMAGES, 7), IMAGES // 2], axis=-1)
    read = dataset(images)
    assert read.pixel_mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert read.pixel_std == pytest.approx((IMAGES.std(), 1.0, (IMAGES // 2).std()))


def test_a_data_set_travels_and_stays_what_it_was() -> None:
    digits = load()
    there = pickle.loads(pickle.dumps(digits))  # noqa: S301 - it was made a line before
    assert there.fingerprint == digits.fingerprint
    assert there.describe() == digits.describe()
    assert digits.name in digits.describe()


@given(place=st.tuples(st.integers(0, 19), st.integers(0, 5), st.integers(0, 4)), by=st.integers(1, 255))
def test_fingerprint_tells_every_pixel_and_every_label(place: tuple[int, int, int], by: int) -> None:
    images, labels = IMAGES.copy(), LABELS.copy()
    images[place] ^= np.uint8(by)
    labels[place[0]] = 1 - labels[place[0]]
    prints = {dataset().fingerprint, dataset(images[..., np.newaxis]).fingerprint, dataset(labels=labels).fingerprint}
    assert len(prints) == 3
    assert {len(print_) for print_ in prints} == {16}


@settings(deadline=None)
@given(counts=st.lists(st.integers(5, 60), min_size=2, max_size=6), seed=st.integers(0, 2**31))
def test_holding_out_is_disjoint_covering_stratified_and_repeatable(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, held = hold_out(labels, 0.2, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    share = np.bincount(labels[held], minlength=len(counts))
    assert (np.abs(share - np.array(counts) * len(held) / len(labels)) <= 1).all()
    assert [part.tolist() for part in hold_out(labels, 0.2, seed)] == [kept.tolist(), held.tolist()]


# Refusals


def test_missing_source_names_what_works(tmp_path: Path) -> None:
    refused(tmp_path / "gone.npz", "gone.npz", "does not exist", "digits", "tfds:")
    (tmp_path / "table.txt").write_text("1,2")
    refused(tmp_path / "table.txt", "table.txt", ".npz")


def test_broken_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.npz").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "text": b"no zip", "empty": b""}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        refused(tmp_path / f"{name}.npz", f"{name}.npz")
    np.savez(tmp_path / "other.npz", pixels=IMAGES, answers=LABELS)
    refused(tmp_path / "other.npz", "other.npz", "answers, pixels")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.npz", train_labels=np.array([{}] * 20, object)), "a.npz", "pickled")


NAN, BRIGHT = IMAGES.astype(np.float32), IMAGES.astype(np.float32)
NAN[3, 1, 1] = np.nan
BRIGHT[3, 1, 1] = 300


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"train_labels": LABELS[:-1]}, "19"),
        ({"train_labels": np.arange(20) % 3 - 1}, "-1"),
        ({"train_labels": LABELS + 0.5}, "whole numbers"),
        ({"train_labels": np.full(20, "cat")}, "whole numbers"),
        ({"train_labels": LABELS * 2}, "'1'"),
        ({"train_labels": LABELS * 0}, "one class"),
        ({"train_labels": 2 * np.eye(2, dtype=int)[LABELS]}, "2 columns"),
        ({"val_images": IMAGES, "val_labels": LABELS + 5}, "validation labels have 5"),
        ({"train_images": NAN}, "image 3"),
        ({"train_images": BRIGHT}, "300"),
        ({"train_images": -BRIGHT}, "-300"),
        ({"train_images": IMAGES[:, 0]}, "(20, 5)"),
        ({"train_images": IMAGES[:0], "train_labels": LABELS[:0]}, "0 train images"),
        ({"train_labels": (np.arange(20) == 0).astype(int)}, "'1'"),
    ],
)
def test_archives_that_cannot_be_learned_from(tmp_path: Path, changes: dict[str, Any], culprit: str) -> None:
    refused(archive(tmp_path / "a.npz", **changes), "a.npz", culprit)


def test_broken_image_is_named(tmp_path: Path) -> None:
    folder(tmp_path)
    whole = tmp_path / "cat" / "3.png"
    whole.write_bytes(whole.read_bytes()[:40])
    refused(tmp_path, "cat/3.png")


def test_mixed_sizes_name_two_files_and_the_way_out(tmp_path: Path) -> None:
    picture(folder(tmp_path) / "cat" / "3.png", size=(9, 9))
    refused(tmp_path, "3.png", "0.png", "--image-size")
    assert load(tmp_path, image_size=8).image_shape == (8, 8, 1)


@pytest.mark.parametrize("make", [lambda _: None, lambda root: (root / "cat").mkdir()])
def test_empty_folders(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    refused(tmp_path, tmp_path.name)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "link.png").symlink_to(picture(tmp_path / "elsewhere.png"))
    refused(root, "link.png", "outside")


def test_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(folder: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    refused(tmp_path, tmp_path.name, "permission")


def test_too_few_of_a_class_to_hold_out(tmp_path: Path) -> None:
    folder(tmp_path)
    for index in range(1, 6):
        (tmp_path / "dog" / f"{index}.png").unlink()
    refused(tmp_path, "'dog'")


def test_images_without_labels_are_not_left_out_silently(tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.npz", val_images=IMAGES), "val_labels")


def test_splits_of_different_shapes(tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.npz", test_images=IMAGES[:, :4], test_labels=LABELS), "4")


def test_one_scale_for_all_splits(tmp_path: Path) -> None:
    dark = np.ones((20, 6, 5), np.float32)
    path = archive(tmp_path / "a.npz", train_images=IMAGES.astype(np.float32), val_images=dark, val_labels=LABELS)
    assert load(path).splits["validation"].images.max() == 1


def test_scaling_is_noted(tmp_path: Path) -> None:
    assert "255" in " ".join(load(archive(tmp_path / "a.npz", train_images=IMAGES / 255)).notes)


def test_empty_class_folder(tmp_path: Path) -> None:
    (folder(tmp_path) / "empty").mkdir()
    refused(tmp_path, "'empty'")


def test_hidden_folders_inside_a_class_are_ignored(tmp_path: Path) -> None:
    picture(folder(tmp_path) / "cat" / ".checkpoints" / "0.png")
    assert sum(map(len, load(tmp_path).splits.values())) == 12


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    refused(folder(tmp_path, ("train", "val", "valid")), "val", "valid")


def test_source_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path / "a.npz")
    monkeypatch.chdir(tmp_path)
    assert load("a.npz").source == str(tmp_path / "a.npz")


def test_impossible_seed() -> None:
    refused("digits", "-1", seed=-1)
