"""What happens in a sweep, line by line on disk: written by Tune's driver, delivered to MLflow from there.

The journal is the truth about a sweep. It outlives the driver, says each thing once however often a sweep is
resumed, and lets trials go on while MLflow is slow.
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

from tuning.trial import FAILURE, trial_folder

COSTS = ("parameters", "trainable_parameters", "macs")
WAITING, RUNNING, FINISHED, STOPPED, FAILED = "waiting", "running", "finished", "stopped early", "failed"


@dataclass
class TrialState:
    """What the journal knows of one trial.

    Attributes:
        number: Its place among the sweep's candidates.
        status: "waiting" for a core, "running", "finished", "stopped early" by the scheduler, or "failed".
        reason: Why it failed.
        candidate: The values of its candidate, as `tuning.space.Space` has them.
        costs: Parameters and multiply-accumulates.
        curve: The metrics of each epoch.
    """

    number: int
    status: str = RUNNING
    reason: str = ""
    candidate: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """The trial will not go on."""
        return self.status not in (WAITING, RUNNING)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one line of the journal."""
        if event["event"] == "candidate":
            self.status, self.candidate = WAITING, event["values"]
        elif event["event"] == "start":
            self.status = RUNNING
        elif event["event"] == "epoch":
            self.curve.append(event["metrics"])
            self.costs.update(event["costs"])
        elif event["event"] == "end":
            self.status, self.reason = event["status"], event["reason"]


class Journal:
    """Appends to and reads a sweep's journal.

    Args:
        path: The file, one JSON object a line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, **event: Any) -> None:
        """Write one event, whole, to the disk."""
        line = (json.dumps(event) + "\n").encode()
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def read(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the events from a byte on, each with the byte that follows it; a torn last line is left out."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield json.loads(line), offset

    def mend(self) -> None:
        """Cut off a last line that was torn when a process died."""
        if self.path.exists():
            whole = max((end for _, end in self.read()), default=0)
            os.truncate(self.path, whole)

    def trials(self) -> dict[int, TrialState]:
        """Return what is known of each trial."""
        states: dict[int, TrialState] = {}
        for event, _ in self.read():
            states.setdefault(event["trial"], TrialState(event["trial"])).apply(event)
        return states


class JournalKeeper(tune.Callback):
    """Writes what Tune tells its driver into the journal, each thing once.

    Args:
        folder: The sweep's folder.
        journal: Where to write.
        epochs: How many epochs a trial has when it is not stopped.
    """

    def __init__(self, folder: Path, journal: Journal, epochs: int) -> None:
        self.folder = folder
        self.journal = journal
        self.epochs = epochs
        self.known = journal.trials()

    def note(self, number: int, **event: Any) -> None:
        """Write an event unless the trial has ended."""
        state = self.known.setdefault(number, TrialState(number))
        if not state.ended:
            event = {"trial": number, "time": time.time(), **event}
            self.journal.append(**event)
            state.apply(event)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial begins, or goes on after a pause."""
        if self.known[trial.config["number"]].status == WAITING:
            self.note(trial.config["number"], event="start")

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        result: Mapping[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """An epoch is done. One that an earlier process had reported is not written again."""
        state = self.known[trial.config["number"]]
        if result["epoch"] == len(state.curve) + 1:
            wanted = ("loss", "accuracy", "learning_rate", "seconds")
            metrics = {name: result[name] for name in result if name in wanted or name.startswith("val_")}
            costs = {name: result[name] for name in COSTS if name in result}
            self.note(state.number, event="epoch", metrics=metrics, costs=costs)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial is done, or was stopped by the scheduler."""
        state = self.known[trial.config["number"]]
        status = FINISHED if len(state.curve) >= self.epochs else STOPPED
        self.note(state.number, event="end", status=status, reason="")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial failed by its own error, or its process died."""
        number = trial.config["number"]
        written = trial_folder(self.folder, number) / FAILURE
        reason = written.read_text(encoding="utf-8") if written.exists() else "its process died"
        self.note(number, event="end", status=FAILED, reason=reason)
