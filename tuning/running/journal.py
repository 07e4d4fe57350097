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

from keras_cnns.errors import StoreError
from tuning.running.trial import AWAY, FAILURE, FULL
from tuning.running.workarounds import GENERATION, RECYCLE, release_metrics

COSTS = ("parameters", "trainable_parameters", "macs")
MOST_DEATHS = 4
SEARCH, REPEAT = "search", "repeat"
WAITING, RUNNING, FINISHED, STOPPED, FAILED = "waiting", "running", "finished", "stopped early", "failed"


@dataclass
class TrialState:
    """What the journal knows of one trial.

    Attributes:
        number: Its place among the sweep's candidates.
        status: "waiting" for a core, "running", "finished", "stopped early" by the scheduler, or "failed".
        reason: Why it failed.
        candidate: The values of its candidate, as `tuning.candidates.space.Space` has them.
        deaths: How often its process died, and it went on from its last checkpoint.
        costs: Parameters and multiply-accumulates.
        curve: The metrics of each epoch.
        role: "search", or "repeat" for a finalist that is trained again.
        seed: The seed that it trains with; None for the sweep's own.
        repeat_of: The number of the trial that a repeat trains again.
        reused_run: The run of an earlier, equal training, whose result this trial takes.
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
        """The trial will not go on."""
        return self.status not in (WAITING, RUNNING)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one line of the journal."""
        if event["event"] == "candidate":
            self.status, self.candidate = WAITING, event["values"]
            self.role = event.get("role", SEARCH)
            self.seed, self.repeat_of = event.get("seed"), event.get("repeat_of")
        elif event["event"] == "start":
            self.status = RUNNING
        elif event["event"] == "epoch":
            self.curve.append(event["metrics"])
            self.costs.update(event["costs"])
        elif event["event"] == "reused":
            self.status, self.reused_run = FINISHED, event["run"]
            self.curve, self.costs = event["curve"], event["costs"]
        elif event["event"] == "death":
            self.deaths += 1
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
        """Write one event, whole, to the disk.

        Raises:
            StoreError: It cannot be written.
        """
        line = (json.dumps(event) + "\n").encode()
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = f"cannot write {self.path}: {error.strerror}"
            raise StoreError(f"{reason}; mend that, then go on with --resume: what is finished is kept.") from error

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

    def repair(self) -> None:
        """Cut off a last line that was incomplete when a process died."""
        if self.path.exists():
            whole = max((end for _, end in self.read()), default=0)
            os.truncate(self.path, whole)

    def trials(self) -> dict[int, TrialState]:
        """Return what is known of each trial."""
        states: dict[int, TrialState] = {}
        for event, _ in self.read():
            states.setdefault(event["trial"], TrialState(event["trial"])).apply(event)
        return states


class JournalCallback(tune.Callback):
    """Writes what Tune tells its driver into the journal, each thing once.

    Args:
        folder: The sweep's folder.
        journal: Where to write.
        epochs: How many epochs a trial has when it is not stopped.

    Attributes:
        generation: How often worker processes have been recycled.
    """

    def __init__(self, folder: Path, journal: Journal, epochs: int) -> None:
        self.folder = folder
        self.journal = journal
        self.epochs = epochs
        self.known = journal.trials()
        self.generation = 0

    def of_role(self, role: str) -> dict[int, TrialState]:
        """Return the trials of the search, or the repeats of its finalists."""
        return {number: state for number, state in self.known.items() if state.role == role}

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
        """An epoch is done, or the trial failed. What an earlier process had reported is not written again."""
        state = self.known[trial.config["number"]]
        if result.get(RECYCLE) and trial.config[GENERATION] == self.generation:
            self.generation += 1
        if FULL in result:
            raise StoreError(f"{self.folder} is full ({result[FULL]}): free some space, then go on with --resume.")
        if AWAY in result:
            raise StoreError(f"{result[AWAY]}; mend that, then go on with --resume: what is finished is kept.")
        if FAILURE in result:
            self.note(state.number, event="end", status=FAILED, reason=result[FAILURE])
        elif result["epoch"] == len(state.curve) + 1:
            wanted = ("loss", "accuracy", "learning_rate", "seconds", "batch_parts")
            metrics = {name: result[name] for name in result if name in wanted or name.startswith("val_")}
            costs = {name: result[name] for name in COSTS if name in result}
            self.note(state.number, event="epoch", metrics=metrics, costs=costs)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial is done, or was stopped by the scheduler."""
        release_metrics(trial)
        state = self.known[trial.config["number"]]
        status = FINISHED if len(state.curve) >= self.epochs else STOPPED
        self.note(state.number, event="end", status=status, reason="")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial's process died, and the trial will go on in another, which is told how often that was."""
        number = trial.config["number"]
        self.note(number, event="death")
        trial.config["deaths"] = self.known[number].deaths

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial's process died too often; or before the trial began, which Tune does not try again, but we do."""
        state = self.known[trial.config["number"]]
        if state.deaths + 1 < MOST_DEATHS:
            self.note(state.number, event="death")
            return
        reason = f"its process died {state.deaths + 1} times, as one does that runs out of memory"
        self.note(state.number, event="end", status=FAILED, reason=reason)
