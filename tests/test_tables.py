"""Tables of images: the roles of columns, and error messages for invalid tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cnns.cli import main
from keras_cnns.data import load
from keras_cnns.errors import DataError

COUNT = 20


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
    read = load(write(pictures, table, name))
    assert {split: len(part) for split, part in read.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    assert (read.class_names, read.task, read.name) == (("ill", "well"), "binary", name)
    test = read.splits["test"]
    assert test.files == tuple(f"scans/{index}.png" for index in range(16, 20))
    assert test.images[:, 0, 0, 0].tolist() == [160, 170, 180, 190]
    assert test.labels.tolist() == [1, 0, 1, 0]
    assert test.patients is not None
    assert test.patients.tolist() == ["008", "008", "009", "009"]
    assert test.columns["age"].tolist() == pytest.approx([50.5, np.nan, 50.5, np.nan], nan_ok=True)
    assert test.columns["site"].tolist() == ["north", "7", "north", "7"]
    assert test.columns["code"].tolist() == ["007"] * 4
    assert set(test.columns) == {"age", "site", "code"}


def test_rows_may_be_in_any_order_and_keep_it_within_a_split(pictures: Path) -> None:
    table = cases(split=["test", "train", "train", "val", "train"] * 4)
    read = load(write(pictures, table))
    for name, first in {"test": 0, "validation": 3}.items():
        assert read.splits[name].images[:, 0, 0, 0].tolist() == [10 * index for index in range(first, COUNT, 5)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_separators_and_byte_order_marks(pictures: Path, separator: str, encoding: str) -> None:
    path = write(pictures, cases(label=["krank", "gesünd"] * 10), sep=separator, encoding=encoding)
    assert load(path).class_names == ("gesünd", "krank")


@pytest.mark.parametrize("names", [("File", "CLASS"), ("filename", "Diagnosis"), ("IMAGE", "target")])
def test_usual_column_names_are_found_regardless_of_case(pictures: Path, names: tuple[str, str]) -> None:
    table = cases().set_axis(list(names), axis=1)
    assert load(write(pictures, table)).class_names == ("ill", "well")


def test_other_column_names_are_part_of_the_source(pictures: Path) -> None:
    path = write(pictures, cases(case=[f"{index // 2}" for index in range(COUNT)]))
    table = pd.read_csv(path).rename(columns={"path": "shot", "label": "finding"})
    write(pictures, table)
    read = load(f"{path}?path=shot&label=Finding&patient=case")
    assert read.splits["train"].patients is not None
    assert read.class_names == ("ill", "well")
    assert read.source == f"{path}?path=shot&label=Finding&patient=case"
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
    assert load(write(pictures, cases(label=["NA", "None"] * 10))).class_names == ("NA", "None")


@pytest.mark.parametrize("name", ["cases.csv", "cases.parquet"])
@pytest.mark.parametrize("kind", [int, float, bool])
def test_several_columns_of_0_and_1_are_multi_label_data(pictures: Path, name: str, kind: type) -> None:
    mass, effusion = [0, 1] * 10, [0, 0, 1, 1] * 5
    table = cases(label=None, mass=np.array(mass, kind), effusion=np.array(effusion, kind), age=range(COUNT))
    path = write(pictures, table, name)
    read = load(path)
    assert (read.task, read.class_names) == ("multi-label", ("mass", "effusion"))
    assert "mass, effusion" in " ".join(read.notes)
    assert "with 2 labels" in read.describe()
    everything = list(read.splits.values())
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
    read = load(write(pictures, cases(label=words * 10, split=["train"] * 16 + ["val"] * 4)))
    assert sorted(read.class_names) == sorted(words)
    assert [read.class_names[label] for label in read.splits["validation"].labels] == words * 2


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"path": None}, ["no column is called path", "label"]),
        ({"label": None}, ["no column is called label", "path"]),
        ({"label": None, "mass": [0, 1] * 10}, ["not several columns of 0 and 1"]),
        ({"label": ["a", ""] * 10}, ["'label' is empty in 10 of 20 rows: 2, 4, 6, and 7 more"]),
        ({"patient": ["1", " "] * 10}, ["'patient' is empty in 10 of 20"]),
        ({"path": ["scans/1.png"] * 20}, ["1 files", "scans/1.png"]),
        ({"path": ["/etc/passwd"] * 20}, ["/etc/passwd", "outside"]),
        ({"path": ["scans/../../x.png"] * 20}, ["scans/../../x.png", "outside"]),
        ({"split": ["train", "traning"] * 10}, ["'traning'", "row 2", "Did you mean 'train"]),
        ({"split": ["train", ""] * 10}, ["'split' is empty"]),
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
    assert_error(f"{path}?label=mass,grade", "'2'", "'grade'", "row 2")


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
        ("a.csv", "path,label\nscans/1.png,grün\n".encode("latin-1"), "UTF-8"),
        ("a.csv", b"path,label\nscans/1.png,a,b,c\n", "line 2"),
        ("a.csv", b'path,label\nscans/1.png,"a\n', "broken"),
        ("a.csv", b"\x00\x01\x02", "a.csv"),
        ("a.parquet", b"PAR1 no", "broken"),
        ("a.parquet", b"", "broken"),
    ],
)
def test_error_messages_for_broken_tables(pictures: Path, name: str, content: bytes, part: str) -> None:
    (pictures / name).write_bytes(content)
    assert_error(pictures / name, name, part)


def test_a_table_with_only_a_test_split(pictures: Path) -> None:
    read = load(write(pictures, cases(split=["test"] * COUNT)))
    assert set(read.splits) == {"test"}
    with pytest.raises(DataError, match="no training images"):
        assert read.training


def test_the_command_line_prints_one_line(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(pictures, cases())
    assert main(["train", "lenet5", "--data", f"{path}?label=lable"]) == 2
    assert capsys.readouterr().err == (
        f"keras-cnns: {path}: column 'lable' for the label does not exist; the columns are path, label. "
        "Did you mean 'label'?\n"
    )
