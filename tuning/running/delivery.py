"""From the journal to MLflow and to whoever watches, beside the sweep and at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from keras_cnns.errors import StoreError
from keras_cnns.networks.recipe import Recipe
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.training.checkpoints import kept_metrics, write_text
from tuning.running.journal import FAILED, STOPPED, WAITING, Journal, TrialState

POLL_SECONDS = 0.2
SECONDS_BETWEEN = 10.0
SECONDS_TO_LEAVE = 10.0


class SweepProgressCallback(Protocol):
    """Whoever wants to see a sweep go on."""

    def begin(self, states: Mapping[int, TrialState], count: int, at_once: int) -> None:
        """Trials begin to run, so many at a time; these are what an earlier process has left."""

    def trials(self, states: Mapping[int, TrialState], count: int) -> None:
        """Something happened; these are the trials so far, of `count` that there are to be."""

    def waiting(self, words: str) -> None:
        """What the store is waited for; "" once it answers."""

    def doing(self, words: str) -> None:
        """Something is done that is no trial."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a sweep's trials are recorded.

    Attributes:
        store: The MLflow store.
        experiment: The experiment's name.
        parent: The sweep's own run.
        trials: How many there are to be.
        describe: What is known of a trial before it trains.
        recipe: What says which epoch's network is kept, the same for all trials.
    """

    store: Store
    experiment: str
    parent: str
    trials: int
    describe: Callable[[TrialState], RunDescription]
    recipe: Recipe


class Delivery(threading.Thread):
    """Delivers the journal until told that it is complete.

    Each event is delivered at least once and recorded exactly once: how far it came is kept on disk, runs are
    found again by their tags, and an epoch that is recorded already is not recorded again. While trials go on, a store
    that fails is waited for, and they know nothing of it.

    Args:
        journal: The journal to deliver.
        position: The file that keeps how far it came.
        target: Where to.
        progress_callback: Told of what the journal says, whether or not it is delivered.
    """

    def __init__(
        self, journal: Journal, position: Path, target: Target, progress_callback: SweepProgressCallback | None
    ) -> None:
        super().__init__(name="delivery", daemon=True)
        self.journal = journal
        self.position = position
        self.target = target
        self.watcher = None if progress_callback is None else Watcher(self, progress_callback)
        self.trouble = ""
        self.states: dict[int, TrialState] = {}
        self.run_ids: dict[int, str] = {}
        self.error: Exception | None = None
        self.complete = threading.Event()

    def run(self) -> None:
        """Deliver what there is, wait, and again."""
        if self.watcher is not None:
            self.watcher.start()
        offset = int(self.position.read_text()) if self.position.exists() else 0
        for event, end in self.journal.read():
            if end <= offset:
                self.state(event["trial"]).apply(event)
        try:
            while True:
                last_round = self.complete.is_set()
                for event, end in self.journal.read(offset):
                    self.state(event["trial"]).apply(event)
                    self.deliver(event)
                    offset = end
                    write_text(self.position, str(offset))
                if last_round:
                    return
                self.complete.wait(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error

    def finish(self) -> None:
        """Wait until all is delivered, as long as the store has patience; raise what went wrong."""
        self.complete.set()
        self.join(SECONDS_TO_LEAVE if self.target.store.patience.ended else None)
        if self.watcher is not None:
            self.watcher.join()
        if self.error is not None:
            raise self.error

    @property
    def waiting(self) -> str:
        """Why the store is waited for; "" while it answers."""
        return self.target.store.patience.trouble or self.trouble

    def state(self, number: int) -> TrialState:
        """Return what is known of a trial."""
        return self.states.setdefault(number, TrialState(number))

    def run_id(self, state: TrialState) -> str:
        """Return a trial's run, begun now if there is none."""
        if state.number not in self.run_ids:
            target = self.target
            self.run_ids[state.number] = target.store.start(
                target.describe(state), experiment=target.experiment, parent=target.parent
            )
        return self.run_ids[state.number]

    def deliver(self, event: Mapping[str, Any]) -> None:
        """Record one event, however long that takes while trials go on."""
        while True:
            try:
                self.record(event)
            except StoreError as error:
                self.trouble = str(error)
                if self.complete.is_set():
                    raise
                self.complete.wait(SECONDS_BETWEEN)
            else:
                self.trouble = ""
                return

    def record(self, event: Mapping[str, Any]) -> None:
        """Record one event."""
        store, state = self.target.store, self.state(event["trial"])
        if state.status == WAITING or state.reused_run:
            return
        run_id = self.run_id(state)
        if event["event"] == "epoch":
            store.record(run_id, len(state.curve), event["metrics"])
        elif event["event"] == "end":
            status: Literal["failed", "finished"] = "failed" if state.status == FAILED else "finished"
            tags = {"stopped_early": "true"} if state.status == STOPPED else {}
            tags |= {"deaths": str(state.deaths)} if state.deaths else {}
            metrics = {**state.costs, **kept_metrics(state.curve, self.target.recipe)}
            store.finish(run_id, metrics=metrics, status=status, reason=state.reason, tags=tags)


class Watcher(threading.Thread):
    """Tells an observer what the journal says, also while a delivery waits for the store.

    Args:
        delivery: What is told until it is complete.
        progress_callback: Who is told.
    """

    def __init__(self, delivery: Delivery, progress_callback: SweepProgressCallback) -> None:
        super().__init__(name="watcher", daemon=True)
        self.delivery = delivery
        self.progress_callback = progress_callback

    def run(self) -> None:
        """Tell what is new, wait, and again."""
        states: dict[int, TrialState] = {}
        offset, waiting = 0, ""
        while True:
            last_round = self.delivery.complete.is_set()
            before = offset
            for event, end in self.delivery.journal.read(offset):
                offset = end
                states.setdefault(event["trial"], TrialState(event["trial"])).apply(event)
            if offset > before:
                self.progress_callback.trials(states, self.delivery.target.trials)
            if self.delivery.waiting != waiting:
                waiting = self.delivery.waiting
                self.progress_callback.waiting(waiting)
            if last_round:
                return
            self.delivery.complete.wait(POLL_SECONDS)
