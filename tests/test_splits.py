"""Splits: stratified, without patients or images in two splits, and with errors for leaks in the source."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns.data import Dataset, Split, load
from keras_cnns.data.duplicates import exact_duplicates, find_blank, pixel_hashes
from keras_cnns.data.leaks import find_leaks, hash_images
from keras_cnns.data.partition import assign_folds, group_images, hold_out
from keras_cnns.data.splits import check_labels, reorder, split_dataset, split_table
from keras_cnns.errors import DataError

RANDOM = np.random.default_rng(0)
NAMES = ("cat", "dog", "eel", "fox")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 3, 1), np.uint8)


def split(labels: np.ndarray, seed: int = 0, **known: Any) -> Split:
    return Split(images(len(labels), seed), labels, **known)


def make_splits(splits: dict[str, Split], **arguments: Any) -> tuple[dict[str, Split], str]:
    """Split a dataset of these splits, and return the result with its notes."""
    classes = max(int(part.labels.max()) + 1 if part.labels.ndim == 1 else part.labels.shape[1]
                  for part in splits.values())  # fmt: skip
    dataset = Dataset(name="set", source="set", splits=splits, class_names=NAMES[: max(2, classes)])
    found = split_dataset(dataset, **{"seed": 0, **arguments})
    return dict(found.splits), " ".join(found.notes)


def assert_error(splits: dict[str, Split], *parts: str, **arguments: Any) -> None:
    with pytest.raises(DataError) as raised:
        make_splits(splits, **arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [part for part in ("set: ", *parts) if part not in message] == [], message


def image_bytes(part: Split) -> list[bytes]:
    return [image.tobytes() for image in part.images]


# Folds


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Draw labels, groups of a few images each, a number of folds and a seed."""
    seed = draw(st.integers(0, 2**31))
    classes, parts = draw(st.integers(2, 4)), draw(st.integers(2, 6))
    random = np.random.default_rng(seed)
    groups = np.unique(random.integers(0, draw(st.integers(20, 150)), draw(st.integers(60, 300))), return_inverse=True)
    labels = random.integers(0, classes, len(groups[1]))
    return labels, groups[1], parts, seed


@settings(deadline=None, max_examples=60)
@given(grouped())
def test_folds_keep_groups_together_and_are_reproducible(example: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    labels, groups, parts, seed = example
    assigned = assign_folds(labels, groups, parts, seed)
    assert ((assigned >= 0) & (assigned < parts)).all()
    assert all(len(set(assigned[groups == group])) == 1 for group in np.unique(groups))
    assert (assigned == assign_folds(labels, groups, parts, seed)).all()


@settings(deadline=None, max_examples=60)
@given(grouped())
def test_folds_deviate_from_equal_shares_by_at_most_two_groups(
    example: tuple[np.ndarray, np.ndarray, int, int],
) -> None:
    labels, groups, parts, seed = example
    assigned = assign_folds(labels, groups, parts, seed)
    sizes = np.bincount(groups)
    counts = np.array([np.bincount(labels[assigned == part], minlength=4) for part in range(parts)])
    assert (np.abs(counts - counts.sum(axis=0) / parts) <= 2 * sizes.max()).all()
    assert np.ptp(counts.sum(axis=1)) <= 2 * sizes.max()


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(6, 60), min_size=2, max_size=4), parts=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_folds_of_single_images_are_as_even_as_possible(counts: list[int], parts: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    assigned = assign_folds(labels, np.arange(len(labels)), parts, seed)
    shares = np.array([np.bincount(labels[assigned == part], minlength=len(counts)) for part in range(parts)])
    assert (np.ptp(shares, axis=0) <= 1).all()
    assert np.ptp(shares.sum(axis=1)) <= len(counts)


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.unique(RANDOM.integers(0, 150, 900), return_inverse=True)[1]
    labels = np.where(RANDOM.random(900) < 0.8, RANDOM.choice(4, 150, p=[0.6, 0.2, 0.15, 0.05])[groups], 0)

    def unevenness(assigned: np.ndarray) -> float:
        counts = np.array([np.bincount(labels[assigned == part], minlength=4) for part in range(5)])
        return float((counts / counts.sum(axis=0)).std(axis=0).mean())

    theirs = np.empty(900, np.int64)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    for part, (_, held) in enumerate(folds):
        theirs[held] = part
    assert unevenness(assign_folds(labels, groups, 5, 0)) <= 1.05 * unevenness(theirs)


def test_folds_of_multi_label_data_are_stratified_by_label() -> None:
    labels = (RANDOM.random((400, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(np.int64)
    assigned = assign_folds(labels, np.arange(400), 4, 0)
    counts = np.array([labels[assigned == part].sum(axis=0) for part in range(4)])
    assert (np.ptp(counts, axis=0) <= 2).all()
    assert np.ptp(np.bincount(assigned)) <= 4


# Validation images


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), patients=st.integers(40, 80))
@example(seed=668, patients=40)  # identical images connect many patients to one group of 62 images
def test_patients_and_identical_images_are_kept_together(seed: int, patients: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 200)
    whose = random.integers(0, patients, 200).astype(str)
    pixels = images(200, seed)
    pixels[random.integers(0, 200, 10)] = pixels[random.integers(0, 200, 10)]
    parts, notes = make_splits({"train": Split(pixels, labels, patients=whose)}, seed=seed)
    train, validation = parts["train"], parts["validation"]
    assert not set(train.patients.tolist()) & set(validation.patients.tolist())  # type: ignore[union-attr]
    assert not set(image_bytes(train)) & set(image_bytes(validation))
    assert len(train) + len(validation) == 200
    assert 0.1 < len(validation) / 200 < 0.3
    assert "stratified by class and grouped by patient" in notes


def test_single_images_are_split_like_train_test_split_of_scikit_learn() -> None:
    labels = np.arange(100) % 3
    parts, notes = make_splits({"train": split(labels)}, seed=7)
    kept, held = hold_out(labels, 0.2, 7)
    assert image_bytes(parts["train"]) == image_bytes(split(labels).take(kept))
    assert image_bytes(parts["validation"]) == image_bytes(split(labels).take(held))
    assert notes == "Validation: 20% of the training images, stratified, seed 7."


def test_identical_images_are_kept_together() -> None:
    labels = np.arange(100) % 2
    pixels = images(100)
    pixels[:40:2], pixels[1:40:2] = pixels[0], pixels[1]
    parts, notes = make_splits({"train": Split(pixels, labels)})
    assert not set(image_bytes(parts["train"])) & set(image_bytes(parts["validation"]))
    assert "identical images kept together" in notes


@pytest.mark.parametrize("seed", range(3))
def test_multi_label_data_is_stratified_by_label(seed: int) -> None:
    labels = (np.random.default_rng(seed).random((200, 3)) < [0.5, 0.2, 0.1]).astype(np.int64)
    parts, notes = make_splits({"train": split(labels)}, seed=seed)
    assert "stratified by label" in notes
    share = parts["validation"].labels.sum(axis=0) / labels.sum(axis=0)
    assert (np.abs(share - 0.2) < 0.06).all()


def test_splits_of_the_source_with_validation_or_without_training_are_kept() -> None:
    train, validation, test = (split(np.arange(20) % 2, seed) for seed in range(3))
    parts, notes = make_splits({"train": train, "validation": validation, "test": test})
    assert (parts["train"], parts["validation"], parts["test"], notes) == (train, validation, test, "")
    assert make_splits({"test": test}) == ({"test": test}, "")


def test_a_missing_class_is_noted_in_validation_and_an_error_in_training() -> None:
    whole, half = split(np.arange(20) % 2), split(np.zeros(20, np.int64), 1)
    _, notes = make_splits({"train": whole, "validation": half})
    assert notes == "No validation images of class 'dog': their AUC is undefined there."
    assert_error({"train": half, "validation": whole}, "no training images of class 'dog'", leaks="allow")


def test_errors_for_too_few_images_or_patients_of_a_class() -> None:
    labels = np.arange(60) % 2
    whose = np.where(labels == 0, np.arange(60) % 20, np.arange(60) % 3 + 100).astype(str)
    assert_error({"train": split(labels, patients=whose)}, "'dog' has 3 patients", "5 of each class")
    assert_error({"train": split(labels, patients=whose)}, "'dog' has 3 patients", "--fold", fold=(1, 4))
    assert_error({"train": split(np.arange(60) % 2)}, "'cat' has 30 different training images", "31", fold=(1, 31))


# Cross-validation


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), parts=st.integers(2, 5), patients=st.booleans())
def test_each_image_is_in_the_validation_split_of_exactly_one_fold_and_the_test_split_is_kept(
    seed: int, parts: int, *, patients: bool
) -> None:
    whose = np.random.default_rng(seed).integers(0, 30, 80).astype(str)
    known = [{"patients": whose[:60]}, {"patients": whose[60:]}] if patients else [{}, {}]
    train, validation = split(np.arange(60) % 2, 1, **known[0]), split(np.arange(20) % 2, 2, **known[1])
    test = split(np.arange(10) % 2, 3)
    everyone = sorted(image_bytes(train) + image_bytes(validation))
    validated: list[bytes] = []
    for part in range(1, parts + 1):
        folded, notes = make_splits(
            {"train": train, "validation": validation, "test": test}, fold=(part, parts), seed=seed
        )
        assert sorted(image_bytes(folded["train"]) + image_bytes(folded["validation"])) == everyone
        assert folded["test"] is test
        if patients:
            assert not set(folded["train"].patients) & set(folded["validation"].patients)  # type: ignore[arg-type]
        validated += image_bytes(folded["validation"])
    assert sorted(validated) == everyone
    assert f"fold {parts} of {parts} of the training and validation images" in notes


@pytest.mark.parametrize("fold", [(0, 5), (6, 5), (1, 1)])
def test_errors_for_impossible_folds(fold: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="is not possible; the first of five"):
        load("digits", fold=fold)


def test_a_test_split_alone_cannot_be_divided_into_folds() -> None:
    assert_error({"test": split(np.arange(20) % 2)}, "no training images", fold=(1, 5))


def test_splits_of_streamed_images_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path))
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(40, 4, 3, 1))
    mapped[:] = images(40)
    train, validation = Split(mapped, np.arange(40) % 2), split(np.arange(20) % 2, 1)
    folded, _ = make_splits({"train": train, "validation": validation}, fold=(2, 4))
    assert isinstance(folded["train"].images, np.memmap)
    both = sorted(image_bytes(folded["train"]) + image_bytes(folded["validation"]))
    assert both == sorted(image_bytes(train) + image_bytes(validation))


# Leaks


@settings(deadline=None, max_examples=60)
@given(
    copies=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 19)), max_size=6, unique_by=lambda pair: pair[1]),
    seed=st.integers(0, 2**31),
)
def test_all_identical_images_in_two_splits_are_found(copies: list[tuple[int, int]], seed: int) -> None:
    first, second = split(np.arange(30) % 2, seed), split(np.arange(20) % 2, seed + 1)
    for mine, theirs in copies:
        second.images[theirs] = first.images[mine]
    splits = {"train": first, "validation": second}
    leaks = find_leaks(splits, hash_images(splits))
    assert [leak.kind for leak in leaks] == ["image"] * bool(copies)
    assert sorted(pair for leak in leaks for pair in leak.pairs) == sorted(copies)
    if copies:
        assert_error(splits, f"{len(copies)} image", "both train and validation", "--leaks allow", leaks="error")
        assert f"Leak, allowed: {len(copies)} image" in make_splits(splits, leaks="allow")[1]
        kept, notes = make_splits(splits)
        removed = {mine for mine, _ in copies}
        assert f"Leak: {len(removed)} train image" in notes
        assert (kept["train"].images == np.delete(first.images, list(removed), axis=0)).all()
        assert (kept["validation"].images == second.images).all()
    else:
        assert make_splits(splits)[1] == ""


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), strangers=st.booleans())
def test_all_patients_in_two_splits_are_found(seed: int, *, strangers: bool) -> None:
    random = np.random.default_rng(seed)
    mine = random.integers(0, 20, 30).astype(str)
    theirs = random.integers(20 if strangers else 10, 40, 20).astype(str)
    mine[:3], theirs[:3] = "", ""  # unknown patients
    splits = {"train": split(np.arange(30) % 2, 1, patients=mine), "test": split(np.arange(20) % 2, 2, patients=theirs)}
    leaks = find_leaks(splits, hash_images(splits))
    found = {str(mine[one]) for leak in leaks for one, _ in leak.pairs}
    assert found == {str(theirs[other]) for leak in leaks for _, other in leak.pairs}
    assert found == (set(mine.tolist()) & set(theirs.tolist())) - {""}
    assert sum(len(leak.pairs) for leak in leaks) == len(found)


def test_the_error_for_a_leak_names_the_patient_and_the_files() -> None:
    whose = np.array(["P7", "P8"] * 10)
    train = split(np.arange(20) % 2, 1, patients=whose, files=tuple(f"train/{index}.png" for index in range(20)))
    test = split(np.arange(2), 2, patients=np.array(["P9", "P8"]), files=("test/a.png", "test/b.png"))
    splits = {"train": train, "validation": split(np.arange(20) % 2), "test": test}
    parts = ("1 patient is in both train and test", "'P8': train/1.png and test/b.png", "(leaks='allow')")
    assert_error(splits, *parts)


def test_folds_ignore_leaks_between_training_and_validation() -> None:
    train, validation = split(np.arange(40) % 2, 1), split(np.arange(20) % 2, 2)
    validation.images[3] = train.images[5]
    assert_error({"train": train, "validation": validation}, "train[5] and validation[3]", leaks="error")
    make_splits({"train": train, "validation": validation}, fold=(1, 5))
    test = split(np.arange(4) % 2, 3)
    test.images[0] = validation.images[0]
    splits = {"train": train, "validation": validation, "test": test}
    assert_error(splits, "validation and test", fold=(1, 5), leaks="error")
    folded, notes = make_splits(splits, fold=(1, 5))
    assert "Leak: 1 validation image is also in test and left out of validation: validation[0]." in notes
    assert len(folded["train"]) + len(folded["validation"]) == 59
    assert (folded["test"].images == test.images).all()


def test_identical_images_with_different_labels_are_listed() -> None:
    train, test = split(np.arange(20) % 2, 1), split(np.arange(4) % 2, 2)
    test.images[1], train.images[7] = train.images[4], train.images[2]
    _, notes = make_splits({"train": train, "test": test})
    assert "2 images have different labels in different places" in notes
    assert "train[4] (cat) and test[1] (dog)" in notes
    assert "train[2] (cat) and train[7] (dog)" in notes


@given(
    copies=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=20), parts=st.integers(1, 3)
)
def test_images_have_the_same_hash_if_and_only_if_they_are_identical(copies: list[tuple[int, int]], parts: int) -> None:
    scenes = RANDOM.integers(0, 256, (4, 31, 5, 1), np.uint8)
    pixels = np.stack([scenes[scene] for scene, _ in copies])
    for image, (_, row) in zip(pixels, copies, strict=True):
        image[row] = row
    hashes = np.concatenate(pixel_hashes(*np.array_split(pixels, parts)))
    for one, (image, mine) in enumerate(zip(pixels, hashes, strict=True)):
        assert (hashes == mine).tolist() == [bool((other == image).all()) for other in pixels], one


@given(order=st.integers(0, 12).flatmap(lambda count: st.permutations(range(count))))
def test_images_are_reordered_in_place_as_by_their_indices(order: list[int]) -> None:
    rows = np.arange(3 * len(order)).reshape(len(order), 3)
    expected = rows[np.array(order, np.int64)]
    reorder(rows, np.array(order, np.int64))
    assert rows.tolist() == expected.tolist()


def test_images_of_a_single_colour_are_not_duplicates() -> None:
    pixels = np.stack([np.full((4, 3, 3), 7, np.uint8)] * 3)
    pixels[1] = (1, 2, 3)
    assert find_blank(pixels).tolist() == [0, 1, 2]
    pixels[2, 1, 0, 2] += 1
    assert find_blank(pixels).tolist() == [0, 1]
    assert exact_duplicates(*pixel_hashes(pixels)) == []


def test_patients_that_share_an_image_are_one_group() -> None:
    hashes = np.array([1, 2, 2, 3, 0, 0], np.uint64)
    whose = np.array(["a", "a", "b", "c", "", ""])
    assert len(set(group_images(hashes, whose).tolist())) == 4
    assert len(set(group_images(hashes, whose)[:3].tolist())) == 1
    assert len(set(group_images(hashes, None).tolist())) == 5


# Table of splits


def test_the_table_of_splits_reproduces_the_splits(tmp_path: Path) -> None:
    rows = [("path", "label", "patient")]
    for index in range(60):
        Image.fromarray(images(60)[index, ..., 0]).save(tmp_path / f"{index}.png")
        rows.append((f"{index}.png", NAMES[index % 2], f"P{index // 3}"))
    (tmp_path / "cases.csv").write_text("\n".join(map(",".join, rows)))
    dataset = load(tmp_path / "cases.csv", seed=3)
    (tmp_path / "splits.csv").write_text(split_table(dataset))
    again = load(tmp_path / "splits.csv")
    assert again.fingerprint == dataset.fingerprint
    assert [again.splits[name].files for name in again.splits] == [
        dataset.splits[name].files for name in dataset.splits
    ]


def test_the_table_of_splits_names_the_frames_of_files(tmp_path: Path) -> None:
    for name in NAMES[:2]:
        (tmp_path / name).mkdir()
        for number in range(6):
            first, *others = (Image.fromarray(frame) for frame in RANDOM.integers(0, 256, (3, 5, 4), np.uint8))
            first.save(tmp_path / name / f"{number}.tif", save_all=True, append_images=others)
    dataset = load(tmp_path, frames="all")
    (tmp_path / "splits.csv").write_text(split_table(dataset))
    assert "cat/0.tif#3,cat,cat/0.tif," in split_table(dataset)
    assert load(tmp_path / "splits.csv").fingerprint == dataset.fingerprint


def test_the_table_of_multi_label_data_has_a_column_per_label() -> None:
    labels = np.array([[0, 1], [1, 1]])
    data = Dataset(name="a", source="a", splits={"test": split(labels, files=("x.png", "y,z.png"))},
                   class_names=("mass", "nodule"))  # fmt: skip
    assert split_table(data) == 'path,mass,nodule,split\nx.png,0,1,test\n"y,z.png",1,1,test\n'


def test_the_table_names_images_by_their_index_in_the_source() -> None:
    digits = load("digits", seed=5)
    rows = list(csv.DictReader(io.StringIO(split_table(digits))))
    indices = [int(row["image"].removeprefix("train[").removesuffix("]")) for row in rows]
    assert sorted(indices) == list(range(1797))
    from sklearn.datasets import load_digits

    assert [int(row["label"]) for row in rows] == load_digits().target[indices].tolist()
    assert [row["split"] for row in rows].count("validation") == 360


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (np.array([[0, 2]]), "label 2 is out of range; use 0 or 1 for each label"),
        (np.array([[0, 1, 1]]), "3 test labels"),
        (np.array([], np.int64), "does not contain images"),
        (np.array([0, 2]), "label 2 is out of range; use 0 to 1 for 2 classes"),
    ],
)
def test_errors_for_invalid_labels(labels: np.ndarray, part: str) -> None:
    test = Split(np.zeros((len(labels), 4, 3, 1), np.uint8), labels)
    with pytest.raises(DataError, match=part):
        check_labels(Dataset(name="set", source="set", splits={"test": test}, class_names=NAMES[:2]))
