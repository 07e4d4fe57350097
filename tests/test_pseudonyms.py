"""Patients have pseudonyms in everything that is logged, and their IDs where the project keeps them."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saved_networks import save_run, train_network

from keras_cnns import Dataset, evaluate
from keras_cnns.data import Split
from keras_cnns.data.pseudonyms import KEY_FILE, Pseudonyms, load_pseudonyms
from keras_cnns.errors import DataError
from keras_cnns.tracking import Store
from keras_cnns.training.logged_data import log_splits

KEY = Pseudonyms(b"k" * 32)
IDS = ("MUELLER-1961", "smith_07", "4711-A")


@pytest.fixture(scope="module")
def patients() -> Dataset:
    generator = np.random.default_rng(0)
    splits = {}
    for name, images in (("train", 24), ("validation", 24), ("test", 48)):
        owners = np.array([f"{IDS[index % 3]}x{name[:2]}{index // 4}" for index in range(images)])
        labels = np.arange(images) // 4 % 2
        pixels = generator.integers(0, 100, (images, 8, 8, 1)) + 100 * labels[:, None, None, None]
        files = tuple(f"{('well', 'ill')[label]}/{owner}/{index}.png" for index, (owner, label) in
                      enumerate(zip(owners, labels, strict=True)))  # fmt: skip
        splits[name] = Split(pixels.astype(np.uint8), labels, files=files, patients=owners)
    notes = (f"Patients {splits['train'].patients[0]!r} and others have similar IDs.",)
    return Dataset(name="own", source="own", splits=splits, class_names=("well", "ill"), positive="ill", notes=notes)


def everything_logged(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in [folder / "mlflow.db", *folder.glob("mlartifacts/**/*")]
                    if path.is_file())  # fmt: skip


@pytest.mark.parametrize("keep_ids", [False, True])
def test_no_patient_id_is_in_what_a_run_and_its_evaluation_log_unless_ids_are_kept(
    patients: Dataset, tmp_path: Path, keep_ids: bool
) -> None:
    dataset = replace(patients, keep_ids=keep_ids)
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    run = save_run(store, train_network(dataset), dataset)
    log_splits(dataset, tmp_path, store, run)
    found = evaluate(run, dataset, tracking_uri=store.uri)
    logged = everything_logged(tmp_path)
    for patient in IDS:
        assert (patient.encode() in logged) == keep_ids, patient
        assert patient in (tmp_path / "splits.csv").read_text("utf-8"), "the table in the folder is a source"
    owners = {str(owner) for owner in dataset.splits["test"].patients}
    assert set(found.cases["patient"]) == (owners if keep_ids else set(map(pseudonyms(tmp_path).pseudonym, owners)))


def pseudonyms(folder: Path) -> Pseudonyms:
    return Pseudonyms(bytes.fromhex((folder / KEY_FILE).read_text().strip()))


def test_the_key_is_readable_for_its_owner_only_and_the_same_for_concurrent_processes(
    patients: Dataset, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_pseudonyms(tmp_path, patients), range(16)))
    assert len({each.key for each in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "abc", "00" * 31, "nonsense" * 8])
def test_a_broken_key_is_an_error_in_one_line(patients: Dataset, tmp_path: Path, content: str) -> None:
    (tmp_path / KEY_FILE).write_text(content)
    with pytest.raises(DataError, match="restore it") as raised:
        load_pseudonyms(tmp_path, patients)
    assert "\n" not in str(raised.value)


def test_no_key_is_made_without_patients(patients: Dataset, tmp_path: Path) -> None:
    splits = {name: replace(split, patients=None) for name, split in patients.splits.items()}
    assert load_pseudonyms(tmp_path, replace(patients, splits=splits)).key is None
    assert not list(tmp_path.iterdir())


@given(first=st.text(min_size=1), second=st.text(min_size=1))
def test_different_patients_have_different_pseudonyms_that_do_not_contain_the_ids(first: str, second: str) -> None:
    one, other = map(KEY.pseudonym, (first, second))
    assert (one == other) == (first == second)
    assert one == KEY.pseudonym(first)
    assert one != Pseudonyms(b"q" * 32).pseudonym(first)


@pytest.mark.parametrize(
    ("text", "patient", "hidden"),
    [
        ("ill/p07/3.png", "p07", "ill/{}/3.png"),
        ("p07_left.png", "p07", "{}_left.png"),
        ("p071/p07.png", "p07", "p071/{}.png"),
        ("'p07' and 'p07'", "p07", "'{}' and '{}'"),
        ("7 of 9 images", "7", "7 of 9 images"),
        ("a.b-c", "a.b", "{}-c"),
    ],
)
def test_whole_ids_are_replaced_in_texts(text: str, patient: str, hidden: str) -> None:
    assert KEY.hide(text, [patient]) == hidden.replace("{}", KEY.pseudonym(patient))
    assert Pseudonyms().hide(text, [patient]) == text
