"""A trial: the function that Ray Tune runs in a worker process, and the folder that it trains in."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from keras_cnns.errors import StoreError
from tuning.running.scratch import process_prefix, remove_stale_files
from tuning.running.shared_dataset import SharedDataset
from tuning.running.storage import CheckpointStorage

FAILURE, DISK_FULL, STORAGE_ERROR = "failure", "disk_full", "storage_error"


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial's checkpoints."""
    return folder / "trials" / f"{number:04d}"


def fetch_trial_folder(storage: CheckpointStorage | None, folder: Path, number: int) -> Path:
    """Return the folder of a trial's checkpoints on this machine, downloaded from the storage if there is one."""
    target = trial_folder(folder, number)
    if storage is not None:
        storage.download(number, target)
    return target


@contextlib.contextmanager
def training_folder(folder: Path, number: int, storage: CheckpointStorage | None) -> Iterator[Path]:
    """Yield the folder that a trial trains in.

    Without a storage this is the trial's folder in the sweep's. With one it is a temporary folder of this process,
    which starts with the trial's last checkpoint in the storage.
    """
    if storage is None:
        yield trial_folder(folder, number)
        return
    remove_stale_files(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=process_prefix(), ignore_cleanup_errors=True) as scratch:
        yield fetch_trial_folder(storage, Path(scratch), number)


def run_trial(
    config: Mapping[str, Any],
    *,
    dataset: SharedDataset,
    folder: Path,
    cores: int,
    storage: CheckpointStorage | None,
    max_growth: int,
) -> None:
    """Train a candidate and report each epoch to Tune.

    Epochs of the checkpoint that are not in the journal are reported first. Errors of the candidate are reported
    instead of raised: Tune treats a trial that raises as a process that died, and restarts it from its checkpoint.

    Args:
        config: Number of the trial, its candidate and seed, the number of its epochs in the journal, and how often its
            process died.
        dataset: The images.
        folder: Folder of the sweep.
        cores: Threads of the backend.
        storage: Storage of the checkpoints, unless they stay in the folder.
        max_growth: Bytes by which a process may grow before it is recycled.
    """
    from tuning.running.worker import train_candidate  # noqa: PLC0415 - loads a backend, which the driver does not need

    number = config["number"]
    last_report: dict[str, Any] = {config["candidate"].recipe.monitor: 0.0, "epoch": 0}

    def report(metrics: Mapping[str, float]) -> None:
        last_report.update(metrics)
        tune.report(dict(metrics))

    try:
        with training_folder(folder, number, storage) as target:
            train_candidate(
                config,
                dataset.load(),
                target,
                cores=cores,
                upload=None if storage is None else lambda: storage.upload(number, target),
                max_growth=max_growth,
                report=report,
            )
    except Exception as error:  # noqa: BLE001 - an error of one candidate must not end the sweep
        kind = classify_error(error)
        message = str(error) if kind == STORAGE_ERROR else f"{type(error).__name__}: {error}"
        tune.report({**last_report, kind: message.splitlines()[0]})


def classify_error(error: Exception) -> str:
    """Return whether an error is a failure of the candidate, a full disk, or a failing storage."""
    if isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)):
        return DISK_FULL
    return STORAGE_ERROR if isinstance(error, StoreError) else FAILURE
