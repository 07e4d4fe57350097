"""One candidate: what runs inside a worker of Ray. Only here does a sweep load a backend."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import ray
from ray import tune

from keras_cnns.data import Dataset
from keras_cnns.errors import StoreError
from keras_cnns.training.checkpoints import read_progress
from tuning.candidates.space import Candidate
from tuning.running.images import HandedOver
from tuning.running.scratch import drop_left_over, of_process
from tuning.running.storage import Storage

if TYPE_CHECKING:
    from keras_cnns.training.job import Job

CHANCE = 1  # deaths of a process that say nothing of its candidate
FAILURE, FULL, AWAY = "failure", "full", "away"
WORN = "worn"
# With one thread for all that several workers ask of each other, an epoch's end deadlocked (TensorFlow 2.21).
THREADS_THAT_WAIT = 3
Tell = Callable[[Mapping[str, float]], None]


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


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a process has to know to train a candidate, beside the images.

    Attributes:
        number: The trial's.
        candidate: Its network and recipe.
        seed: What it trains with.
        until: The epoch that it is to come to.
        folder: The sweep's.
        storage: Where its checkpoints are kept, if not in the folder.
        cores: Threads of the backend.
        timed: Whether the latency of its network is measured.
        deaths: How often its process died.
        worn_at: Bytes that a process may keep of what it has trained.
    """

    number: int
    candidate: Candidate
    seed: int
    until: int
    folder: Path
    storage: Storage | None
    cores: int
    timed: bool
    deaths: int
    worn_at: int


def run_trial(
    config: Mapping[str, Any],
    *,
    images: HandedOver,
    seed: int,
    folder: Path,
    cores: int,
    timed: bool,
    storage: Storage | None,
    team: Team | None,
    worn_at: int,
) -> None:
    """Train one candidate, with the sweep's seed unless it has its own, and report each epoch to Tune.

    What its checkpoint holds is reported first, from the last epoch on that the journal knows; then training goes on to
    the end of the candidate's turn, here or in a team of workers. An error of its own is reported, not raised: what
    Tune sees failing is a process that died, and its trial is begun again from its checkpoint.
    """
    task = Task(
        number=config["number"],
        candidate=config["candidate"],
        seed=seed if config["seed"] is None else config["seed"],
        until=config["until"],
        folder=folder,
        storage=storage,
        cores=cores,
        timed=timed,
        deaths=config.get("deaths", 0),
        worn_at=worn_at,
    )
    reached: dict[str, Any] = {task.candidate.recipe.monitor: 0.0, "epoch": 0}
    problem: Mapping[str, str] = {}

    def tell(metrics: Mapping[str, float]) -> None:
        reached.update(metrics)
        tune.report(dict(metrics))

    try:
        with training_folder(folder, task.number, storage) as place:
            history = read_progress(place).history
            trained = len(history) >= task.until
            costs = costs_of(task, images.received(), place) if trained else {}
            for epoch in range(max(1, config["known"]), len(history) + 1):
                tell({**history[epoch - 1], **costs, "epoch": epoch})
            if trained:
                return
            if team is None:
                train_candidate(task, images.received(), place, tell)
        if team is not None:
            problem = team.train(task, images, len(history), tell)
    except TurnOver:
        return
    except WorkerLostError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a candidate does wrong, the others go on
        problem = what_is_wrong(error)
    if problem:
        tune.report({**reached, **problem})


class Team(Protocol):
    """Workers that train a trial together."""

    def train(self, task: Task, images: HandedOver, epochs: int, tell: Tell) -> Mapping[str, str]:
        """Train as `train_candidate` does, from the checkpoint after so many epochs.

        Returns:
            What is wrong, as `what_is_wrong` says it, or nothing.

        Raises:
            WorkerLostError: One of the workers died.
        """


class WorkerLostError(Exception):
    """A worker of a team died, or can no longer be reached: nothing that the candidate did wrong."""


def what_is_wrong(error: Exception) -> dict[str, str]:
    """Return what an error is, and what it says in one line."""
    kind = kind_of(error)
    return {kind: (str(error) if kind == AWAY else f"{type(error).__name__}: {error}").splitlines()[0]}


def nothing(*_: object) -> None:
    """Do nothing."""


def kind_of(error: Exception) -> str:
    """Return what an error is: the candidate's failure, a full disk, or a storage that does not answer."""
    return FULL if is_full(error) else AWAY if isinstance(error, StoreError) else FAILURE


def is_full(error: Exception) -> bool:
    """Return whether a file could not be written for want of space, which is no candidate's fault."""
    return isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error))


def train_candidate(task: Task, dataset: Dataset, place: Path, tell: Tell) -> None:
    """Train one candidate in this process, alone or as one worker of several, each of which calls this.

    Args:
        task: What is trained; the process may have trained others before.
        dataset: The images.
        place: The folder that it trains in.
        tell: Told of each epoch; by the first worker alone where there are several.

    Raises:
        TurnOver: It has come to the epoch `until`, which is not its last.
    """
    import keras  # noqa: PLC0415 - the driver, which imports this module too, needs no backend

    from keras_cnns.training.devices import worker, workers  # noqa: PLC0415
    from keras_cnns.training.fit import fit  # noqa: PLC0415
    from keras_cnns.training.memory import settle_more_parts  # noqa: PLC0415

    keras.backend.clear_session()
    gc.collect()
    worn = kept_bytes() > task.worn_at
    settle_devices(task.cores)
    candidate, first = task.candidate, worker() == 0
    if task.deaths > CHANCE and workers() == 1:
        settle_more_parts(place, candidate.recipe.batch_size)  # a process that dies again may be one for want of memory
    costs = costs_of(task, dataset, place)
    keep = functools.partial(task.storage.keep, task.number, place) if task.storage and first else nothing
    until = task.until if task.until < candidate.recipe.epochs else None
    fit(job_of(task), dataset, place, observer=Reporter({**costs, WORN: worn}, keep, tell if first else nothing, until))


def job_of(task: Task) -> Job:
    """Return what a task trains."""
    from keras_cnns.training.job import Job  # noqa: PLC0415 - loads a backend

    candidate = task.candidate
    return Job(model=candidate.model, settings=candidate.settings, recipe=candidate.recipe, seed=task.seed)


def costs_of(task: Task, dataset: Dataset, place: Path) -> dict[str, float]:
    """Return what a candidate's network costs; where that is asked for, and by the first worker, its latency too."""
    from keras_cnns.training.devices import worker  # noqa: PLC0415 - loads a backend
    from keras_cnns.training.job import measure, untrained  # noqa: PLC0415
    from keras_cnns.training.speed import settle_latency  # noqa: PLC0415

    job = job_of(task)
    costs: dict[str, float] = {**measure(job, dataset).as_metrics()}
    if task.timed and worker() == 0:
        costs["latency"] = settle_latency(place, lambda: untrained(job, dataset))
    return costs


def kept_bytes() -> int:
    """Return how much this process has grown since it began its first candidate; called between two of them.

    TensorFlow 2.21 keeps some 20 MiB of each training, whatever is cleared.
    """
    return resident_bytes() - bytes_at_first()


@functools.cache
def bytes_at_first() -> int:
    """Return the memory that this process took when it was first asked."""
    return resident_bytes()


def resident_bytes() -> int:
    """Return the memory that this process takes."""
    return int(psutil.Process().memory_info().rss)


def settle_devices(cores: int) -> None:
    """Settle once for this process what it computes on, and with how many threads."""
    import tensorflow as tf  # noqa: PLC0415 - the driver, which imports this module too, needs no backend

    from keras_cnns.training.devices import strategy, workers  # noqa: PLC0415

    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores + (THREADS_THAT_WAIT if workers() > 1 else 0))
        if not ray.get_gpu_ids():
            tf.config.set_visible_devices([], "GPU")
    strategy()  # has to be made before anything is computed


class TurnOver(Exception):  # noqa: N818 - nothing went wrong
    """Leaves `fit` before the last epoch: others of the population have to come so far first."""


class Reporter:
    """Has each epoch's checkpoint kept, and tells of it with what the network costs."""

    def __init__(self, costs: Mapping[str, float], keep: Callable[[], None], tell: Tell, until: int | None) -> None:
        self.costs = costs
        self.keep = keep
        self.tell = tell
        self.until = until

    def step(self, done: int, total: int) -> None:
        """Single steps are not reported."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Keep and tell; Tune may end the trial here, or its turn may be over."""
        self.keep()
        self.tell({**metrics, **self.costs, "epoch": number})
        if number == self.until:
            raise TurnOver
