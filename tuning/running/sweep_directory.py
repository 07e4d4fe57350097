"""Whose sweep it is: a new one, the newest unfinished one, or the newest finished one that is to have more trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock

from keras_cnns.errors import ResumeError, SettingError
from keras_cnns.tracking import Store
from keras_cnns.training.run_directory import FINISHED, claim_new, claim_unfinished, is_claimed, same_work
from tuning.candidates.space import Space
from tuning.running.plan import Plan

SWEEP = "sweep.json"
DEFAULT_TRIALS = 16
LATER = ("repeats", "register")  # what is done once the search is over, and may differ when it is extended

Claim = tuple[Path, FileLock, dict[str, Any]]


def claim(folder: Path, plan: Plan, store: Store, *, resume: bool, seed: int | None, trials: int | None) -> Claim:
    """Return a sweep's folder, the lock that keeps other processes out, and what was written of it.

    Raises:
        ResumeError: There is nothing to resume, or another process has it.
    """
    identity = {**plan.identity(), "store": store.uri}
    if not resume:
        return *claim_new(folder, plan.name), {**identity, "seed": plan.seed}
    counted = "" if trials is None else f"{trials} trials and "
    wanted = f"sweep over {plan.name} with {counted}these settings, recipe and data"
    return claim_unfinished(folder, SWEEP, asked_for(identity, seed, trials), wanted=wanted)


def claim_finished(folder: Path, plan: Plan, store: Store, *, more: int, seed: int | None, trials: int | None) -> Claim:
    """Return the newest finished sweep of these arguments as `claim` does, what was written of it with more trials.

    Raises:
        ResumeError: There is none, it is not finished, or another process has it.
        SettingError: The space does not hold so many.
    """
    identity = {**plan.identity(), "store": store.uri}
    wanted = {name: value for name, value in asked_for(identity, seed, trials).items() if name not in LATER}
    for place, record in same_work(folder, SWEEP, wanted):
        if is_claimed(place):
            raise ResumeError(f"{place} is being worked on by another process; wait for it.")
        if not (place / FINISHED).exists():
            raise ResumeError(f"{place} is not finished: go on with it by --resume (resume), then extend it.")
        extended = record.get("extended", 0) + more
        count_trials(plan.space, plan.search, record["trials"] + extended, record["seed"])
        later = {name: identity[name] for name in LATER}
        return place, FileLock(place / ".lock"), {**record, **later, "extended": extended}
    raise ResumeError(
        f"nothing to extend: no finished sweep over {plan.name} with these settings, recipe and data in {folder}."
    )


def asked_for(identity: dict[str, Any], seed: int | None, trials: int | None) -> dict[str, Any]:
    """Return what has to be equal: a seed only where one was given, and the number of trials only then too."""
    wanted = identity if seed is None else {**identity, "seed": seed}
    return wanted if trials is not None else {name: value for name, value in wanted.items() if name != "trials"}


def count_trials(space: Space, search: str, trials: int | None, seed: int) -> int:
    """Return how many trials there are to be, or say that the space does not hold so many.

    Raises:
        SettingError: It does not.
    """
    if search != "grid":
        return len(space.draw(trials or DEFAULT_TRIALS, seed))
    points = len(space.grid())
    if (trials or points) > points:
        raise SettingError(f"the grid has {points} points; ask for as many trials or fewer, or for a larger grid.")
    return trials or points
