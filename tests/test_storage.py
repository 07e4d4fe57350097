"""Checkpoints in a storage: whole or not there, the newest counts, and a store that is away is waited for."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.errors import StoreError
from keras_cnns.training.checkpoints import checkpoint, checkpoints, read_progress
from tuning.running.scratch import OF_MACHINE
from tuning.running.storage import WHOLE, Storage, reach
from tuning.running.trial import fetch_trial_folder, training_folder, trial_folder


@pytest.fixture(params=["file", "path", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    folder = tmp_path / "a store"
    uris = {"file": folder.as_uri(), "path": str(folder), "memory": f"memory://{uuid.uuid4().hex}/store"}
    return Storage(uris[request.param], "densenet-1")


def trained(folder: Path, epoch: int) -> Path:
    """Make the checkpoint of an epoch as a training does, the older ones being dropped."""
    before = checkpoints(folder)
    place = checkpoint(folder, epoch)
    place.mkdir(parents=True)
    state = {"epoch": epoch, "seconds": 1.5, "best_score": 0.5, "history": [{"loss": 1.0}] * epoch}
    (place / "state.json").write_text(json.dumps(state), "utf-8")
    (place / "weights.weights.h5").write_bytes(bytes([epoch]) * 1000)
    (folder / "speed.json").write_text("{}", "utf-8")
    (folder / ".new-best.keras").write_bytes(b"half")
    for older in before:
        shutil.rmtree(older)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_machine_goes_on_from_what_another_one_kept(storage: Storage, tmp_path: Path) -> None:
    for epoch in (1, 2):
        trained(tmp_path / "here", epoch)
        storage.keep(7, tmp_path / "here")
    assert storage.epochs(7) == ["epoch-0002"]
    with training_folder(tmp_path / "unused", 7, storage) as place:
        assert read_progress(place).epoch == 2
        whole = contents(tmp_path / "here")
        del whole[".new-best.keras"]
        assert contents(place) == whole
    assert not place.exists()
    with training_folder(tmp_path / "unused", 8, storage) as place:
        assert checkpoints(place) == []
    assert not (tmp_path / "unused").exists()


def test_what_a_killed_process_left_is_removed_and_what_lives_is_not(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, other = (tmp_path / name for name in (f"{OF_MACHINE}{2**22 + 1}-abc", f"elsewhere-{2**22 + 1}-abc"))
    for folder in (dead, other):
        (folder / "trials").mkdir(parents=True)
    with training_folder(tmp_path / "unused", 1, storage) as place, training_folder(tmp_path, 2, storage) as second:
        assert place.is_relative_to(tmp_path)
        assert second.is_relative_to(tmp_path)
        assert place.parents[1] != second.parents[1]
        assert place.parents[1].exists()
        assert not dead.exists()
        assert other.exists()


def test_without_a_storage_a_trial_trains_in_the_folder_of_the_sweep(tmp_path: Path) -> None:
    with training_folder(tmp_path, 7, None) as place:
        assert place == trial_folder(tmp_path, 7) == fetch_trial_folder(None, tmp_path, 7)


def test_what_is_fetched_takes_the_place_of_what_was_there(storage: Storage, tmp_path: Path) -> None:
    trained(tmp_path / "trials" / "0003", 1)
    trained(tmp_path / "here", 4)
    storage.keep(3, tmp_path / "here")
    for _ in range(2):
        place = fetch_trial_folder(storage, tmp_path, 3)
        assert [path.name for path in checkpoints(place)] == ["epoch-0004"]
        assert not list(place.glob(".epoch*"))


@settings(max_examples=40, deadline=None)
@given(whole=st.integers(0, 5), torn=st.sets(st.sampled_from(["state.json", "weights.weights.h5"])))
def test_a_checkpoint_that_was_not_copied_to_its_end_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, whole: int, torn: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    storage = Storage(str(folder / "store"), "sweep")
    for epoch in range(1, whole + 1):
        trained(folder / "here", epoch)
        storage.keep(0, folder / "here")
    begun = folder / "store" / "sweep" / "trials" / "0000" / f"epoch-{whole + 1:04d}"
    begun.mkdir(parents=True)
    for name in torn:
        (begun / name).write_bytes(b"to")
    assert read_progress(fetch_trial_folder(storage, folder / "there", 0)).epoch == whole
    trained(folder / "here", whole + 1)
    storage.keep(0, folder / "here")
    assert storage.epochs(0) == [begun.name]
    assert (begun / WHOLE).exists()
    assert read_progress(fetch_trial_folder(storage, folder / "there", 0)).epoch == whole + 1


def test_a_store_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    trained(tmp_path / "here", 1)
    (tmp_path / "store").write_text("no folder can be made here")
    timer = threading.Timer(0.3, (tmp_path / "store").unlink)
    timer.start()
    storage = Storage(str(tmp_path / "store"), "sweep")
    storage.keep(0, tmp_path / "here")
    timer.join()
    assert storage.epochs(0) == ["epoch-0001"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("bucket/folder", "is no URI; write one like s3://bucket/folder"),
        ("xyz://bucket/folder", "xyz"),
        ("s3://", "names no folder"),
        ("s3://bucket/folder?colour=red", "colour"),
    ],
)
def test_what_is_no_storage_is_told_in_a_line(uri: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        reach(uri)
    assert "\n" not in str(caught.value)
