"""Patients: IDs that may mean the same patient, and IDs in the names of files."""

from __future__ import annotations

import hashlib
import re
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_cnns.data.dataset import Split
from keras_cnns.data.patients import (
    find_similar_ids,
    guess_patient_groups,
    patients_from_names,
    similar_patient_notes,
)
from keras_cnns.errors import DataError


def split_of(patients: list[str] | None) -> Split:
    count = len(patients or "x")
    ids = None if patients is None else np.array(patients)
    return Split(np.zeros((count, 1, 1, 1), np.uint8), np.zeros(count, np.int64), patients=ids)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("007", "7"),
        ("7.0", "7"),
        ("0", "000"),
        ("P-01", "p01"),
        ("P-01", "P_1"),
        ("p 1", " P01 "),
        ("Case.12a", "case 12A"),
        ("12-345", "12345"),
        ("1-01", "1-1"),
        ("\uff10\uff17", "7"),
        ("Mu\u0308ller", "M\u00fcller"),
    ],
)
def test_ids_that_differ_only_in_zeros_case_spaces_or_separators_are_similar(one: str, other: str) -> None:
    assert find_similar_ids([one, "other", other]) in ([(one, other)], [(other, one)])


@pytest.mark.parametrize(
    "ids",
    [
        ["1", "10", "100", "01 0 1"],
        ["1-11", "11-1", "2-1", "1-2"],
        ["1.5", "15.5", "5"],
        ["a", "b", "", "-", "?"],
        [f"{index:03}" for index in range(1000)],
        [f"S{site}-{index}" for site in range(30) for index in range(30)],
    ],
)
def test_other_ids_are_not_similar(ids: list[str]) -> None:
    assert find_similar_ids(ids) == []


def test_the_note_names_a_pair_in_different_splits_and_counts_all() -> None:
    splits = {"train": split_of(["A1", "a1", "007", "007"]), "test": split_of(["7", "8"]), "validation": split_of(None)}
    [note] = similar_patient_notes(splits)
    assert note.startswith("2 pairs of patients may be the same patient, 1 of them in different splits, ")
    assert "'007' (train) and '7' (test)" in note


def test_there_is_no_note_without_similar_patients() -> None:
    assert similar_patient_notes({"train": split_of(["1", "2", ""]), "test": split_of(["2", "3", ""])}) == []
    assert similar_patient_notes({"train": split_of(["unknown: a/1.dcm", "unknown: A/01.dcm"])}) == []
    assert similar_patient_notes({"train": split_of(None)}) == []


def test_a_pattern_finds_the_patients_in_paths() -> None:
    files = ["ill/p12_00.png", "ill/p12_01.png", "well/p3_00.png"]
    assert patients_from_names(files, r"(p\d+)_").tolist() == ["p12", "p12", "p3"]
    assert patients_from_names(files, "^([^/]+)/").tolist() == ["ill", "ill", "well"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(p", r"'(p' is not a regular expression"),
        ("p", "has no groups"),
        (r"(p)(\d)", "has 2 groups"),
        (r"(q\d+)_", "does not find a patient in 5 of 5 files: p0_1.png, p1_1.png, p2_1.png, and 2 more"),
        (r"(p[1-4])_", "in 1 of 5 files: p0_1.png;"),
        (r"p(\d*?)", "in 5 of 5 files"),
    ],
)
def test_error_messages_for_invalid_patterns(pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        patients_from_names([f"p{index}_1.png" for index in range(5)], pattern)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "pattern", "size"),
    [
        ("ill/p{0:03}_{1:02}.png", r"(p\d+)_", 4),
        ("ill/{0:03}-{1}.dcm", r"(\d+)-", 4),
        ("s1_x/p{0}_{1}.png", r"(p\d+)_", 4),
        ("p1_x/p{0}_{1}.png", r"(?:^|/)(p\d+)_[^/]*$", 4),
        ("Case {0} ({1}).jpg", r"(Case \d+) \(", 4),
        ("site1.p{0}.{1}.png", r"(site\d+\.p\d+)\.", 4),
    ],
)
def test_groups_of_file_names_are_noted_with_a_pattern_that_finds_them(name: str, pattern: str, size: int) -> None:
    files = [name.format(patient, image) for patient in range(12) for image in range(size)]
    note = guess_patient_groups(files)
    assert note is not None
    assert f"in groups of about {size} (" in note
    assert f"--patient-pattern '{pattern}' (patient_pattern=...)" in note
    groups = patients_from_names(files, pattern)
    assert np.unique(groups, return_counts=True)[1].tolist() == [size] * 12


@given(
    prefix=st.sampled_from(["", "p", "Patient ", "site-"]),
    separator=st.sampled_from(["_", "-", ".", " ", "__", " (", "'", "+"]),
    sizes=st.lists(st.integers(2, 5), min_size=5, max_size=12),
    folder=st.sampled_from(["", "ill/", "p1_2/", "1-2/"]),
)
def test_a_noted_pattern_always_finds_the_groups(prefix: str, separator: str, sizes: list[int], folder: str) -> None:
    files = [
        f"{folder}{prefix}{group}{separator}{index}.png" for group, size in enumerate(sizes) for index in range(size)
    ]
    note = guess_patient_groups(files)
    assert note is not None
    words = shlex.split(note[note.index("--patient-pattern") :])
    assert np.unique(patients_from_names(files, words[1]), return_counts=True)[1].sum() == len(files)
    assert len(set(patients_from_names(files, words[1]))) == len(sizes)


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["a.png"],
        [f"ill/img_{index:03}.png" for index in range(1000)],
        [f"ill/{index}.png" for index in range(100)],
        [f"p{index}_0.png" for index in range(100)],
        [f"study1_{index}.png" for index in range(100)],
        [f"{word}_{index}.png" for word in ("benign", "malignant", "healthy") for index in range(9)],
        [f"grade{grade}/grade{grade}_{index}.png" for grade in range(4) for index in range(9)],
        [f"{hashlib.sha256(bytes([index])).hexdigest()}.png" for index in range(100)],
        [f"p{index}_{image}.png" for index in range(9) for image in range(4)] + ["other.png"],
    ],
)
def test_other_file_names_are_not_groups(files: list[str]) -> None:
    assert guess_patient_groups(files) is None
