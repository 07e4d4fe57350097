"""One candidate: what runs inside a worker of Ray. Only here does a sweep load a backend."""

from __future__ import annotations

import contextlib
import errno
import gc
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from keras_cnns.data import Dataset
from keras_cnns.errors import StoreError
from keras_cnns.training.checkpoints import read_progress
from tuning.images import HandedOver
from tuning.scratch import drop_left_over, of_process
from tuning.space import Candidate
from tuning.storage import Storage

CHANCE = 1  # deaths of a process that say nothing of its candidate
FAILURE, FULL, AWAY = "failure", "full", "away"


def trial_folder(folder: Path, number: int) -> Path:
    """Return where the candidate of this number keeps its checkpoints."""
    return folder / "trials" / f"{number:04d}"


def fetched(storage: Storage | None, folder: Path, number: int) -> Path:
    """Return the folder of a candidate's checkpoints on this machine, copied from the storage where there is one."""
    place = trial_folder(folder, number)
    if storage is not None:
        storage.fetch(number, place)
    return place


@contextlib.contextmanager
def training_folder(folder: Path, number: int, storage: Storage | None) -> Iterator[Path]:
    """Give the folder that a trial trains in: its own in the sweep's, or with a storage one of this process alone.

    The latter holds what the storage holds of the trial so far.
    """
    if storage is None:
        yield trial_folder(folder, number)
        return
    drop_left_over(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=of_process(), ignore_cleanup_errors=True) as scratch:
        place = trial_folder(Path(scratch), number)
        storage.fetch(number, place)
        yield place


def run_trial(
    config: Mapping[str, Any],
    *,
    images: HandedOver,
    seed: int,
    folder: Path,
    cores: int,
    timed: bool,
    storage: Storage | None,
) -> None:
    """Train one candidate, with the sweep's seed unless it has its own, and report each epoch to Tune.

    What its checkpoint holds is reported first, from the last epoch on that the journal knows; then training goes on to
    the end of the candidate's turn. An error of its own is reported, not raised: what Tune sees failing is a process
    that died, and its trial is begun again from its checkpoint.
    """
    number, candidate = config["number"], config["candidate"]
    seed = seed if config["seed"] is None else config["seed"]
    history: Sequence[Mapping[str, float]] = ()
    try:
        with training_folder(folder, number, storage) as place:
            history = read_progress(place).history
            for epoch in range(max(1, config["known"]), len(history) + 1):
                tune.report({**history[epoch - 1], "epoch": epoch})
            if len(history) >= config["until"]:
                return
            if config.get("deaths", 0) > CHANCE:
                settle_smaller_parts(place, candidate)
            keep = partial(storage.keep, number, place) if storage else nothing
            try:
                train_candidate(
                    candidate,
                    images.received(),
                    seed=seed,
                    place=place,
                    cores=cores,
                    timed=timed,
                    keep=keep,
                    until=config["until"],
                )
            finally:
                history = read_progress(place).history
    except TurnOver:
        return
    except Exception as error:  # noqa: BLE001 - whatever a candidate does wrong, the others go on
        reached = history[-1] if history else {candidate.recipe.monitor: 0.0}
        reason = (str(error) if kind_of(error) == AWAY else f"{type(error).__name__}: {error}").splitlines()[0]
        tune.report({**reached, "epoch": len(history), kind_of(error): reason})


def settle_smaller_parts(place: Path, candidate: Candidate) -> None:
    """Let a candidate whose process died again take its batches in smaller parts: that is how memory runs out."""
    from keras_cnns.training.memory import settle_more_parts  # noqa: PLC0415 - loads a backend

    settle_more_parts(place, candidate.recipe.batch_size)


def nothing() -> None:
    """Do nothing."""


def kind_of(error: Exception) -> str:
    """Return what an error is: the candidate's failure, a full disk, or a storage that does not answer."""
    return FULL if is_full(error) else AWAY if isinstance(error, StoreError) else FAILURE


def is_full(error: Exception) -> bool:
    """Return whether a file could not be written for want of space, which is no candidate's fault."""
    return isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error))


def train_candidate(
    candidate: Candidate,
    dataset: Dataset,
    *,
    seed: int,
    place: Path,
    cores: int,
    timed: bool,
    keep: Callable[[], None],
    until: int,
) -> None:
    """Train one candidate in this worker, which has so many cores and may have trained others before.

    Raises:
        TurnOver: It has come to the epoch `until`, which is not its last.
    """
    import keras  # noqa: PLC0415 - the driver, which imports this module too, needs no backend
    import tensorflow as tf  # noqa: PLC0415

    from keras_cnns.training.fit import fit  # noqa: PLC0415
    from keras_cnns.training.job import Job, measure, untrained  # noqa: PLC0415
    from keras_cnns.training.speed import settle_latency  # noqa: PLC0415

    keras.backend.clear_session()
    gc.collect()
    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
        if not ray.get_gpu_ids():
            tf.config.set_visible_devices([], "GPU")
    job = Job(model=candidate.model, settings=candidate.settings, recipe=candidate.recipe, seed=seed)
    costs: dict[str, float] = {**measure(job, dataset).as_metrics()}
    if timed:
        costs["latency"] = settle_latency(place, lambda: untrained(job, dataset))
    fit(job, dataset, place, observer=Reporter(costs, keep, until if until < candidate.recipe.epochs else None))


class TurnOver(Exception):  # noqa: N818 - nothing went wrong
    """Leaves `fit` before the last epoch: others of the population have to come so far first."""


class Reporter:
    """Has each epoch's checkpoint kept, and reports it to Tune with what the network costs."""

    def __init__(self, costs: Mapping[str, float], keep: Callable[[], None], until: int | None) -> None:
        self.costs = costs
        self.keep = keep
        self.until = until

    def step(self, done: int, total: int) -> None:
        """Single steps are not reported."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Keep and report; Tune may end the trial here, or its turn may be over."""
        self.keep()
        tune.report({**metrics, **self.costs, "epoch": number})
        if number == self.until:
            raise TurnOver
