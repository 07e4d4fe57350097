"""From the journal to MLflow and to whoever watches, beside the sweep and at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from keras_cnns.tracking import RunDescription, Store
from keras_cnns.training.checkpoints import kept_metrics, write_text
from keras_cnns.training.recipe import Recipe
from tuning.journal import FAILED, STOPPED, WAITING, Journal, TrialState

POLL_SECONDS = 0.2


class SweepObserver(Protocol):
    """Whoever wants to see a sweep go on."""

    def trials(self, states: Mapping[int, TrialState], count: int) -> None:
        """Something happened; these are the trials so far, of `count` that there are to be."""


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
    found again by their tags, and an epoch that is recorded already is not recorded again.

    Args:
        journal: The journal to deliver.
        position: The file that keeps how far it came.
        target: Where to.
        observer: Told after each batch of events.
    """

    def __init__(self, journal: Journal, position: Path, target: Target, observer: SweepObserver | None) -> None:
        super().__init__(name="delivery", daemon=True)
        self.journal = journal
        self.position = position
        self.target = target
        self.observer = observer
        self.states: dict[int, TrialState] = {}
        self.run_ids: dict[int, str] = {}
        self.error: Exception | None = None
        self.complete = threading.Event()

    def run(self) -> None:
        """Deliver what there is, wait, and again."""
        offset = int(self.position.read_text()) if self.position.exists() else 0
        for event, end in self.journal.read():
            if end <= offset:
                self.state(event["trial"]).apply(event)
        try:
            while True:
                last_round = self.complete.is_set()
                arrived = False
                for event, end in self.journal.read(offset):
                    self.deliver(event)
                    offset = end
                    write_text(self.position, str(offset))
                    arrived = True
                if arrived and self.observer is not None:
                    self.observer.trials(self.states, self.target.trials)
                if last_round:
                    return
                self.complete.wait(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error

    def finish(self) -> None:
        """Wait until all is delivered; raise what went wrong."""
        self.complete.set()
        self.join()
        if self.error is not None:
            raise self.error

    def state(self, number: int) -> TrialState:
        """Return what is known of a trial."""
        return self.states.setdefault(number, TrialState(number))

    def run_id(self, state: TrialState) -> str:
        """Return a trial's run, begun now if there is none."""
        if state.number not in self.run_ids:
            target = self.target
            description = target.describe(state)
            found = target.store.find(experiment=target.experiment, tags=description.tags)
            self.run_ids[state.number] = found or target.store.start(
                description, experiment=target.experiment, parent=target.parent
            )
        return self.run_ids[state.number]

    def deliver(self, event: Mapping[str, Any]) -> None:
        """Record one event."""
        store, state = self.target.store, self.state(event["trial"])
        state.apply(event)
        if state.status == WAITING:
            return
        run_id = self.run_id(state)
        if event["event"] == "epoch":
            store.record(run_id, len(state.curve), event["metrics"])
        elif event["event"] == "end":
            status: Literal["failed", "finished"] = "failed" if state.status == FAILED else "finished"
            tags = {"stopped_early": "true"} if state.status == STOPPED else {}
            metrics = {**state.costs, **kept_metrics(state.curve, self.target.recipe)}
            store.finish(run_id, metrics=metrics, status=status, reason=state.reason, tags=tags)
