"""A trial of several workers: processes that share each batch, each with cores and GPUs of its own.

The process that Tune knows computes nothing. It starts the workers in what Tune has reserved for the trial, which are
new ones each time, because a process can belong to one cluster of TensorFlow only; tells Tune of each epoch of the
first worker; and ends them all when one of them dies, for the others would wait for it without end.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from keras_cnns.errors import StoreError
from keras_cnns.training.checkpoints import read_progress
from tuning.running.images import HandedOver
from tuning.running.storage import said
from tuning.running.trial import (
    Task,
    Tell,
    TurnOver,
    WorkerLostError,
    settle_devices,
    train_candidate,
    training_folder,
    what_is_wrong,
)

LOST = "lost"
SECONDS_TO_SAY_WHY = 10.0
# What TensorFlow says to the other workers when one has gone, or has an error that it tells of itself.
SIGNS = ("collective ops is aborted", "failed to connect", "connection reset by peer", "socket closed")


@dataclass(frozen=True)
class Workers:
    """Trains a trial in several processes.

    Args:
        count: How many.
        each: What each of them gets, by Ray's names.
    """

    count: int
    each: Mapping[str, float]

    def train(self, task: Task, images: HandedOver, epochs: int, tell: Tell) -> Mapping[str, str]:
        """Train a candidate, from the checkpoint after so many epochs, and tell of each epoch.

        Returns:
            What is wrong, as `tuning.running.trial.what_is_wrong` says it, or nothing.

        Raises:
            WorkerLostError: One of the workers died.
        """
        team = [self.started(place) for place in range(self.count)]
        try:
            addresses = ray.get([worker.address.remote() for worker in team])
            ends = [worker.train.remote(addresses, number, task, images, epochs) for number, worker in enumerate(team)]
            return followed(team[0], ends, tell)
        except RayError as error:
            raise WorkerLostError(said(error)) from None
        finally:
            for worker in team:
                ray.kill(worker)

    def started(self, place: int) -> Any:
        """Start a worker in its place among what is reserved for the trial."""
        reserved = PlacementGroupSchedulingStrategy(get_current_placement_group(), placement_group_bundle_index=place)
        return (
            ray.remote(Worker)
            .options(
                num_cpus=self.each.get("CPU", 0.0),
                num_gpus=self.each.get("GPU", 0.0),
                memory=self.each.get("memory", 0.0),
                max_concurrency=2,  # it trains and is asked of its epochs
                scheduling_strategy=reserved,
            )
            .remote()
        )


def followed(first: Any, ends: Sequence[Any], tell: Tell) -> Mapping[str, str]:
    """Tell of the first worker's epochs until all workers have ended, or one says what is wrong."""
    left, told = list(ends), first.epoch.remote()
    while left:
        (done,), _ = ray.wait([told, *left])
        if done == told:
            tell(ray.get(told))
            first.go_on.remote()
            told = first.epoch.remote()
            continue
        left.remove(done)
        if ray.get(done):
            return cause(ends)
    return {}


def cause(ends: Sequence[Any]) -> Mapping[str, str]:
    """Return what is wrong, in the words of the first worker that did not merely lose another one.

    Raises:
        WorkerLostError: There is none.
    """
    ended, _ = ray.wait(list(ends), num_returns=len(ends), timeout=SECONDS_TO_SAY_WHY)
    problems: list[Mapping[str, str]] = [problem for problem in ray.get(ended) if problem]
    for problem in problems:
        if LOST not in problem:
            return problem
    raise WorkerLostError(problems[0][LOST])


def check_begins(place: Path, epochs: int, who: str) -> None:
    """Raise a `StoreError` where a worker would not begin with the checkpoint that the others begin with."""
    if read_progress(place).epoch != epochs:
        raise StoreError(f"{who} does not see the checkpoint of epoch {epochs} in {place}")


def is_lost(error: Exception) -> bool:
    """Return whether TensorFlow says that another worker has gone, or has an error of its own."""
    import tensorflow as tf  # noqa: PLC0415 - only a worker has a backend

    return isinstance(error, tf.errors.OpError) and (
        isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.CancelledError)
        or any(sign in str(error).lower() for sign in SIGNS)
    )


class Worker:
    """One of a trial's workers, a process of its own."""

    def __init__(self) -> None:
        self.epochs: queue.Queue[Mapping[str, float]] = queue.Queue()
        self.may_go_on = threading.Semaphore(0)

    def address(self) -> str:
        """Return where the others reach this worker."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def train(
        self, addresses: Sequence[str], number: int, task: Task, images: HandedOver, epochs: int
    ) -> dict[str, str]:
        """Train together with the others from the checkpoint after so many epochs; return what is wrong, or nothing."""
        cluster = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": number}}
        os.environ["TF_CONFIG"] = json.dumps(cluster)
        settle_devices(task.cores)  # what goes wrong here is no candidate's fault
        try:
            with training_folder(task.folder, task.number, task.storage) as place:
                check_begins(place, epochs, f"worker {number} of trial {task.number}")
                train_candidate(task, images.received(), place, self.tell)
        except TurnOver:
            return {}
        except Exception as error:  # noqa: BLE001 - whatever a candidate does wrong, the others go on
            return {LOST: said(error)} if is_lost(error) else what_is_wrong(error)
        return {}

    def tell(self, metrics: Mapping[str, float]) -> None:
        """Hand over an epoch, and wait until Tune has seen it: the trial may end here."""
        self.epochs.put(metrics)
        self.may_go_on.acquire()

    def epoch(self) -> Mapping[str, float]:
        """Return the next epoch that is done."""
        return self.epochs.get()

    def go_on(self) -> None:
        """Let the training go on after the epoch that was returned."""
        self.may_go_on.release()
