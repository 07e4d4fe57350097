"""Tables of images: the dialects of spreadsheet programs, the roles of columns, and messages for invalid tables."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns.cli import main
from keras_cnns.data import load
from keras_cnns.data.classes import label_classes
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.sources.table import list_table, split_query, with_root
from keras_cnns.errors import DataError

COUNT = 20
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be with mark", "utf-32", "cp1252"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    (root / "scans").mkdir()
    for index in range(COUNT):
        Image.new("L", (5, 6), 10 * index).save(root / "scans" / f"{index}.png")
    return root


def cases(**columns: Any) -> pd.DataFrame:
    labels = ["well", "ill"] * (COUNT // 2)
    usual = {"path": [f"scans/{index}.png" for index in range(COUNT)], "label": labels}
    return pd.DataFrame({name: values for name, values in {**usual, **columns}.items() if values is not None})


def write(pictures: Path, table: pd.DataFrame, name: str = "cases.csv", **options: Any) -> Path:
    path = pictures / name
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, **options)
    return path


def write_dialect(
    path: Path, rows: list[list[str]], *, encoding: str = "utf-8", first: str = "", **options: Any
) -> None:
    """Write rows as a spreadsheet program does, after a line such as sep=;."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, **{"lineterminator": "\r\n", **options})
    text.write(first)
    writer.writerows(rows)
    mark = codecs.BOM_UTF16_BE if encoding.endswith(" with mark") else b""
    path.write_bytes(mark + text.getvalue().encode(encoding.removesuffix(" with mark")))


def read(source: Path | str) -> ImageFiles:
    """Read a table without its images."""
    return list_table(*split_query(str(source)))


def assert_noted(notes: tuple[str, ...], *parts: str) -> None:
    assert any(all(part in note for part in parts) for note in notes), notes


def assert_error(source: Path | str, *parts: str) -> None:
    with pytest.raises(DataError) as raised:
        load(source)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize("name", ["cases.csv", "cases.parquet"])
def test_a_table_has_labels_splits_patients_and_other_columns(pictures: Path, name: str) -> None:
    table = cases(
        split=["train"] * 12 + ["Valid"] * 4 + ["test"] * 4,
        patient=[f"{index // 2:03}" for index in range(COUNT)],
        age=[50.5, None] * 10,
        site=["north", "7"] * 10,
        code=["007"] * COUNT,
    )
    loaded = load(write(pictures, table, name))
    assert {split: len(part) for split, part in loaded.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    assert (loaded.class_names, loaded.task, loaded.name) == (("well", "ill"), "binary", name)
    test = loaded.splits["test"]
    assert test.files == tuple(f"scans/{index}.png" for index in range(16, 20))
    assert test.images[:, 0, 0, 0].tolist() == [160, 170, 180, 190]
    assert test.labels.tolist() == [0, 1, 0, 1]
    assert test.patients is not None
    assert test.patients.tolist() == ["008", "008", "009", "009"]
    assert test.columns["age"].tolist() == pytest.approx([50.5, np.nan, 50.5, np.nan], nan_ok=True)
    assert test.columns["site"].tolist() == ["north", "7", "north", "7"]
    assert test.columns["code"].tolist() == ["007"] * 4
    assert set(test.columns) == {"age", "site", "code"}


def test_rows_may_be_in_any_order_and_keep_it_within_a_split(pictures: Path) -> None:
    table = cases(split=["test", "train", "train", "val", "train"] * 4)
    loaded = load(write(pictures, table))
    for name, first in {"test": 0, "validation": 3}.items():
        assert loaded.splits[name].images[:, 0, 0, 0].tolist() == [10 * index for index in range(first, COUNT, 5)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_csv_separators_and_encodings(pictures: Path, separator: str, encoding: str) -> None:
    table = cases(label=["krank", "gesünd"] * 10)
    rows = [list(table), *table.to_numpy().tolist()]
    write_dialect(pictures / "cases.csv", rows, encoding=encoding, delimiter=separator)
    found = read(pictures / "cases.csv")
    assert found.class_names == ("gesünd", "krank")
    if encoding == "cp1252":
        assert_noted(found.notes, "Windows-1252 (cp1252)", "'gesünd'")
    elif encoding in {"utf-16-le", "utf-16-be"}:
        assert_noted(found.notes, encoding.upper())
    else:
        assert found.notes == ()


DIALECTS = st.fixed_dictionaries(
    {
        "encoding": st.sampled_from(ENCODINGS),
        "delimiter": st.sampled_from(",;\t|"),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "lineterminator": st.sampled_from(["\r\n", "\n", "\r"]),
    }
).filter(lambda dialect: dialect["lineterminator"] != "\r" or dialect["quoting"] == csv.QUOTE_ALL)


def dialect_rows(*, decimal: str = ".") -> list[list[str]]:
    """Return a header and rows with separators, quotes and a line break in cells."""
    sites = ["Süd", "a,b;c", 'x "y"', "line\nbreak", "tab\tand|bar"]
    return [
        ["path", "label", "patient", "age", "site"],
        *(
            [
                f"scans/{index}.png",
                ["krank", "gesünd"][index % 2],
                f"{index // 2:03}",
                f"{index}{decimal}5",
                sites[index % 5],
            ]
            for index in range(COUNT)
        ),
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    dialect=DIALECTS,
    has_separator_line=st.booleans(),
    trailing=st.integers(0, 2),
    decimal=st.sampled_from(".,"),
    blanks=st.lists(st.tuples(st.integers(1, COUNT + 1), st.sampled_from([[], ["", " ", ""], [""] * 9])), max_size=4),
)
def test_the_same_table_in_any_dialect_is_the_same_dataset(
    pictures: Path,
    dialect: dict[str, Any],
    has_separator_line: bool,
    trailing: int,
    decimal: str,
    blanks: list[tuple[int, list[str]]],
) -> None:
    write_dialect(pictures / "usual.csv", dialect_rows())
    expected = read(pictures / "usual.csv").samples
    rows = [row + [""] * trailing for row in dialect_rows(decimal=decimal)]
    for position, blank in sorted(blanks, key=lambda blank: -blank[0]):
        rows.insert(position, blank)
    first = f"sep={dialect['delimiter']}{dialect['lineterminator']}" if has_separator_line else ""
    write_dialect(pictures / "cases.csv", rows, first=first, **dialect)
    found = read(pictures / "cases.csv")
    assert found.class_names == ("gesünd", "krank")
    assert found.samples.files == expected.files
    assert found.samples.labels.tolist() == expected.labels.tolist()
    assert found.samples.patients is not None
    assert expected.patients is not None
    assert found.samples.patients.tolist() == expected.patients.tolist()
    assert found.samples.columns["age"].tolist() == [index + 0.5 for index in range(COUNT)]
    assert found.samples.columns["site"].tolist() == expected.columns["site"].tolist()
    notes = " ".join(found.notes)
    assert ("'age' has decimal commas" in notes) == (decimal == ",")
    assert ("blank row" in notes) == bool(blanks)
    assert not blanks or notes.count(f"{len(blanks)} blank row") == 1
    assert ("cp1252" in notes) == (dialect["encoding"] == "cp1252")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(dialect=DIALECTS, has_separator_line=st.booleans(), blank=st.integers(1, COUNT), wrong=st.integers(1, COUNT))
def test_messages_number_rows_as_spreadsheets_do(
    pictures: Path, dialect: dict[str, Any], has_separator_line: bool, blank: int, wrong: int
) -> None:
    rows = dialect_rows()
    rows[wrong][1] = ""
    rows.insert(blank, [])
    first = f"sep={dialect['delimiter']}{dialect['lineterminator']}" if has_separator_line else ""
    write_dialect(pictures / "cases.csv", rows, first=first, **dialect)
    row = 1 + wrong + (blank <= wrong) + has_separator_line
    assert_error(pictures / "cases.csv", f"'label' is empty in 1 of {COUNT} rows: {row};")


def test_a_row_with_a_label_and_no_path_is_not_blank(pictures: Path) -> None:
    assert_error(write(pictures, cases(path=["", *cases()["path"][1:]])), "'path' is empty in 1 of 20 rows: 2")


def test_short_rows_and_columns_without_a_name_are_noted(pictures: Path) -> None:
    rows = [["path", "label", "", "age"], *([f"scans/{index}.png", "ab"[index % 2], "x"] for index in range(4))]
    write_dialect(pictures / "cases.csv", rows)
    found = read(pictures / "cases.csv")
    assert np.isnan([float(age or "nan") for age in found.samples.columns["age"]]).all()
    assert_noted(found.notes, "4 rows: 2, 3, 4, and 1 more")
    assert_noted(found.notes, "1 column without a name")


@pytest.mark.parametrize(
    ("cells", "expected", "noted"),
    [
        (["40,5", "41", "", "-0,25"], [40.5, 41, np.nan, -0.25], "has decimal commas"),
        (["40,5", "41.5", "1", "2"], [40.5, 41.5, 1, 2], "has decimal commas"),
        (["1,234", "5", "17,000", "2"], None, "'1,234' in row 2 may be a decimal number or a thousand"),
        (["63,5", "1.234", "7", "2"], None, "'1.234' in row 3 may be a decimal number or a thousand"),
        (["1.234,5", "2", "3", "4"], None, "'1.234,5' in row 2"),
        (["1", "2", "3", "unknown"], None, "'unknown' in row 5"),
        (["1", "2.5", "", "4"], [1, 2.5, np.nan, 4], ""),
        (["007", "008", "009", "010"], None, ""),
        (["north", "south", "7", ""], None, ""),
    ],
)
def test_columns_of_numbers(pictures: Path, cells: list[str], expected: list[float] | None, noted: str) -> None:
    rows = [["path", "label", "dose"], *([f"scans/{i}.png", "ab"[i % 2], cell] for i, cell in enumerate(cells))]
    write_dialect(pictures / "cases.csv", rows, delimiter=";")
    found = read(pictures / "cases.csv")
    values = found.samples.columns["dose"].tolist()
    assert values == (cells if expected is None else pytest.approx(expected, nan_ok=True))
    assert len(found.notes) == bool(noted)
    assert not noted or ("'dose'" in found.notes[0] and noted in found.notes[0])


@pytest.mark.parametrize(
    ("spellings", "class_names"),
    [
        (["0", "1", "0.0", "1.0"], ("0", "1")),
        (["0,0", "1", "0", "1,0"], ("0", "1")),
        (["yes", "NO", "Yes", "no "], ("NO", "Yes")),
        (["A  b", "c", "a b", "C"], ("A b", "C")),
        (["10", "9", "10.0", "9"], ("9", "10")),
    ],
)
def test_spellings_of_a_class_are_joined_and_noted(
    pictures: Path, spellings: list[str], class_names: tuple[str, ...]
) -> None:
    found = read(write(pictures, cases(label=spellings * 5)))
    assert tuple(map(str.lower, found.class_names)) == tuple(map(str.lower, class_names))
    assert found.samples.labels.tolist()[:2] == found.samples.labels.tolist()[2:4]
    assert found.notes


def test_cells_that_may_mean_a_missing_value_are_noted(pictures: Path) -> None:
    found = read(write(pictures, cases(label=["ill", "well", "NA", "well"] * 5, patient=["1", "n/a"] * 10)))
    assert found.class_names == ("ill", "NA", "well")
    assert_noted(found.notes, "'label' is 'NA' in 5 rows")
    assert_noted(found.notes, "'patient' is 'n/a' in 10 rows")


def test_ids_that_a_spreadsheet_may_have_rounded_are_noted(pictures: Path) -> None:
    found = read(write(pictures, cases(patient=["1E7", "1.23457E+12"] * 10)))
    assert_noted(found.notes, "'patient' is '1.23457E+12' in row 3", "round")


@pytest.mark.parametrize(
    ("no", "yes"),
    [("0", "1"), ("0.0", "1.00"), ("0,0", "1,0"), ("FALSE", "True"), ("no", "YES"), ("Nein", "Ja"), ("non", "OUI"),
     ("no", "Sí"), ("No", "si"), ("FALSCH", "WAHR"), ("FAUX", "VRAI")],
)  # fmt: skip
def test_words_for_0_and_1_in_columns_of_labels(pictures: Path, no: str, yes: str) -> None:
    found = read(write(pictures, cases(label=None, mass=[no, yes] * 10, fluid=[yes, yes, no, no] * 5)))
    assert found.class_names == ("mass", "fluid")
    assert found.samples.labels.tolist() == [[0, 1], [1, 1], [0, 0], [1, 0]] * 5
    if no.isalpha():
        assert_noted(found.notes, f"{no} as 0", f"{yes} as 1")


def test_splits_have_the_same_names_as_folders(pictures: Path) -> None:
    found = read(write(pictures, cases(split=["train"] * 10 + ["dev"] * 4 + ["Holdout"] * 6)))
    assert found.splits.tolist() == ["train"] * 10 + ["validation"] * 4 + ["test"] * 6
    assert_noted(found.notes, "'dev' is validation", "'Holdout' is test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shots").mkdir()
    for index in range(4):
        Image.new("L", (5, 6), 10 * index).save(tmp_path / "shots" / f"1.2.{index}.png")
    return tmp_path


@pytest.mark.parametrize("written", ["shots/1.2.{}", "shots\\1.2.{}.PNG", "./shots/1.2.{}.Png"])
def test_paths_stand_for_the_only_image_of_this_name(folder: Path, written: str) -> None:
    rows = [["path", "label"], *([written.format(index), "ab"[index % 2]] for index in range(4))]
    write_dialect(folder / "cases.csv", rows)
    found = read(folder / "cases.csv")
    assert found.samples.files == tuple(f"shots/1.2.{index}.png" for index in range(4))
    assert_noted(found.notes, "4 paths", "shots/1.2.0.png")
    (folder / "shots" / "1.2.1.txt").touch()
    (folder / "shots" / "1.2.1.jpg").mkdir()
    assert read(folder / "cases.csv").samples.files == found.samples.files


def test_paths_of_several_images_are_refused(folder: Path) -> None:
    write_dialect(folder / "cases.csv", [["path", "label"], ["shots/1.2.0", "a"], ["shots/1.2.1", "b"]])
    (folder / "shots" / "1.2.1.jpg").touch()
    assert_error(folder / "cases.csv", "'shots/1.2.1' in row 3", "1.2.1.jpg, 1.2.1.png")
    (folder / "shots" / "1.2.0.PNG").touch()
    write_dialect(folder / "cases.csv", [["path", "label"], ["shots/1.2.0.Png", "a"], ["shots/1.2.1.png", "b"]])
    assert_error(folder / "cases.csv", "'shots/1.2.0.Png' in row 2", "1.2.0.PNG, 1.2.0.png")


@pytest.mark.parametrize("other", ["shots/1.2.0", "shots/../shots/1.2.0.png", "{}/shots/1.2.0.png"])
def test_two_paths_of_one_file_are_repeated(folder: Path, other: str) -> None:
    rows = [["path", "label"], ["shots/1.2.0.png", "a"], [other.format(folder), "b"]]
    write_dialect(folder / "cases.csv", rows)
    assert_error(folder / "cases.csv", "1 files have several rows", "shots/1.2.0.png")


def test_paths_may_be_relative_to_another_folder_or_absolute(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("tables")
    rows = [["path", "label"], *([f"1.2.{index}.png", "ab"[index % 2]] for index in range(4))]
    write_dialect(place / "cases.csv", rows)
    monkeypatch.chdir(folder)
    for source in (f"{place}/cases.csv?root=shots", with_root(f"{place}/cases.csv", "shots")):
        found = read(source)
        assert (found.root, found.samples.files) == (folder / "shots", tuple(row[0] for row in rows[1:]))
        assert found.source == f"{place}/cases.csv?root={folder}/shots"
    assert read(with_root(f"{place}/cases.csv?label=label", folder / "shots")).source.endswith(
        f"cases.csv?label=label&root={folder}/shots"
    )
    write_dialect(place / "cases.csv", [["path", "label"], *([f"{folder}/shots/{row[0]}", row[1]] for row in rows[1:])])
    assert read(f"{place}/cases.csv?root={folder}").samples.files == tuple(f"shots/{row[0]}" for row in rows[1:])
    assert_error(place / "cases.csv", "outside the folder", str(place), "--root")
    assert_error(f"{place}/cases.csv?root=gone", "gone", "is not a folder")
    assert_error(f"{place}/cases.csv?label=a&label=b", "label is given 2 times")


def test_a_root_is_for_tables_only(folder: Path) -> None:
    write_dialect(folder / "cases.csv", [["path", "label"], ["shots/1.2.0.png", "a"]])
    for source in (str(folder), "digits", str(folder / "gone.csv")):
        with pytest.raises(DataError, match=r"is not a table that exists.*--root"):
            with_root(source, folder)
    with pytest.raises(DataError, match="has a root already"):
        with_root(f"{folder}/cases.csv?root=shots", folder)


def test_the_name_of_a_root_may_contain_special_characters(folder: Path) -> None:
    root = folder / "a&b=c? ü%20+"
    (folder / "shots").rename(root)
    write_dialect(folder / "cases.csv", [["path", "label"], ["1.2.0.png", "a"], ["1.2.1.png", "b"]])
    found = read(with_root(f"{folder}/cases.csv", root))
    assert found.root == root
    assert read(found.source).root == root


@pytest.mark.parametrize("names", [("File", "CLASS"), ("filename", "Diagnosis"), ("IMAGE", "target")])
def test_usual_column_names_are_found_regardless_of_case(pictures: Path, names: tuple[str, str]) -> None:
    table = cases().set_axis(list(names), axis=1)
    assert load(write(pictures, table)).class_names == ("well", "ill")


def test_other_column_names_are_part_of_the_source(pictures: Path) -> None:
    path = write(pictures, cases(case=[f"{index // 2}" for index in range(COUNT)]))
    table = pd.read_csv(path).rename(columns={"path": "shot", "label": "finding"})
    write(pictures, table)
    loaded = load(f"{path}?path=shot&label=Finding&patient=case")
    assert loaded.splits["train"].patients is not None
    assert loaded.class_names == ("well", "ill")
    assert loaded.source == f"{path}?path=shot&label=Finding&patient=case"
    assert_error(path, "no column is called path, file", "shot, finding, case", "cases.csv?path=NAME")
    assert_error(f"{path}?path=shot", "no column is called label", "cases.csv?label=NAME")
    assert_error(f"{path}?path=shot&label=findng", "'findng'", "Did you mean 'finding'?")
    assert_error(f"{path}?pth=shot", "'pth'", "Did you mean 'path'")
    assert_error(f"{path}?shot", "ROLE=COLUMN")
    assert_error(f"{path}?path=shot,case", "a single column", "shot, case")


def test_numeric_classes_are_sorted_by_value_and_others_by_name(pictures: Path) -> None:
    grades = ["10", "9"] * 10
    assert load(write(pictures, cases(label=grades))).class_names == ("9", "10")
    assert load(write(pictures, cases(label=[9.0, 10.0] * 10), "cases.parquet")).class_names == ("9", "10")
    assert read(write(pictures, cases(label=["NA", "None"] * 10))).class_names == ("NA", "None")


@pytest.mark.parametrize("name", ["cases.csv", "cases.parquet"])
@pytest.mark.parametrize("kind", [int, float, bool])
def test_several_columns_of_0_and_1_are_multi_label_data(pictures: Path, name: str, kind: type) -> None:
    mass, effusion = [0, 1] * 10, [0, 0, 1, 1] * 5
    table = cases(label=None, mass=np.array(mass, kind), effusion=np.array(effusion, kind), age=range(COUNT))
    path = write(pictures, table, name)
    loaded = load(path)
    assert (loaded.task, loaded.class_names) == ("multi-label", ("mass", "effusion"))
    assert "mass, effusion" in " ".join(loaded.notes)
    assert "with 2 labels" in loaded.describe()
    everything = list(loaded.splits.values())
    pairs = {
        (int(image[0, 0, 0]) // 10, *label)
        for split in everything
        for image, label in zip(split.images, split.labels, strict=True)
    }
    assert pairs == set(zip(range(COUNT), mass, effusion, strict=True))
    assert set(everything[0].columns) == {"age"}
    named = load(f"{path}?label=effusion,mass")
    assert (named.task, named.class_names) == ("multi-label", ("effusion", "mass"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    words=st.lists(
        st.text("abcé,;\"' ü.7", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=2, unique=True
    )
)
def test_any_text_can_be_a_class(pictures: Path, words: list[str]) -> None:
    assume(len(label_classes(words)[1]) == 2)  # not two spellings of one class
    assume(not all(set(word) <= set("7,.") for word in words))
    loaded = load(write(pictures, cases(label=words * 10, split=["train"] * 16 + ["val"] * 4)), positive=words[0])
    assert sorted(loaded.class_names) == sorted(" ".join(word.split()) for word in words)
    classes = [loaded.class_names[label] for label in loaded.splits["validation"].labels]
    assert classes == [" ".join(word.split()) for word in words * 2]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"path": None}, ["no column is called path", "label"]),
        ({"label": None}, ["no column is called label", "path"]),
        ({"label": None, "mass": [0, 1] * 10}, ["not several columns of 0 and 1"]),
        ({"label": ["a", ""] * 10}, ["'label' is empty in 10 of 20 rows: 3, 5, 7, and 7 more"]),
        ({"patient": ["1", " "] * 10}, ["'patient' is empty in 10 of 20"]),
        ({"path": ["scans/1.png"] * 20}, ["1 files", "scans/1.png"]),
        ({"path": ["/etc/passwd"] * 20}, ["/etc/passwd", "outside"]),
        ({"path": ["scans/../../x.png"] * 20}, ["scans/../../x.png", "outside"]),
        ({"split": ["train", "trainng"] * 10}, ["'trainng'", "row 3", "Did you mean 'train"]),
        ({"split": ["train", ""] * 10}, ["'split' is empty"]),
        ({"split": ["train", "eval"] * 10}, ["row 3", "'eval'", "validation or the test"]),
        ({"path": ["s3://bucket/1.png"] * 20}, ["s3://bucket/1.png", "row 2", "URL"]),
        ({"path": ["http://host/1.png"] * 20}, ["http://host/1.png", "row 2", "URL"]),
        ({"path": ["C:\\scans\\1.png"] * 20}, ["C:/scans/1.png", "row 2", "outside"]),
        ({"label": ["a", "#N/A"] * 10}, ["'label'", "row 3", "'#N/A'"]),
        ({"patient": ["a", "#BEZUG!"] * 10}, ["'patient'", "row 3", "'#BEZUG!'"]),
        ({"Target": ["a", "b"] * 10}, ["'label' and 'Target'", "?label=label"]),
        ({"LABEL": ["a", "b"] * 10}, ["several columns are called 'label'"]),
        ({"label": ["a"] * 20}, ["one class"]),
        ({"label": ["a"] * 19 + ["b"], "split": ["train"] * 16 + ["test"] * 4}, ["no training images", "'b'"]),
        ({"label": None, "mass": [0, 1] * 10, "fluid": ["0", ""] * 10}, ["'fluid' is empty"]),
    ],
)
def test_error_messages_for_invalid_tables(pictures: Path, changes: dict[str, Any], parts: list[str]) -> None:
    assert_error(write(pictures, cases(**changes)), "cases.csv", *parts)


def test_several_labels_must_be_0_or_1(pictures: Path) -> None:
    path = write(pictures, cases(mass=[0, 1] * 10, grade=[0, 2] * 10))
    assert_error(f"{path}?label=mass,grade", "'2'", "'grade'", "row 3")


def test_missing_files_are_counted_and_the_first_are_listed(pictures: Path) -> None:
    path = write(pictures, cases(path=[f"scans/{index + 15}.png" for index in range(COUNT)]))
    assert_error(path, "15 of 20", "scans/20.png: does not exist", "scans/22.png", "12 more", "--skip-broken")
    assert_error(write(pictures, cases(path=[f"gone/{index}.png" for index in range(COUNT)])), "20 of 20", "gone/0.png")


def test_a_link_out_of_the_folder_is_not_followed(pictures: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    Image.new("L", (5, 6)).save(outside)
    (pictures / "link.png").symlink_to(outside)
    assert_error(write(pictures, cases(path=["link.png", *cases()["path"][1:]])), "'link.png'", "outside")


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"path,label\n", "empty"),
        ("a.csv", b"\r\n,,,\r\n", "empty"),
        ("a.csv", b"path,label\nscans/1.png,gr\x81n\n", "row 2 contains characters that are not UTF-8 or Windows-1252"),
        ("a.csv", "path,label\nscans/1.png,größer\nscans/2.png,gr".encode() + b"\xfcn", "row 3 contains characters"),
        (
            "a.csv",
            codecs.BOM_UTF8 + b"path,label\nscans/1.png,gr\xfcn\n",
            "row 2 contains characters that are not UTF-8",
        ),
        ("a.csv", codecs.BOM_UTF16_LE + "path,label\n1,".encode("utf-16-le") + b"\x00\xd8,\x00", "not UTF-16-LE"),
        ("a.csv", b'path,label\n"scans/1.png\n\n","a"\n"scans/2.png",a\xfc\x81\n', "row 3 contains characters"),
        ("a.csv", b"path,label\nscans/1.png,a,b,c\n", "row 2 has 4 cells, but the header has 2"),
        ("a.csv", b'"sep=,"\npath,label\n\nscans/1.png,ill,63,5\n', "row 4 has 4 cells"),
        ("a.csv", b'path,label\nscans/1.png,a\nscans/1.png,"a\n', "row 3 is broken"),
        ("a.csv", b'path,label\nscans/1.png,"a" b\n', "row 2 is broken"),
        ("a.csv", b'path,label\nscans/1.png,"ill\nscans/2.png,"well\n', "row 2 is broken"),
        ("a.csv", b"\x00\x01\x02", "NUL"),
        ("a.csv", b"PK\x03\x04 and more", "workbook"),
        ("a.xlsx", b"PK\x03\x04 and more", "save the sheet as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0 and more", "save the sheet as CSV"),
        ("a.ods", b"PK\x03\x04 and more", "save the sheet as CSV"),
        ("a.parquet", b"PAR1 no", "broken"),
        ("a.parquet", b"", "broken"),
    ],
)
def test_error_messages_for_broken_tables(pictures: Path, name: str, content: bytes, part: str) -> None:
    (pictures / name).write_bytes(content)
    assert_error(pictures / name, name, part)


def test_a_table_with_only_a_test_split(pictures: Path) -> None:
    loaded = load(write(pictures, cases(split=["test"] * COUNT)))
    assert set(loaded.splits) == {"test"}
    with pytest.raises(DataError, match="no training images"):
        assert loaded.training


def test_the_command_line_prints_one_line(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(pictures, cases())
    assert main(["train", "lenet5", "--data", f"{path}?label=lable"]) == 2
    assert capsys.readouterr().err == (
        f"keras-cnns: {path}: column 'lable' for the label does not exist; the columns are path, label. "
        "Did you mean 'label'?\n"
    )
