"""Who lands in which split: nobody in two, each class in proportion, and leaks of the source are found."""

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
from keras_cnns.data.duplicates import blank, exact_duplicates, joined_groups, pixel_hashes
from keras_cnns.data.leaks import find_leaks
from keras_cnns.data.splits import check_labels, deal, hold_out, settle, split_table
from keras_cnns.errors import DataError

RANDOM = np.random.default_rng(0)
NAMES = ("cat", "dog", "eel", "fox")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 3, 1), np.uint8)


def split(labels: np.ndarray, seed: int = 0, **known: Any) -> Split:
    return Split(images(len(labels), seed), labels, **known)


def settled(splits: dict[str, Split], **arguments: Any) -> tuple[dict[str, Split], str]:
    classes = max(int(part.labels.max()) + 1 if part.labels.ndim == 1 else part.labels.shape[1]
                  for part in splits.values())  # fmt: skip
    found, notes = settle("set", splits, NAMES[: max(2, classes)], **{"seed": 0, **arguments})
    return found, " ".join(notes)


def refused(splits: dict[str, Split], *culprits: str, **arguments: Any) -> None:
    with pytest.raises(DataError) as raised:
        settled(splits, **arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [culprit for culprit in ("set: ", *culprits) if culprit not in message] == [], message


def identities(part: Split) -> list[bytes]:
    return [image.tobytes() for image in part.images]


# Dealing groups out


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Labels, groups of a few images each, a number of parts and a seed."""
    seed = draw(st.integers(0, 2**31))
    classes, parts = draw(st.integers(2, 4)), draw(st.integers(2, 6))
    random = np.random.default_rng(seed)
    groups = np.unique(random.integers(0, draw(st.integers(20, 150)), draw(st.integers(60, 300))), return_inverse=True)
    labels = random.integers(0, classes, len(groups[1]))
    return labels, groups[1], parts, seed


@settings(deadline=None, max_examples=60)
@given(grouped())
def test_dealing_parts_no_group_and_repeats_itself(drawn: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    labels, groups, parts, seed = drawn
    dealt = deal(labels, groups, parts, seed)
    assert ((dealt >= 0) & (dealt < parts)).all()
    assert all(len(set(dealt[groups == group])) == 1 for group in np.unique(groups))
    assert (dealt == deal(labels, groups, parts, seed)).all()


@settings(deadline=None, max_examples=60)
@given(grouped())
def test_no_part_has_more_of_a_class_than_its_share_and_one_group(
    drawn: tuple[np.ndarray, np.ndarray, int, int],
) -> None:
    labels, groups, parts, seed = drawn
    dealt = deal(labels, groups, parts, seed)
    sizes = np.bincount(groups)
    counts = np.array([np.bincount(labels[dealt == part], minlength=4) for part in range(parts)])
    assert (np.abs(counts - counts.sum(axis=0) / parts) <= 2 * sizes.max()).all()
    assert np.ptp(counts.sum(axis=1)) <= 2 * sizes.max()


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(6, 60), min_size=2, max_size=4), parts=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_single_images_are_dealt_as_evenly_as_can_be(counts: list[int], parts: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    dealt = deal(labels, np.arange(len(labels)), parts, seed)
    shares = np.array([np.bincount(labels[dealt == part], minlength=len(counts)) for part in range(parts)])
    assert (np.ptp(shares, axis=0) <= 1).all()
    assert np.ptp(shares.sum(axis=1)) <= len(counts)


def test_dealing_is_as_even_as_that_of_scikit_learn() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.unique(RANDOM.integers(0, 150, 900), return_inverse=True)[1]
    labels = np.where(RANDOM.random(900) < 0.8, RANDOM.choice(4, 150, p=[0.6, 0.2, 0.15, 0.05])[groups], 0)

    def unevenness(dealt: np.ndarray) -> float:
        counts = np.array([np.bincount(labels[dealt == part], minlength=4) for part in range(5)])
        return float((counts / counts.sum(axis=0)).std(axis=0).mean())

    theirs = np.empty(900, np.int64)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    for part, (_, held) in enumerate(folds):
        theirs[held] = part
    assert unevenness(deal(labels, groups, 5, 0)) <= 1.05 * unevenness(theirs)


def test_several_labels_an_image_are_each_dealt_in_proportion() -> None:
    labels = (RANDOM.random((400, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(np.int64)
    dealt = deal(labels, np.arange(400), 4, 0)
    counts = np.array([labels[dealt == part].sum(axis=0) for part in range(4)])
    assert (np.ptp(counts, axis=0) <= 2).all()
    assert np.ptp(np.bincount(dealt)) <= 4


# Validation images


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), patients=st.integers(40, 80))
@example(seed=668, patients=40)  # identical images join many patients to one group of 62 images
def test_no_patient_and_no_image_is_on_both_sides(seed: int, patients: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 200)
    whose = random.integers(0, patients, 200).astype(str)
    pixels = images(200, seed)
    pixels[random.integers(0, 200, 10)] = pixels[random.integers(0, 200, 10)]
    parts, notes = settled({"train": Split(pixels, labels, patients=whose)}, seed=seed)
    train, validation = parts["train"], parts["validation"]
    assert not set(train.patients.tolist()) & set(validation.patients.tolist())  # type: ignore[union-attr]
    assert not set(identities(train)) & set(identities(validation))
    assert len(train) + len(validation) == 200
    assert 0.1 < len(validation) / 200 < 0.3
    assert "stratified by class and grouped by patient" in notes


def test_images_without_patients_are_held_out_as_they_ever_were() -> None:
    labels = np.arange(100) % 3
    parts, notes = settled({"train": split(labels)}, seed=7)
    kept, held = hold_out(labels, 0.2, 7)
    assert identities(parts["train"]) == identities(split(labels).take(kept))
    assert identities(parts["validation"]) == identities(split(labels).take(held))
    assert notes == "Validation: 20% of the training images, stratified, seed 7."


def test_identical_images_are_not_torn_apart() -> None:
    labels = np.arange(100) % 2
    pixels = images(100)
    pixels[:40:2], pixels[1:40:2] = pixels[0], pixels[1]
    parts, notes = settled({"train": Split(pixels, labels)})
    assert not set(identities(parts["train"])) & set(identities(parts["validation"]))
    assert "identical images kept together" in notes


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_are_stratified_by_label(seed: int) -> None:
    labels = (np.random.default_rng(seed).random((200, 3)) < [0.5, 0.2, 0.1]).astype(np.int64)
    parts, notes = settled({"train": split(labels)}, seed=seed)
    assert "stratified by label" in notes
    share = parts["validation"].labels.sum(axis=0) / labels.sum(axis=0)
    assert (np.abs(share - 0.2) < 0.06).all()


def test_a_validation_split_of_the_source_and_a_test_split_alone_stay_as_they_are() -> None:
    train, validation, test = (split(np.arange(20) % 2, seed) for seed in range(3))
    parts, notes = settled({"train": train, "validation": validation, "test": test})
    assert (parts["train"], parts["validation"], parts["test"], notes) == (train, validation, test, "")
    assert settled({"test": test}) == ({"test": test}, "")


def test_a_class_that_a_split_lacks_is_noted_and_one_that_training_lacks_is_refused() -> None:
    whole, half = split(np.arange(20) % 2), split(np.zeros(20, np.int64), 1)
    _, notes = settled({"train": whole, "validation": half})
    assert notes == "No validation image is of class 'dog': its AUC there is not defined."
    refused({"train": half, "validation": whole}, "no training image is of class 'dog'", allow_leaks=True)


def test_too_few_patients_of_a_class_to_part() -> None:
    labels = np.arange(60) % 2
    whose = np.where(labels == 0, np.arange(60) % 20, np.arange(60) % 3 + 100).astype(str)
    refused({"train": split(labels, patients=whose)}, "'dog' has 3 patients", "5 of each class")
    refused({"train": split(labels, patients=whose)}, "'dog' has 3 patients", "--fold", fold=(1, 4))
    refused({"train": split(np.arange(60) % 2)}, "'cat' has 30 training images", "31", fold=(1, 31))


# Parts of several


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), parts=st.integers(2, 5), patients=st.booleans())
def test_every_image_validates_in_exactly_one_part_and_test_is_not_touched(
    seed: int, parts: int, *, patients: bool
) -> None:
    whose = np.random.default_rng(seed).integers(0, 30, 80).astype(str)
    known = [{"patients": whose[:60]}, {"patients": whose[60:]}] if patients else [{}, {}]
    train, validation = split(np.arange(60) % 2, 1, **known[0]), split(np.arange(20) % 2, 2, **known[1])
    test = split(np.arange(10) % 2, 3)
    everyone = sorted(identities(train) + identities(validation))
    validated: list[bytes] = []
    for part in range(1, parts + 1):
        folded, notes = settled({"train": train, "validation": validation, "test": test}, fold=(part, parts), seed=seed)
        assert sorted(identities(folded["train"]) + identities(folded["validation"])) == everyone
        assert folded["test"] is test
        if patients:
            assert not set(folded["train"].patients) & set(folded["validation"].patients)  # type: ignore[arg-type]
        validated += identities(folded["validation"])
    assert sorted(validated) == everyone
    assert f"part {parts} of {parts} of the training and validation images" in notes


@pytest.mark.parametrize("fold", [(0, 5), (6, 5), (1, 1)])
def test_parts_that_are_none(fold: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="not a part of several"):
        load("digits", fold=fold)


def test_a_test_split_alone_cannot_be_parted() -> None:
    refused({"test": split(np.arange(20) % 2)}, "no training images", fold=(1, 5))


def test_streamed_images_stay_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path))
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(40, 4, 3, 1))
    mapped[:] = images(40)
    train, validation = Split(mapped, np.arange(40) % 2), split(np.arange(20) % 2, 1)
    folded, _ = settled({"train": train, "validation": validation}, fold=(2, 4))
    assert isinstance(folded["train"].images, np.memmap)
    both = sorted(identities(folded["train"]) + identities(folded["validation"]))
    assert both == sorted(identities(train) + identities(validation))


# Leaks


@settings(deadline=None, max_examples=60)
@given(
    copies=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 19)), max_size=6, unique_by=lambda pair: pair[1]),
    seed=st.integers(0, 2**31),
)
def test_identical_images_in_two_splits_are_found_and_no_others(copies: list[tuple[int, int]], seed: int) -> None:
    first, second = split(np.arange(30) % 2, seed), split(np.arange(20) % 2, seed + 1)
    for mine, theirs in copies:
        second.images[theirs] = first.images[mine]
    splits = {"train": first, "validation": second}
    leaks = find_leaks(splits, {name: pixel_hashes(part.images) for name, part in splits.items()})
    assert [leak.kind for leak in leaks] == ["image"] * bool(copies)
    assert sorted(pair for leak in leaks for pair in leak.pairs) == sorted(copies)
    if copies:
        refused(splits, f"{len(copies)} image", "both train and validation", "--allow-leaks")
        assert f"Leak, allowed: {len(copies)} image" in settled(splits, allow_leaks=True)[1]
    else:
        assert settled(splits)[1] == ""


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), strangers=st.booleans())
def test_patients_in_two_splits_are_found_and_no_others(seed: int, *, strangers: bool) -> None:
    random = np.random.default_rng(seed)
    mine = random.integers(0, 20, 30).astype(str)
    theirs = random.integers(20 if strangers else 10, 40, 20).astype(str)
    mine[:3], theirs[:3] = "", ""  # whose these are is not known
    splits = {"train": split(np.arange(30) % 2, 1, patients=mine), "test": split(np.arange(20) % 2, 2, patients=theirs)}
    leaks = find_leaks(splits, {name: pixel_hashes(part.images) for name, part in splits.items()})
    found = {str(mine[one]) for leak in leaks for one, _ in leak.pairs}
    assert found == {str(theirs[other]) for leak in leaks for _, other in leak.pairs}
    assert found == (set(mine.tolist()) & set(theirs.tolist())) - {""}
    assert sum(len(leak.pairs) for leak in leaks) == len(found)


def test_a_leak_names_the_patient_and_the_files() -> None:
    whose = np.array(["P7", "P8"] * 10)
    train = split(np.arange(20) % 2, 1, patients=whose, files=tuple(f"train/{place}.png" for place in range(20)))
    test = split(np.arange(2), 2, patients=np.array(["P9", "P8"]), files=("test/a.png", "test/b.png"))
    splits = {"train": train, "validation": split(np.arange(20) % 2), "test": test}
    culprits = ("1 patient is in both train and test", "'P8': train/1.png and test/b.png", "(allow_leaks=True)")
    refused(splits, *culprits)


def test_what_is_parted_anew_leaks_only_from_test() -> None:
    train, validation = split(np.arange(40) % 2, 1), split(np.arange(20) % 2, 2)
    validation.images[3] = train.images[5]
    refused({"train": train, "validation": validation}, "train[5] and validation[3]")
    settled({"train": train, "validation": validation}, fold=(1, 5))
    test = split(np.arange(4) % 2, 3)
    test.images[0] = validation.images[0]
    refused({"train": train, "validation": validation, "test": test}, "validation and test", fold=(1, 5))


def test_images_of_one_colour_are_not_the_same_image() -> None:
    pixels = np.stack([np.full((4, 3, 3), 7, np.uint8)] * 3)
    pixels[1] = (1, 2, 3)
    assert blank(pixels).tolist() == [0, 1, 2]
    pixels[2, 1, 0, 2] += 1
    assert blank(pixels).tolist() == [0, 1]
    assert exact_duplicates(pixel_hashes(pixels)) == []


def test_groups_join_patients_that_share_an_image() -> None:
    hashes = np.array([1, 2, 2, 3, 0, 0], np.uint64)
    whose = np.array(["a", "a", "b", "c", "", ""])
    assert len(set(joined_groups(hashes, whose).tolist())) == 4
    assert len(set(joined_groups(hashes, whose)[:3].tolist())) == 1
    assert len(set(joined_groups(hashes, None).tolist())) == 5


# The table of splits


def test_the_table_of_splits_is_a_source_of_the_same_splits(tmp_path: Path) -> None:
    rows = [("path", "label", "patient")]
    for place in range(60):
        Image.fromarray(images(60)[place, ..., 0]).save(tmp_path / f"{place}.png")
        rows.append((f"{place}.png", NAMES[place % 2], f"P{place // 3}"))
    (tmp_path / "cases.csv").write_text("\n".join(map(",".join, rows)))
    parted = load(tmp_path / "cases.csv", seed=3)
    (tmp_path / "splits.csv").write_text(split_table(parted))
    again = load(tmp_path / "splits.csv")
    assert again.fingerprint == parted.fingerprint
    assert [again.splits[name].files for name in again.splits] == [parted.splits[name].files for name in parted.splits]


def test_several_labels_have_a_column_each() -> None:
    labels = np.array([[0, 1], [1, 1]])
    data = Dataset(name="a", source="a", splits={"test": split(labels, files=("x.png", "y,z.png"))},
                   class_names=("mass", "nodule"))  # fmt: skip
    assert split_table(data) == 'path,mass,nodule,split\nx.png,0,1,test\n"y,z.png",1,1,test\n'


def test_images_without_names_are_called_by_their_place_in_the_source() -> None:
    digits = load("digits", seed=5)
    rows = list(csv.DictReader(io.StringIO(split_table(digits))))
    places = [int(row["image"].removeprefix("train[").removesuffix("]")) for row in rows]
    assert sorted(places) == list(range(1797))
    from sklearn.datasets import load_digits

    assert [int(row["label"]) for row in rows] == load_digits().target[places].tolist()
    assert [row["split"] for row in rows].count("validation") == 360


@pytest.mark.parametrize(
    ("labels", "culprit"),
    [
        (np.array([[0, 2]]), "each is 0 or 1"),
        (np.array([[0, 1, 1]]), "3 test labels"),
        (np.array([], np.int64), "no images"),
        (np.array([0, 2]), "0 to 1"),
    ],
)
def test_labels_that_cannot_be(labels: np.ndarray, culprit: str) -> None:
    with pytest.raises(DataError, match=culprit):
        check_labels("set", "test", labels, NAMES[:2])
