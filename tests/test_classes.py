"""Classes: spellings of one class, the order of classes, and the positive class."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_cnns.data import Dataset, Split
from keras_cnns.data.classes import choose_positive, class_key, find_class, label_classes, recognise_positive
from keras_cnns.errors import DataError

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "Ödem"), unicodedata.normalize("NFD", "Ödem")


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        (["0", "10", "2", "1"], ("0", "1", "2", "10"), [0, 3, 2, 1]),
        (["-1", "1", "0.5"], ("-1", "0.5", "1"), [0, 2, 1]),
        (["0", "0.0", "1.0", "1"], ("0", "1"), [0, 0, 1, 1]),
        (["1e0", "01", "+1", "2"], ("+1", "2"), [0, 0, 0, 1]),
        (["b", "A", "C"], ("A", "b", "C"), [1, 0, 2]),
        (["2", "10", "other"], ("10", "2", "other"), [1, 0, 2]),
        (["Normal", "normal", "normal", "ill"], ("ill", "normal"), [1, 1, 1, 0]),
        (["Normal", "Normal", "normal", "ill"], ("ill", "Normal"), [1, 1, 1, 0]),
        (["NO", "no", "yes", "Yes"], ("no", "yes"), [0, 0, 1, 1]),
        (["ill ", "ill", "very  ill", "very\u00a0ill"], ("ill", "very ill"), [0, 0, 1, 1]),
        ([DECOMPOSED, COMPOSED, "healthy"], ("healthy", COMPOSED), [1, 1, 0]),
        (["Straße", "STRASSE"], ("Straße",), [0, 0]),
        (["\uff21", "A", "A", "\u200ba"], ("A",), [0, 0, 0, 0]),
        (["\ufeffill", "\u200bill\u00a0"], ("ill",), [0, 0]),
        (["no_tumor", "no-tumor", "no tumor"], ("no tumor", "no-tumor", "no_tumor"), [2, 1, 0]),
    ],
)
def test_spellings_of_one_class_get_one_label(values: list[str], names: tuple[str, ...], labels: list[int]) -> None:
    found, found_names, notes = label_classes(values)
    assert (found_names, found.tolist(), found.dtype) == (names, labels, np.int64)
    joined = [key for key in map(class_key, names) if len({value for value in values if class_key(value) == key}) > 1]
    assert len(notes) == len(joined)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["Normal", "normal"], "'Normal' and 'normal' are taken to be one class, 'normal'."),
        (["ill", "ill "], "'ill' and 'ill ' are taken to be one class, 'ill'."),
        (["1", "1.0", "01"], "'01', '1' and '1.0' are taken to be one class, '1'."),
        ([COMPOSED, DECOMPOSED], r"'O\u0308dem' and 'Ödem' are taken to be one class, 'Ödem'."),
    ],
)
def test_all_spellings_of_a_class_are_noted_as_they_are(values: list[str], note: str) -> None:
    assert label_classes(values)[2] == (note,)


def test_distinct_classes_have_no_notes() -> None:
    assert label_classes(["healthy", "ill", "ill"])[1:] == (("healthy", "ill"), ())


NAMES = st.text(st.sampled_from("aAb01. \u00e9e\u0301ß_\u200b"), max_size=4)


@given(st.lists(NAMES, min_size=1, max_size=12), st.randoms())
def test_labels_do_not_depend_on_the_order_of_the_images(values: list[str], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    labels, names, notes = label_classes(values)
    others, other_names, other_notes = label_classes(shuffled)
    assert (names, notes) == (other_names, other_notes)
    assert dict(zip(values, labels.tolist(), strict=True)) == dict(zip(shuffled, others.tolist(), strict=True))
    for value, label in zip(values, labels.tolist(), strict=True):
        assert class_key(names[label]) == class_key(value)
    assert len({class_key(name) for name in names}) == len(names)


@given(st.lists(st.integers(-1000, 1000), min_size=1, unique=True))
def test_numbers_are_in_numeric_order(numbers: list[int]) -> None:
    assert label_classes(list(map(str, numbers)))[1] == tuple(map(str, sorted(numbers)))


@pytest.mark.parametrize(
    ("name", "names", "index"),
    [
        ("tumor", ("Tumor", "tumor"), 1),
        ("TUMOR ", ("healthy", "Tumor"), 1),
        (DECOMPOSED, ("healthy", COMPOSED), 1),
        ("1.0", ("0", "1"), 1),
        ("tumour", ("healthy", "tumor"), None),
    ],
)
def test_a_class_is_found_in_any_spelling(name: str, names: tuple[str, ...], index: int | None) -> None:
    assert find_class(name, names) == index


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("normal", "Tumor"), ("no_tumor", "tumor"), ("notumor", "tumor"), ("notumor", "glioma"), ("NoDR", "DR"),
        ("non-covid", "covid"), ("without mask", "with mask"), ("Uninfected", "Parasitized"), ("benign", "malignant"),
        ("benign tumor", "malignant tumor"), ("non-malignant", "malignant"), ("healthy", "not healthy"),
        ("healthy", "unhealthy"), ("normal", "abnormal"), ("NORMAL", "PNEUMONIA"), ("no finding", "Pneumothorax"),
        ("nonsmoker", "smoker"), ("tumor-free", "tumor"), ("Controls", "Patients"), ("HER2-", "HER2+"),
        ("COVID19 negative", "COVID19 positive"), ("no", "yes"), ("false", "True"), ("0", "1"), ("0.0", "1.0"),
        ("-1", "1"), ("class 0", "class 1"), ("0 healthy", "1 ill"), ("1_healthy", "0_ill"), ("nevus", "melanoma"),
        ("gesund", "krank"), ("unauffällig", "auffällig"), ("ohne Befund", "Fraktur"), ("sain", "malade"),
        ("sano", "enfermo"), ("saudável", "doente"), ("gezond", "ziek"), ("正常", "肺炎"), ("无肿瘤", "肿瘤"),
        ("норма", "патология"), ("healthy", COMPOSED), ("healthy", DECOMPOSED), ("good", "scratch"),
    ],
)  # fmt: skip
def test_the_positive_class_is_recognised_whatever_the_order(negative: str, positive: str) -> None:
    assert recognise_positive(negative, positive) == 1
    assert recognise_positive(positive, negative) == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat", "dog"), ("1", "2"), ("class 1", "class 2"), ("grade 1 tumor", "grade 2 tumor"), ("low", "high"),
        ("pneumonia", "tuberculosis"), ("normal", "benign"), ("male", "female"), ("non small cell", "small cell"),
        ("non-Hodgkin lymphoma", "Hodgkin lymphoma"), ("SEM", "TEM"), ("No. 1", "No. 2"), ("", "!"),
    ],
)  # fmt: skip
def test_classes_of_which_neither_or_both_could_be_positive_are_not_guessed(first: str, second: str) -> None:
    assert recognise_positive(first, second) is None
    assert recognise_positive(second, first) is None


@given(st.text(max_size=12), st.text(max_size=12))
def test_recognition_never_depends_on_the_order_of_the_classes(first: str, second: str) -> None:
    found = recognise_positive(first, second)
    reverse = recognise_positive(second, first)
    assert (found is None) == (reverse is None)
    assert found is None or found == 1 - reverse or class_key(first) == class_key(second)


def make_dataset(*names: str, multi_label: bool = False) -> Dataset:
    labels = np.arange(2 * len(names)) % len(names)
    labels[-1] = 0
    rows = np.eye(len(names), dtype=np.int64)[labels] if multi_label else labels
    split = Split(np.zeros((len(labels), 2, 2, 1), np.uint8), rows)
    return Dataset(name="data", source="data", splits={"train": split, "test": split}, class_names=names)


def test_the_positive_class_is_class_1_and_noted() -> None:
    dataset = make_dataset("Tumor", "normal")
    found = choose_positive(dataset, None)
    assert (found.class_names, found.positive) == (("normal", "Tumor"), "Tumor")
    for name, split in dataset.splits.items():
        assert found.splits[name].labels.tolist() == (1 - split.labels).tolist()
    (note,) = found.notes
    assert "Positive class: Tumor" in note
    assert "normal" in note
    assert found.fingerprint != dataset.fingerprint


def test_a_chosen_class_is_positive_against_what_its_name_says() -> None:
    found = choose_positive(make_dataset("Tumor", "normal"), " NORMAL")
    assert (found.class_names, found.positive) == (("Tumor", "normal"), "normal")
    assert found.notes == ("Positive class: normal, as chosen.",)
    assert choose_positive(make_dataset("cat", "dog"), "cat").class_names == ("dog", "cat")


def test_unclear_classes_stay_in_order_and_the_note_says_how_to_choose() -> None:
    found = choose_positive(make_dataset("cat", "dog"), None)
    assert (found.class_names, found.positive) == (("cat", "dog"), None)
    (note,) = found.notes
    for part in ("Positive class: ", "cat", "dog", "left out", "--positive", "positive="):
        assert part in note


@pytest.mark.parametrize("dataset", [make_dataset("a", "b", "c"), make_dataset("a", "b", multi_label=True)])
def test_only_one_of_two_classes_can_be_positive(dataset: Dataset) -> None:
    assert choose_positive(dataset, None) is dataset
    with pytest.raises(DataError, match="only one of two classes can be positive; leave out 'a'"):
        choose_positive(dataset, "a")


def test_an_unknown_positive_class_is_refused_with_the_names() -> None:
    with pytest.raises(DataError, match="no class 'bird' that could be positive; choose cat or dog"):
        choose_positive(make_dataset("cat", "dog"), "bird")
