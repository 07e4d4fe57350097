"""Checkpoints in a storage: only complete ones count, the newest first, and failing storages are retried."""

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
from keras_cnns.training.checkpoints import checkpoint_path, list_checkpoints, read_progress
from tuning.running.scratch import MACHINE_PREFIX
from tuning.running.storage import COMPLETE, CheckpointStorage, open_filesystem
from tuning.running.trial import fetch_trial_folder, training_folder, trial_folder


@pytest.fixture(params=["file", "path", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStorage:
    folder = tmp_path / "a store"
    uris = {"file": folder.as_uri(), "path": str(folder), "memory": f"memory://{uuid.uuid4().hex}/store"}
    return CheckpointStorage(uris[request.param], "densenet-1")


def write_checkpoint(folder: Path, epoch: int) -> Path:
    """Write the checkpoint of an epoch as a training does, and remove older ones."""
    older = list_checkpoints(folder)
    checkpoint = checkpoint_path(folder, epoch)
    checkpoint.mkdir(parents=True)
    state = {"epoch": epoch, "seconds": 1.5, "best_score": 0.5, "history": [{"loss": 1.0}] * epoch}
    (checkpoint / "state.json").write_text(json.dumps(state), "utf-8")
    (checkpoint / "weights.weights.h5").write_bytes(bytes([epoch]) * 1000)
    (folder / "speed.json").write_text("{}", "utf-8")
    (folder / ".new-best.keras").write_bytes(b"incomplete")
    for path in older:
        shutil.rmtree(path)
    return checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_machine_continues_from_the_checkpoint_of_another(storage: CheckpointStorage, tmp_path: Path) -> None:
    for epoch in (1, 2):
        write_checkpoint(tmp_path / "here", epoch)
        storage.upload(7, tmp_path / "here")
    assert storage.checkpoint_names(7) == ["epoch-0002"]
    with training_folder(tmp_path / "unused", 7, storage) as folder:
        assert read_progress(folder).epoch == 2
        expected = contents(tmp_path / "here")
        del expected[".new-best.keras"]
        assert contents(folder) == expected
    assert not folder.exists()
    with training_folder(tmp_path / "unused", 8, storage) as folder:
        assert list_checkpoints(folder) == []
    assert not (tmp_path / "unused").exists()


def test_temporary_folders_of_killed_processes_are_removed_and_others_are_not(
    storage: CheckpointStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, other = (tmp_path / name for name in (f"{MACHINE_PREFIX}{2**22 + 1}-abc", f"elsewhere-{2**22 + 1}-abc"))
    for path in (dead, other):
        (path / "trials").mkdir(parents=True)
    with training_folder(tmp_path / "unused", 1, storage) as folder, training_folder(tmp_path, 2, storage) as second:
        assert folder.is_relative_to(tmp_path)
        assert second.is_relative_to(tmp_path)
        assert folder.parents[1] != second.parents[1]
        assert folder.parents[1].exists()
        assert not dead.exists()
        assert other.exists()


def test_without_a_storage_a_trial_trains_in_the_sweeps_folder(tmp_path: Path) -> None:
    with training_folder(tmp_path, 7, None) as folder:
        assert folder == trial_folder(tmp_path, 7) == fetch_trial_folder(None, tmp_path, 7)


def test_a_downloaded_checkpoint_replaces_older_ones(storage: CheckpointStorage, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "trials" / "0003", 1)
    write_checkpoint(tmp_path / "here", 4)
    storage.upload(3, tmp_path / "here")
    for _ in range(2):
        folder = fetch_trial_folder(storage, tmp_path, 3)
        assert [path.name for path in list_checkpoints(folder)] == ["epoch-0004"]
        assert not list(folder.glob(".epoch*"))


@settings(max_examples=40, deadline=None)
@given(complete=st.integers(0, 5), partial=st.sets(st.sampled_from(["state.json", "weights.weights.h5"])))
def test_a_partially_uploaded_checkpoint_is_ignored(
    tmp_path_factory: pytest.TempPathFactory, complete: int, partial: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("partial")
    storage = CheckpointStorage(str(folder / "store"), "sweep")
    for epoch in range(1, complete + 1):
        write_checkpoint(folder / "here", epoch)
        storage.upload(0, folder / "here")
    partial_checkpoint = folder / "store" / "sweep" / "trials" / "0000" / f"epoch-{complete + 1:04d}"
    partial_checkpoint.mkdir(parents=True)
    for name in partial:
        (partial_checkpoint / name).write_bytes(b"in")
    assert read_progress(fetch_trial_folder(storage, folder / "there", 0)).epoch == complete
    write_checkpoint(folder / "here", complete + 1)
    storage.upload(0, folder / "here")
    assert storage.checkpoint_names(0) == [partial_checkpoint.name]
    assert (partial_checkpoint / COMPLETE).exists()
    assert read_progress(fetch_trial_folder(storage, folder / "there", 0)).epoch == complete + 1


def test_a_temporarily_failing_storage_is_retried(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "here", 1)
    (tmp_path / "store").write_text("a file where the folder should be")
    timer = threading.Timer(0.3, (tmp_path / "store").unlink)
    timer.start()
    storage = CheckpointStorage(str(tmp_path / "store"), "sweep")
    storage.upload(0, tmp_path / "here")
    timer.join()
    assert storage.checkpoint_names(0) == ["epoch-0001"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("bucket/folder", "is not a URI; write one like s3://bucket/folder"),
        ("xyz://bucket/folder", "xyz"),
        ("s3://", "does not name a folder"),
        ("s3://bucket/folder?colour=red", "colour"),
    ],
)
def test_an_invalid_storage_is_reported_in_one_line(uri: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_filesystem(uri)
    assert "\n" not in str(caught.value)
