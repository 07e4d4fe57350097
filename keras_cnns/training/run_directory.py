"""Run directories: one folder per run, with a lock; new runs create one, resumed runs find theirs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_cnns.errors import ResumeError, StoreError, TrainingError
from keras_cnns.networks.baselines.code import CODE
from keras_cnns.networks.baselines.names import to_file_name

FINISHED = "finished"
FIRST_WORKER_TIMEOUT = 120.0  # seconds


def create_directory(folder: Path, name: str) -> tuple[Path, FileLock]:
    """Create the directory of a new run in a folder, and return it with its lock.

    Raises:
        StoreError: The directory cannot be created.
    """
    path = folder / f"{to_file_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    try:
        path.mkdir(parents=True)
    except OSError as error:
        message = f"cannot create {path}: {error.strerror}; choose a writable folder with --folder."
        raise StoreError(message) from None
    return path, FileLock(path / ".lock")


def find_unfinished(
    folder: Path, record_name: str, identity: Mapping[str, Any], *, description: str
) -> tuple[Path, FileLock, dict[str, Any]]:
    """Return the directory of the newest unfinished run with an identity, its lock, and its record.

    Args:
        folder: The folder with the directories.
        record_name: The JSON file in each directory with the identity and the `run_id` of the run.
        identity: The values that the record must have.
        description: Describes the run in the error message.

    Raises:
        ResumeError: There is no such run, or another process is running it.
    """
    finished = ""
    for path, record in find_directories(folder, record_name, identity):
        if (path / FINISHED).exists():
            finished = finished or f" {path} is finished, as run {record['run_id']}."
        elif is_locked(path):
            raise ResumeError(f"{path} is in use by another process; wait until it ends.")
        else:
            return path, FileLock(path / ".lock"), record
    if not finished and CODE in identity:
        check_code(folder, record_name, identity)
    raise ResumeError(f"nothing to resume: no unfinished {description} in {folder}.{finished}")


def check_code(folder: Path, record_name: str, identity: Mapping[str, Any]) -> None:
    """Raise a `ResumeError` if there is an unfinished run that differs only in the code of its network."""
    others = {name: value for name, value in identity.items() if name != CODE}
    for path, record in find_directories(folder, record_name, others):
        if CODE in record and not (path / FINISHED).exists():
            raise ResumeError(
                f"the file of the network has changed since {path} was started; restore the version with SHA-256 "
                f"{record[CODE][:16]}..., or begin again without resuming."
            )


def wait_for_first_worker(folder: Path, record_name: str, identity: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return the directory, and its record, in which the first of several workers runs the same training.

    Raises:
        TrainingError: The first worker does not start it within two minutes.
    """
    end = time.monotonic() + FIRST_WORKER_TIMEOUT
    while time.monotonic() < end:
        for path, record in find_directories(folder, record_name, identity):
            if not (path / FINISHED).exists() and is_locked(path):
                return path, record
        time.sleep(0.2)
    raise TrainingError(
        f"the first worker has not started this training in {folder} within {FIRST_WORKER_TIMEOUT:.0f} seconds; start "
        f"all workers with the same command, and with a --folder and a --tracking-uri that all of them can access."
    )


def find_directories(
    folder: Path, record_name: str, identity: Mapping[str, Any]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the directories of runs with an identity, newest first, and their records."""
    for path in sorted(folder.glob(f"*/{record_name}"), key=lambda path: path.stat().st_mtime, reverse=True):
        record = json.loads(path.read_text(encoding="utf-8"))
        if all(record.get(key) == value for key, value in identity.items()):
            yield path.parent, record


def is_locked(path: Path) -> bool:
    """Return whether a process uses a directory."""
    try:
        with FileLock(path / ".lock", blocking=False):
            return False
    except Timeout:
        return True
