"""One trial: the function that Ray Tune runs in a worker process, and the folder that it trains in."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from keras_cnns.errors import StoreError
from tuning.running.images import HandedOver
from tuning.running.scratch import drop_left_over, of_process
from tuning.running.storage import Storage

FAILURE, FULL, AWAY = "failure", "full", "away"


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial's checkpoints."""
    return folder / "trials" / f"{number:04d}"


def fetch_trial_folder(storage: Storage | None, folder: Path, number: int) -> Path:
    """Return the folder of a trial's checkpoints on this machine, copied from the storage if there is one."""
    place = trial_folder(folder, number)
    if storage is not None:
        storage.fetch(number, place)
    return place


@contextlib.contextmanager
def training_folder(folder: Path, number: int, storage: Storage | None) -> Iterator[Path]:
    """Give the folder that a trial trains in.

    Without a storage it is the trial's folder in the sweep's. With one it is a temporary folder of this process, which
    starts with what the storage holds of the trial.
    """
    if storage is None:
        yield trial_folder(folder, number)
        return
    drop_left_over(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=of_process(), ignore_cleanup_errors=True) as scratch:
        yield fetch_trial_folder(storage, Path(scratch), number)


def run_trial(
    config: Mapping[str, Any],
    *,
    images: HandedOver,
    seed: int,
    folder: Path,
    cores: int,
    storage: Storage | None,
    recycle_above: int,
) -> None:
    """Train one candidate and report each epoch to Tune.

    Epochs that its checkpoint holds and the journal does not know are reported first. Errors of the candidate are
    reported, not raised: a trial that Tune sees failing is one whose process died, and it is started again from its
    checkpoint.

    Args:
        config: The trial's number, candidate, seed (None for the sweep's), number of epochs known to the journal, and
            how often its process died.
        images: The images.
        seed: The sweep's seed.
        folder: The sweep's folder.
        cores: Threads of the backend.
        storage: Where checkpoints are kept, if not in the folder.
        recycle_above: Bytes by which a process may grow before it is replaced.
    """
    from tuning.running.worker import train_candidate  # noqa: PLC0415 - the driver imports this module and needs no backend

    number = config["number"]
    reached: dict[str, Any] = {config["candidate"].recipe.monitor: 0.0, "epoch": 0}

    def report(metrics: Mapping[str, float]) -> None:
        reached.update(metrics)
        tune.report(dict(metrics))

    try:
        with training_folder(folder, number, storage) as place:
            train_candidate(
                {**config, "seed": seed if config["seed"] is None else config["seed"]},
                images.received(),
                place,
                cores=cores,
                keep=None if storage is None else lambda: storage.keep(number, place),
                recycle_above=recycle_above,
                report=report,
            )
    except Exception as error:  # noqa: BLE001 - one candidate's error must not end the sweep
        kind = kind_of(error)
        message = str(error) if kind == AWAY else f"{type(error).__name__}: {error}"
        tune.report({**reached, kind: message.splitlines()[0]})


def kind_of(error: Exception) -> str:
    """Return whether an error is the candidate's own failure, a full disk, or a storage that does not answer."""
    if isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)):
        return FULL
    return AWAY if isinstance(error, StoreError) else FAILURE
