"""Whose folder is whose: a new one for new work, the newest unfinished one for work that goes on."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_cnns.errors import ResumeError, StoreError, TrainingError

FINISHED = "finished"
SECONDS_TO_WAIT = 120.0


def claim_new(folder: Path, name: str) -> tuple[Path, FileLock]:
    """Make a folder for new work and return it with the lock that keeps other processes out.

    Raises:
        StoreError: The folder cannot be written.
    """
    place = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    try:
        place.mkdir(parents=True)
    except OSError as error:
        message = f"cannot make {place}: {error.strerror}; name a folder that can be written with --folder."
        raise StoreError(message) from None
    return place, FileLock(place / ".lock")


def claim_unfinished(
    folder: Path, record_name: str, identity: Mapping[str, Any], *, wanted: str
) -> tuple[Path, FileLock, dict[str, Any]]:
    """Return the newest unfinished work with an identity: its folder, its lock, and what was written of it.

    Args:
        folder: Where to look.
        record_name: The file, one to each piece of work, that holds its identity and its `run_id`.
        identity: What must be equal.
        wanted: What is looked for, in words.

    Raises:
        ResumeError: There is none, or another process has it.
    """
    finished = ""
    for place, record in same_work(folder, record_name, identity):
        if (place / FINISHED).exists():
            finished = finished or f" {place} is finished, as run {record['run_id']}."
        elif is_claimed(place):
            raise ResumeError(f"{place} is being worked on by another process; wait for it.")
        else:
            return place, FileLock(place / ".lock"), record
    raise ResumeError(f"nothing to resume: no unfinished {wanted} in {folder}.{finished}")


def join_first_worker(folder: Path, record_name: str, identity: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return the folder that the first of several workers has claimed for the same work, and what was written of it.

    Raises:
        TrainingError: The first worker does not begin it within two minutes.
    """
    end = time.monotonic() + SECONDS_TO_WAIT
    while time.monotonic() < end:
        for place, record in same_work(folder, record_name, identity):
            if not (place / FINISHED).exists() and is_claimed(place):
                return place, record
        time.sleep(0.2)
    raise TrainingError(
        f"the first worker has not begun this training in {folder} within {SECONDS_TO_WAIT:.0f} seconds; start all "
        f"workers with the same command, with a --folder and a --tracking-uri that all of them reach."
    )


def same_work(folder: Path, record_name: str, identity: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders of work with an identity, the newest first, and what was written of it."""
    for path in sorted(folder.glob(f"*/{record_name}"), key=lambda path: path.stat().st_mtime, reverse=True):
        record = json.loads(path.read_text(encoding="utf-8"))
        if all(record.get(key) == value for key, value in identity.items()):
            yield path.parent, record


def is_claimed(place: Path) -> bool:
    """Return whether a process works in a folder."""
    try:
        with FileLock(place / ".lock", blocking=False):
            return False
    except Timeout:
        return True
