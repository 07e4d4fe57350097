"""Situations of real data sets, each a small input with what is right, are read as they are meant.

The inputs and `cases.toml`, which describes them, are beside the project.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from keras_cnns.cli import main
from keras_cnns.data import Dataset, load
from keras_cnns.data.inspection import inspect
from keras_cnns.errors import DataError
from tests.conftest import SHARED_DATA

CASES_FOLDER = SHARED_DATA.parent / "cases"
CASES_FILE = CASES_FOLDER / "cases.toml"
CASES = tomllib.loads(CASES_FILE.read_text("utf-8")) if CASES_FILE.exists() else {}
REFUSED = {
    "load('splits-called-dev-eval-holdout/train_eval')": ["eval"],
    "load('class-folder-without-images')": ["rare"],
}
"""Sources that are refused although other sources of their case are not, with what the error names."""
LOADED = {code: case for case in CASES.values() for code in case.get("python", [])}
INSPECTED = {name: case for name, case in CASES.items() if {"inspect_says", "inspect_silent"} & case.keys()}
pytestmark = [
    pytest.mark.skipif(not CASES, reason="the cases are not beside the project"),
    pytest.mark.xdist_group("cases"),
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the cases, with the empty folder that version control does not keep."""
    copy = Path(shutil.copytree(CASES_FOLDER, tmp_path_factory.mktemp("cases"), dirs_exist_ok=True))
    (copy / "class-folder-without-images" / "rare").mkdir(exist_ok=True)
    return copy


@pytest.fixture(autouse=True)
def change_to_the_cases(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cases)


def run_code(code: str) -> Dataset:
    found: Dataset = eval(code, {"load": load})  # noqa: S307 - from a file that is part of the development
    return found


def images_by_file(dataset: Dataset) -> dict[str, np.ndarray]:
    return {
        file: image for split in dataset.splits.values() for file, image in zip(split.files, split.images, strict=True)
    }


def assert_says(texts: list[str], parts: list[str]) -> None:
    text = "\n".join(texts)
    for part in parts:
        assert re.search(part, text, re.IGNORECASE), (part, text)


@pytest.mark.parametrize("code", [code for code, case in LOADED.items() if "refuses" in case or code in REFUSED])
def test_a_source_that_cannot_be_meant_as_it_is_is_refused(code: str) -> None:
    with pytest.raises(DataError) as refused:
        run_code(code)
    assert "\n" not in str(refused.value)
    for part in REFUSED.get(code, LOADED[code].get("refuses", [])):
        assert part in str(refused.value)


READ = [code for code, case in LOADED.items() if "refuses" not in case and code not in REFUSED]


@pytest.mark.parametrize("code", READ)
def test_the_classes_and_splits_of_a_source_are_those_that_are_meant(code: str) -> None:
    case, dataset = LOADED[code], run_code(code)
    found = {
        "class_names": list(dataset.class_names),
        "classes": dataset.classes,
        "images": sum(map(len, dataset.splits.values())),
        "splits": {name: len(split) for name, split in dataset.splits.items()},
        "positives": sum(int(split.labels.sum()) for split in dataset.splits.values()),
    }
    expected = {name: case[name] for name in found if name in case}
    if "dev_holdout'" in code and "train" not in code:
        expected["splits"] = {name: count for name, count in expected["splits"].items() if name != "train"}
    assert {name: found[name] for name in expected} == expected
    assert_says(list(dataset.notes), [*case.get("says", []), *map(re.escape, case.get("names", []))])


@pytest.mark.parametrize(
    "code", [code for code in READ if {"grey_levels", "highest", "pixels", "column"} & LOADED[code].keys()]
)
def test_the_pixels_and_columns_of_a_source_are_those_that_are_meant(code: str) -> None:
    case, dataset = LOADED[code], run_code(code)
    images = images_by_file(dataset)
    assert {file: len(np.unique(images[file])) for file in case.get("grey_levels", {})} == case.get("grey_levels", {})
    for file, highest in case.get("highest", {}).items():
        assert abs(int(images[file].max()) - highest) <= 1
    for place, value in case.get("pixels", {}).items():
        row, column = map(int, place.split(","))
        assert all(abs(int(image[row, column, 0]) - value) <= 1 for image in images.values())
    for name, value in case.get("column", {}).items():
        assert value in np.concatenate([split.columns[name] for split in dataset.splits.values()]).tolist()


@pytest.mark.parametrize("code", [code for code in READ if "grey_levels_at_least" in LOADED[code]])
def test_images_keep_their_grey_levels(code: str) -> None:
    assert len(np.unique(run_code(code).splits["train"].images)) >= LOADED[code]["grey_levels_at_least"]


@pytest.mark.parametrize("code", [code for code in READ if "patients" in LOADED[code]])
def test_no_patient_is_in_two_splits(code: str) -> None:
    (source,) = re.findall("'(.*?)'", code)
    dataset = load(source, patient_pattern=r"(p\d+)_" if "file-names" in source else None)
    ids = [set(split.patients.tolist()) for split in dataset.splits.values() if split.patients is not None]
    assert len(set.union(*ids)) == sum(map(len, ids)) == LOADED[code]["patients"]


@pytest.mark.parametrize("name", INSPECTED)
def test_inspect_finds_what_is_wrong_and_nothing_else(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = INSPECTED[name]
    command = next(command for command in case["command"] if " inspect " in command)
    arguments = command.split()[1:]
    assert main([*arguments, *(["--json"] if "--json" not in arguments else [])]) == 0
    found = json.loads(capsys.readouterr().out)
    texts = [f"{finding['problem']}: {finding['advice']}" for finding in found["findings"]]
    assert_says([*texts, *found["notes"]], case.get("inspect_says", []))
    assert not [part for part in case.get("inspect_silent", []) if part.lower() in "\n".join(texts).lower()]


def test_the_image_of_breastmnist_that_is_in_two_splits_under_two_labels_is_found() -> None:
    found = "\n".join(
        f"{finding.problem}: {finding.advice}" for finding in inspect(SHARED_DATA / "breastmnist.npz").findings
    )
    assert "train[115]" in found
    assert "test[76]" in found
    assert "different labels" in found
