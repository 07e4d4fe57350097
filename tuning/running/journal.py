"""The journal of a sweep: every event of every trial, one line each, written by Tune's driver.

The journal is the only record from which a sweep is resumed. Events are written exactly once, however often the sweep
is resumed, and a separate thread logs them to MLflow, so that trials continue while MLflow is slow.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from keras_cnns.errors import StoreError
from tuning.running.trial import DISK_FULL, FAILURE, STORAGE_ERROR
from tuning.running.workarounds import GENERATION, RECYCLE, release_metrics

COSTS = ("parameters", "trainable_parameters", "macs")
MAX_DEATHS = 4
SEARCH, REPEAT = "search", "repeat"
WAITING, RUNNING, FINISHED, STOPPED, FAILED = "waiting", "running", "finished", "stopped early", "failed"
RESUME_HINT = "then continue with --resume: finished trials are kept."


@dataclass
class TrialState:
    """The state of a trial according to the journal.

    Attributes:
        number: Index of the trial in the sweep.
        status: "waiting" for resources, "running", "finished", "stopped early" by the scheduler, or "failed".
        reason: Why the trial failed.
        deaths: How often a worker process died, after which the trial continued from its last checkpoint.
        candidate: The values of its candidate, as `tuning.candidates.space.Space` describes them.
        costs: Parameters and multiply-accumulates.
        curve: The metrics of each epoch.
        role: "search", or "repeat" for a repeated training of a finalist.
        seed: Seed of the training; None for the sweep's seed.
        repeat_of: Number of the trial that a repeat trains again.
        reused_run: Run of an earlier, identical training whose result the trial reuses.
    """

    number: int
    status: str = RUNNING
    reason: str = ""
    deaths: int = 0
    candidate: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    role: str = SEARCH
    seed: int | None = None
    repeat_of: int | None = None
    reused_run: str = ""

    @property
    def ended(self) -> bool:
        """Whether the trial has finished, was stopped early or failed."""
        return self.status not in (WAITING, RUNNING)

    @property
    def fit_seconds(self) -> float:
        """Seconds inside `fit` up to the last whole epoch; 0 for a reused result."""
        return 0.0 if self.reused_run or not self.curve else self.curve[-1]["seconds"]

    def apply(self, event: Mapping[str, Any]) -> None:
        """Update the state with an event of the journal."""
        match event["event"]:
            case "candidate":
                self.status, self.candidate = WAITING, event["values"]
                self.role = event.get("role", SEARCH)
                self.seed, self.repeat_of = event.get("seed"), event.get("repeat_of")
            case "start":
                self.status = RUNNING
            case "epoch":
                self.curve.append(event["metrics"])
                self.costs.update(event["costs"])
            case "reused":
                self.status, self.reused_run = FINISHED, event["run"]
                self.curve, self.costs = event["curve"], event["costs"]
            case "death":
                self.deaths += 1
            case "end":
                self.status, self.reason = event["status"], event["reason"]


def apply_event(states: dict[int, TrialState], event: Mapping[str, Any]) -> TrialState:
    """Update the state of an event's trial, and return it."""
    state = states.setdefault(event["trial"], TrialState(event["trial"]))
    state.apply(event)
    return state


class Journal:
    """Appends to and reads the journal of a sweep.

    Args:
        path: The file, with one JSON object per line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, **event: Any) -> None:
        """Write a whole event to the disk.

        Raises:
            StoreError: The file cannot be written.
        """
        line = (json.dumps(event) + "\n").encode()
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}; fix that, {RESUME_HINT}") from error

    def read(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the events from a byte offset on, each with the offset after it; skip an incomplete last line."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield json.loads(line), offset

    def repair(self) -> None:
        """Remove an incomplete last line, which a killed process may have left."""
        if self.path.exists():
            os.truncate(self.path, max((end for _, end in self.read()), default=0))

    def trials(self) -> dict[int, TrialState]:
        """Return the state of each trial."""
        states: dict[int, TrialState] = {}
        for event, _ in self.read():
            apply_event(states, event)
        return states


class JournalCallback(tune.Callback):
    """Records Tune's events in the journal, each of them once.

    Args:
        folder: Folder of the sweep.
        journal: The journal.
        epochs: Epochs of a trial that is not stopped early.

    Attributes:
        states: The state of each trial.
        generation: How often worker processes have been recycled.
    """

    def __init__(self, folder: Path, journal: Journal, epochs: int) -> None:
        self.folder = folder
        self.journal = journal
        self.epochs = epochs
        self.states = journal.trials()
        self.generation = 0

    def with_role(self, role: str) -> dict[int, TrialState]:
        """Return the trials of the search, or the repeats of finalists."""
        return {number: state for number, state in self.states.items() if state.role == role}

    def record(self, number: int, **event: Any) -> None:
        """Record an event of a trial, unless the trial has ended."""
        if number not in self.states or not self.states[number].ended:
            event = {"trial": number, "time": time.time(), **event}
            self.journal.append(**event)
            apply_event(self.states, event)

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """Record that a trial starts; a resumed trial has started before."""
        if self.states[trial.config["number"]].status == WAITING:
            self.record(trial.config["number"], event="start")

    def on_trial_result(self, *, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Record the end of an epoch, unless an earlier process has recorded it, or a failure."""
        state = self.states[trial.config["number"]]
        if result.get(RECYCLE) and trial.config[GENERATION] == self.generation:
            self.generation += 1
        if DISK_FULL in result:
            raise StoreError(f"{self.folder} is full ({result[DISK_FULL]}): free some space, {RESUME_HINT}")
        if STORAGE_ERROR in result:
            raise StoreError(f"{result[STORAGE_ERROR]}; fix that, {RESUME_HINT}")
        if FAILURE in result:
            self.record(state.number, event="end", status=FAILED, reason=result[FAILURE])
        elif result["epoch"] == len(state.curve) + 1:
            names = ("loss", "accuracy", "learning_rate", "seconds", "micro_batches")
            metrics = {name: result[name] for name in result if name in names or name.startswith("val_")}
            costs = {name: result[name] for name in COSTS if name in result}
            self.record(state.number, event="epoch", metrics=metrics, costs=costs)

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """Record that a trial has finished or was stopped by the scheduler."""
        release_metrics(trial)
        state = self.states[trial.config["number"]]
        status = FINISHED if len(state.curve) >= self.epochs else STOPPED
        self.record(state.number, event="end", status=status, reason="")

    def on_trial_recover(self, *, trial: Any, **_: Any) -> None:
        """Record that a trial's process died, and pass the number of deaths to the next process."""
        number = trial.config["number"]
        self.record(number, event="death")
        trial.config["deaths"] = self.states[number].deaths

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """Record that a trial's process died for the last time, or before the trial started (`rerun_after_deaths`)."""
        state = self.states[trial.config["number"]]
        if state.deaths + 1 < MAX_DEATHS:
            self.record(state.number, event="death")
            return
        reason = f"its process died {state.deaths + 1} times, possibly because memory ran out"
        self.record(state.number, event="end", status=FAILED, reason=reason)
