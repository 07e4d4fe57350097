"""Inspection of datasets that cannot be used as they are, and the clean table of `inspect --write`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_cnns
from keras_cnns import cli
from keras_cnns.errors import DataError, SettingError


def photograph(seed: int, *, side: int = 32) -> np.ndarray:
    """Return smooth random colours like those of photographs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def write_photos(root: Path, counts: dict[str, int], *, sides: tuple[int, ...] = (32,)) -> Path:
    """Write photographs to folders, all different, of the given sides in turn."""
    seed = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            seed += 1
            Image.fromarray(photograph(seed, side=sides[index % len(sides)])).save(root / folder / f"{index:02}.png")
    return root


@pytest.mark.parametrize(
    ("counts", "problem", "training"),
    [
        ({"ill": 12, "healthy": 12, "rare": 0}, "1 class without training images: 'rare'", 24),
        ({"ill": 12, "rare": 2}, "class 'rare' has 2 different training images, too few", 14),
        ({"ill": 1, "healthy": 1}, "2 classes with fewer than 5 training and validation images", 2),
        ({"ill": 12}, "all images are of one class, 'ill'", None),
        ({"test/ill": 6, "test/healthy": 6}, "no training images", None),
        ({"train/ill": 6, "train/healthy": 6, "val/ill": 3, "val/other": 3}, "1 class without training images", 12),
    ],
    ids=["empty class", "tiny class", "two images", "one class", "no training images", "class in validation only"],
)
def test_what_load_refuses_is_a_finding_beside_the_others(
    counts: dict[str, int], problem: str, training: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_photos(tmp_path / "photos", counts)
    first, second = sorted(root.rglob("*.png"))[:2]
    if sum(counts.values()) > 2:
        shutil.copy(first, second)
    found = keras_cnns.inspect(root, sheet=tmp_path / "sheet.png")
    problems = [finding.problem for finding in found.findings]
    assert any(each.startswith(problem) for each in problems), problems
    assert any("identical images" in each for each in problems) == (sum(counts.values()) > 2)
    if training is not None:
        assert found.splits["train"].images == training
        with pytest.raises(DataError):
            keras_cnns.load(root)
    assert cli.main(("inspect", str(root))) == 0
    assert problem in capsys.readouterr().out


def test_sizes_are_listed_and_images_compared_at_the_most_frequent_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_photos(tmp_path / "photos", {"healthy": 9, "ill": 9}, sides=(24, 16, 24))
    found = keras_cnns.inspect(root)
    assert found.image_shape == (24, 24, 3)
    assert found.findings[0].problem == "images of 2 sizes (width x height): 12 of 24x24, 6 of 16x16"
    assert "--image-size" in found.findings[0].advice
    assert all("sizes" not in finding.problem for finding in keras_cnns.inspect(root, image_size=24).findings)
    assert cli.main(("inspect", str(root), "--json")) == 0
    assert json.loads(capsys.readouterr().out)["file_sizes"] == {"24x24": 12, "16x16": 6}


def test_arrays_of_other_sizes_channels_and_labels_are_reported(tmp_path: Path) -> None:
    images = np.stack([photograph(seed, side=8) for seed in range(30)])
    np.savez(
        tmp_path / "images.npz",
        train_images=images[:24, ..., 0],
        train_labels=np.arange(24) % 2,
        test_images=images[24:, :6],
        test_labels=np.array([0, 1, 0, 1, 0, -1]),
    )
    found = keras_cnns.inspect(tmp_path / "images.npz")
    problems = [finding.problem for finding in found.findings]
    assert problems[0] == "1 test image with a label that is out of range, such as -1 of test[5]"
    assert problems[1] == "images of 2 sizes (width x height): 24 of 8x8, 6 of 8x6"
    assert (found.image_shape, found.splits["test"].images) == ((8, 8, 3), 5)


def test_contradicting_labels_of_test_images_are_named_in_full(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "photos", {f"{split}/{name}": 9 for split in ("train", "test") for name in "ab"})
    for index in range(5):
        shutil.copy(root / "test" / "a" / f"{index:02}.png", root / "train" / "b" / f"copy{index}.png")
    image = Image.open(root / "test" / "a" / "06.png")
    image.save(root / "train" / "b" / "near.jpg", quality=70)
    problems = [finding.problem for finding in keras_cnns.inspect(root).findings]
    conflicts = next(problem for problem in problems if "of identical images with different labels" in problem)
    assert conflicts.startswith("5 groups")
    for index in range(5):
        assert f"train/b/copy{index}.png (b) and test/a/{index:02}.png (a)" in conflicts
    near = "1 pair of nearly identical images with different labels: train/b/near.jpg (b) and test/a/06.png (a)"
    assert near in problems


def test_the_contradicting_labels_of_breastmnist_are_found() -> None:
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "breastmnist.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    problems = [finding.problem for finding in keras_cnns.inspect(path).findings]
    assert "1 group of identical images with different labels: train[115] (0) and test[76] (1)" in problems


# Clean tables


@pytest.fixture
def unclean(tmp_path: Path) -> Path:
    """A folder with one of each problem that a clean table solves."""
    counts = {f"{split}/{name}": count for split, count in (("train", 8), ("val", 4), ("test", 4)) for name in "ab"}
    root = write_photos(tmp_path / "photos", counts)
    shutil.copy(root / "test" / "a" / "00.png", root / "train" / "a" / "leak.png")
    shutil.copy(root / "test" / "a" / "01.png", root / "train" / "b" / "wrong.png")
    shutil.copy(root / "train" / "a" / "03.png", root / "train" / "a" / "copy.png")
    shutil.copy(root / "train" / "a" / "05.png", root / "val" / "b" / "contradiction.png")
    Image.open(root / "test" / "b" / "00.png").save(root / "train" / "b" / "near.jpg", quality=70)
    (root / "train" / "a" / "broken.png").write_bytes(b"no image")
    return root


def test_a_clean_table_leaves_out_duplicates_leaks_contradictions_and_broken_files(unclean: Path) -> None:
    table = unclean / "clean.csv"
    found = keras_cnns.inspect(unclean, write=table)
    assert {each.file: each.reason for each in found.left_out[1:]} == {
        "train/a/copy.png": "identical to train/a/03.png (train)",
        "train/a/05.png": "label a contradicts the identical val/b/contradiction.png (b)",
        "train/a/leak.png": "identical to test/a/00.png (test)",
        "train/b/near.jpg": "nearly identical to test/b/00.png (test)",
        "train/b/wrong.png": "label b contradicts the identical test/a/01.png (a)",
        "val/b/contradiction.png": "label b contradicts the identical train/a/05.png (a)",
    }
    assert found.left_out[0].file == "train/a/broken.png"
    dataset = keras_cnns.load(table, leaks="error")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 15, "validation": 8, "test": 8}
    test_images = sorted(path.relative_to(unclean).as_posix() for path in (unclean / "test").rglob("*.png"))
    assert sorted(dataset.splits["test"].files) == test_images
    assert keras_cnns.inspect(table).findings == ()


def test_paths_are_relative_to_the_folder_of_the_table(unclean: Path) -> None:
    for table in (unclean / "clean.csv", unclean.parent / "above.csv"):
        keras_cnns.inspect(unclean, write=table)
    assert "photos/train/a/00.png,a," in (unclean.parent / "above.csv").read_text("utf-8")
    assert (
        keras_cnns.load(unclean / "clean.csv").fingerprint == keras_cnns.load(unclean.parent / "above.csv").fingerprint
    )


def test_patients_stay_in_one_split_of_a_clean_table(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "photos", {"all": 24})
    rows = [f"all/{index:02}.png,{'ab'[index % 2]},p{index // 2 % 10},{'test' if index < 4 else 'train'}"
            for index in range(24)]  # fmt: skip
    (root / "cases.csv").write_text("\n".join(("path,label,patient,split", *rows)))
    found = keras_cnns.inspect(root / "cases.csv", write=root / "clean.csv")
    assert {each.reason for each in found.left_out} == {"patient p0 is also in test", "patient p1 is also in test"}
    dataset = keras_cnns.load(root / "clean.csv", leaks="error")
    assert sum(map(len, dataset.splits.values())) == 20
    assert all(split.patients is not None for split in dataset.splits.values())
    assert keras_cnns.inspect(root / "clean.csv").leaks == ()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("photos/clean.txt", "end in .csv"),
        ("photos/no/clean.csv", "is not a folder"),
        ("other/clean.csv", "in the folder of its images or above"),
        ("photos/cases.csv", "would replace the source"),
    ],
)
def test_a_clean_table_that_cannot_be_written_is_refused(name: str, part: str, tmp_path: Path) -> None:
    root = write_photos(tmp_path / "photos", {"a": 6, "b": 6})
    (tmp_path / "other").mkdir()
    rows = [f"{folder}/{index:02}.png,{folder}" for folder in "ab" for index in range(6)]
    (root / "cases.csv").write_text("\n".join(("path,label", *rows)))
    before = (root / "cases.csv").read_text()
    with pytest.raises(SettingError, match=part):
        keras_cnns.inspect(root / "cases.csv", write=tmp_path / name)
    assert (root / "cases.csv").read_text() == before


def test_images_that_are_not_files_have_no_clean_table(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="the images of digits are not files"):
        keras_cnns.inspect("digits", write=tmp_path / "clean.csv")
