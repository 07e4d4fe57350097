"""The folder of a sweep: a new one, or that of a sweep to resume or extend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock

from keras_cnns.errors import ResumeError, SettingError
from keras_cnns.tracking import Store
from keras_cnns.training.run_directory import (
    FINISHED,
    create_directory,
    find_directories,
    find_unfinished,
    is_locked,
)
from tuning.candidates.space import Space
from tuning.running.sweep_run import SweepConfig

OUTCOME = "outcome"
SWEEP = "sweep.json"
DEFAULT_TRIALS = 16
CHANGED_BY_EXTENSION = ("repeats", "folds", "register")


def open_directory(
    folder: Path,
    config: SweepConfig,
    store: Store,
    *,
    resume: bool = False,
    extend: int | None = None,
    seed: int | None = None,
    trials: int | None = None,
) -> tuple[Path, FileLock, dict[str, Any]]:
    """Return the folder of a sweep, a lock that other processes respect, and the sweep's record.

    Args:
        folder: Folder of all sweeps.
        config: The configuration.
        store: The MLflow store.
        resume: Continue the newest unfinished sweep of the same configuration.
        extend: Add trials to the newest finished sweep of the same configuration, except for repeats and refit.
        seed: The seed that the earlier sweep must have; None for any.
        trials: The number of trials that the earlier sweep must have; None for any.

    Raises:
        ResumeError: There is no such sweep, or another process works on it.
        SettingError: The space does not have that many candidates.
    """
    identity = {**config.identity(), "store": store.uri}
    if extend is None and not resume:
        return *create_directory(folder, config.space.name), {**identity, "seed": config.seed}
    wanted = identity if seed is None else {**identity, "seed": seed}
    if trials is None:
        del wanted["trials"]
    if extend is None:
        number = "" if trials is None else f"{trials} trials and "
        description = f"sweep of {config.space.name} with {number}these settings, recipe and data"
        return find_unfinished(folder, SWEEP, wanted, description=description)
    later = {name: wanted.pop(name) for name in CHANGED_BY_EXTENSION}
    for directory, record in find_directories(folder, SWEEP, wanted):
        if is_locked(directory):
            raise ResumeError(f"another process is working on {directory}; wait until it has finished.")
        if not (directory / FINISHED).exists():
            raise ResumeError(f"{directory} is not finished: resume it with --resume (resume) first, then extend it.")
        extended = record.get("extended", 0) + extend
        resolve_trials(config.space, config.search, record["trials"] + extended, record["seed"])
        return directory, FileLock(directory / ".lock"), {**record, **later, "extended": extended}
    raise ResumeError(
        f"nothing to extend: no finished sweep of {config.space.name} with these settings, recipe and data in {folder}."
    )


def resolve_trials(space: Space, search: str, trials: int | None, seed: int) -> int:
    """Return the number of trials: the given one, or by default 16, or all points of a grid.

    Raises:
        SettingError: The space does not have that many candidates.
    """
    if search != "grid":
        return len(space.draw(trials or DEFAULT_TRIALS, seed))
    points = len(space.grid())
    if (trials or points) > points:
        raise SettingError(f"the grid has {points} points; request at most that many trials, or search a larger grid.")
    return trials or points
