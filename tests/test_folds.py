"""Folds of a cross-validation, and temporal splits: no patient and no image twice on two sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns import Dataset, load
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.data.duplicates import brightness_gradients, near_duplicates, pixel_hashes
from keras_cnns.data.folds import Folds, fold_table, make_folds, pool_images, read_folds
from keras_cnns.data.temporal import parse_dates
from keras_cnns.errors import DataError, ResumeError


def smooth_images(random: np.random.Generator, count: int) -> np.ndarray:
    """Return images of 16x16 pixels with large structures, as photos have."""
    coarse = random.integers(0, 256, (count, 4, 4)).astype(float)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[..., np.newaxis].clip(0, 255).astype(np.uint8)


def make_dataset(
    seed: int, *, images: int = 120, copies: int = 0, near: int = 0, patients: int | None = None, labels: int = 0
) -> Dataset:
    """Return a dataset of two classes, or with several labels, with exact and near duplicates and patients."""
    random = np.random.default_rng(seed)
    pixels = smooth_images(random, images)
    sources = random.choice(images, 2 * (copies + near), replace=False)
    for target, source in sources[: 2 * copies].reshape(-1, 2):
        pixels[target] = pixels[source]
    for target, source in sources[2 * copies :].reshape(-1, 2):
        pixels[target] = (pixels[source] + random.normal(0, 3, pixels[source].shape)).clip(0, 255)
    truth = random.integers(0, 2, (images, labels) if labels else images)
    who = None if patients is None else np.array([f"p{number}" for number in random.integers(0, patients, images)])
    sites = random.choice(["A", "B", "C"], images)
    split = Split(pixels, truth, patients=who, columns={"site": sites, "age": random.uniform(20, 90, images)})
    parts = {"train": slice(0, images // 2), "validation": slice(images // 2, None)}
    names = tuple(f"label{index}" for index in range(labels)) if labels else ("healthy", "ill")
    splits = {name: split.take(part) for name, part in parts.items()}
    return Dataset(name="made", source="made", splits=splits, class_names=names, positive=None if labels else "ill")


def related_pairs(pooled: Dataset) -> list[tuple[int, int]]:
    """Return the indices of all pairs of images that share a patient, are identical or nearly identical."""
    pool = pooled.training
    (hashes,) = pixel_hashes(pool.images)
    pairs = [(one, other) for one, other, _ in near_duplicates(brightness_gradients(pool.images), hashes)]
    for values in (hashes, pool.patients):
        if values is not None:
            one, other = np.nonzero(np.triu(values[:, np.newaxis] == values, 1))
            pairs += zip(one.tolist(), other.tolist(), strict=True)
    return pairs


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(2, 6),
    copies=st.integers(0, 8),
    near=st.integers(0, 8),
    patients=st.none() | st.integers(40, 100),
    labels=st.sampled_from([0, 3]),
)
def test_no_patient_and_no_near_duplicate_is_in_two_folds(
    seed: int, count: int, copies: int, near: int, patients: int | None, labels: int
) -> None:
    pooled = pool_images(make_dataset(seed, copies=copies, near=near, patients=patients, labels=labels))
    folds = make_folds(pooled, folds=count)
    pairs = related_pairs(pooled)
    assert len(pairs) >= copies
    assert sorted(np.unique(folds.assigned)) == list(range(count))
    assert all(folds.assigned[one] == folds.assigned[other] for one, other in pairs)
    for fold in range(count):
        check_sides(folds, pooled, fold, pairs)
        assert len(folds.others(fold)) + len(folds.held_out(fold)) == len(pooled.training)


def check_sides(folds: Folds, pooled: Dataset, fold: int, pairs: list[tuple[int, int]]) -> None:
    """Check that related images are never on two sides: training, validation or held out."""
    train, validation = folds.divide(pooled.training.labels, fold)
    held_out = folds.held_out(fold)
    side = np.full(len(pooled.training), -1)
    for number, indices in enumerate((train, validation, held_out)):
        assert len(indices)
        assert (side[indices] == -1).all()
        side[indices] = number
    assert all(side[one] == side[other] for one, other in pairs if side[one] >= 0 and side[other] >= 0)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**16), patients=st.none() | st.integers(50, 200))
def test_a_left_out_site_is_a_fold_and_its_patients_are_not_trained_on_elsewhere(
    seed: int, patients: int | None
) -> None:
    pooled = pool_images(make_dataset(seed, near=4, patients=patients))
    folds = make_folds(pooled, column="site")
    assert folds.names == ("A", "B", "C")
    sites, pairs = pooled.training.columns["site"], related_pairs(pooled)
    for fold, site in enumerate(folds.names):
        assert (sites[folds.held_out(fold)] == site).all()
        assert (sites == site).sum() == len(folds.held_out(fold))
        check_sides(folds, pooled, fold, pairs)
    shared = any(folds.assigned[one] != folds.assigned[other] for one, other in pairs)
    assert any("several values" in note for note in folds.notes) == shared


def test_folds_are_stratified_and_of_about_equal_size() -> None:
    pooled = pool_images(make_dataset(1, images=500))
    folds = make_folds(pooled, folds=5)
    counts = np.array([np.bincount(pooled.training.labels[folds.held_out(fold)], minlength=2) for fold in range(5)])
    assert np.ptp(counts, axis=0).max() <= 1


def test_folds_are_read_as_they_were_written() -> None:
    pooled = pool_images(make_dataset(2, patients=60, near=5))
    for column in (None, "site"):
        folds = make_folds(pooled, folds=4, column=column)
        read = read_folds(fold_table(pooled, folds), pooled, column=column)
        assert (read.names, read.column, read.seed, read.notes) == (folds.names, folds.column, folds.seed, folds.notes)
        np.testing.assert_array_equal(read.assigned, folds.assigned)
        np.testing.assert_array_equal(read.groups, folds.groups)
    with pytest.raises(ResumeError, match="lists other images"):
        read_folds(fold_table(pooled, folds), pool_images(make_dataset(2, images=100)))


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"folds": 1}, "1 folds are not possible; use 2 to 100"),
        ({"patients": 4}, {"folds": 5}, "too few for 5 folds; use at most 4, as in --folds 4"),
        ({}, {"column": "scanner"}, r"--fold-by scanner .*no such column; it has age, site"),
        ({}, {"column": "age"}, "has 120 different values"),
    ],
)
def test_folds_that_are_not_possible_are_an_error(
    change: dict[str, int], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        make_folds(pool_images(make_dataset(3, **change)), **arguments)
    assert "\n" not in str(raised.value)


def test_a_missing_value_or_a_class_at_one_site_only_is_an_error() -> None:
    pooled = pool_images(make_dataset(4))
    pool = pooled.training
    sites = pool.columns["site"].astype(object)
    for missing in ("", "unknown"):
        sites[7] = missing
        of_pool = replace(pool, columns={**pool.columns, "site": sites})
        with pytest.raises(DataError, match=r"1 of 120 images have no value \(train\[7\]\)"):
            make_folds(replace(pooled, splits={"train": of_pool}), column="site")
    pool.columns["site"][:] = np.where(pool.labels == 1, "A", "B")
    with pytest.raises(DataError, match="without site=A there are no training images of class 'ill'"):
        make_folds(pooled, column="site")


@pytest.fixture
def write_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that writes a table of 60 images of 30 patients and returns its name."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for index, pixels in enumerate(smooth_images(random, 60)):
        Image.fromarray(pixels[..., 0]).save(f"{index}.png")

    def write(**columns: Callable[[int], object]) -> str:
        default = {"label": lambda index: ("healthy", "ill")[index % 2], "patient": lambda index: f"p{index // 2}"}
        made = {name: make for name, make in {**default, **columns}.items() if make is not None}
        rows = [",".join(["path", *made])]
        rows += [",".join([f"{index}.png", *(str(make(index)) for make in made.values())]) for index in range(60)]
        Path("cases.csv").write_text("\n".join(rows), encoding="utf-8")
        return "cases.csv"

    return write


def month(index: int) -> str:
    return f"2022-{1 + index // 5:02d}-15"


def test_images_from_a_date_on_are_the_test_split(write_table: Callable[..., str]) -> None:
    source = write_table(study_date=month)
    for option in ("2022-10-01", "study_date=2022-10-01"):
        dataset = load(source, split_at=option)
        assert {name: len(split) for name, split in dataset.splits.items()} == {
            "train": 36, "validation": 8, "test": 15,
        }  # fmt: skip
        assert min(dataset.splits["test"].columns["study_date"].tolist()) == "2022-10-15"
        assert dataset.reading["split_at"] == option
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert not set(train.patients) & set(test.patients)
    note = "1 patient has images on both sides of the date (p22); their 1 earlier images are left out of training"
    assert any(note in found for found in dataset.notes)


@pytest.mark.parametrize(
    ("columns", "option", "message"),
    [
        ({}, "2022-10-01", "no column has only dates"),
        ({"day": month, "birth": month}, "2022-10-01", "'day' and 'birth' could be the date .* --split-at day=2022-10"),
        ({"day": month}, "date=2022-10-01", "has no column 'date'; it has day"),
        ({"day": month}, "soon", "write a date as YEAR-MONTH-DAY"),
        (
            {"day": month},
            "2030-01-01",
            "all images are before 2030-01-01; the dates in 'day' are 2022-01-15 to 2022-12",
        ),
        ({"day": month}, "2020-01-01", "all images are from 2020-01-01 on"),
        ({"day": lambda index: month(index) if index else ""}, "2022-10-01", r"1 of 60 images have no date .*0\.png"),
        ({"day": lambda index: f"0{1 + index % 9}/02/2022"}, "day=2022-10-01", "day and month cannot be distinguished"),
        ({"day": month, "split": lambda index: ("train", "test")[index % 2]}, "2022-10-01", "has splits already"),
        ({"day": month, "patient": lambda _: "p1"}, "2022-10-01", "every patient before the date"),
    ],
)
def test_a_date_that_cannot_split_the_images_is_reported_in_one_line(
    write_table: Callable[..., str],
    capfd: pytest.CaptureFixture[str],
    columns: dict[str, Callable[[int], object]],
    option: str,
    message: str,
) -> None:
    source = write_table(**columns)
    with pytest.raises(DataError, match=message):
        load(source, split_at=option)
    assert main(("train", "lenet5", "--data", source, "--split-at", option)) == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2023-01-31", ""], "2023-01-31"),
        (["2023-01-31T10:00:00"], "2023-01-31"),
        (["2023/1/31"], "2023-01-31"),
        (["20230131"], "2023-01-31"),
        (["31.1.2023"], "2023-01-31"),
        (["31/01/2023", "02/03/2023"], "2023-01-31"),
        (["01/31/2023", "02/03/2023"], "2023-01-31"),
        (["02/02/2023"], "2023-02-02"),
        (["01/02/2023"], None),
        (["2023-13-01"], None),
        (["2023"], None),
        (["20231301"], None),
        (["1", "2"], None),
        ([""], None),
    ],
)
def test_dates_are_read_in_the_usual_forms(texts: list[str], expected: str | None) -> None:
    dates = parse_dates(texts)
    assert (None if dates is None else str(dates[0])) == expected
