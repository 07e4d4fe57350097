"""Runs side by side: ranked, and marked where no other run is both better and cheaper.

Runs on different images are never ranked against each other.
"""

from __future__ import annotations

import copy
import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.tracking.runs import Run

SCORE = "val_accuracy"
COSTS = ("parameters", "macs", "latency", "seconds")
UNFINISHED = (("failed", "failed"), ("running", "not finished yet"))
COLUMNS = (SCORE, "val_auc", "test_accuracy", "test_auc", *COSTS, "epochs")
LESS_IS_BETTER = {*COSTS, "trainable_parameters", "epochs", "best_epoch"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in a comparison.

    Attributes:
        run: The run.
        data: What its images are called, told apart from others of the same name.
        differences: The settings, parts of the recipe and seed in which it differs from other runs.
        pareto: No other run on the same images scores at least as high for less, or higher for no more.
    """

    run: Run
    data: str
    differences: dict[str, str]
    pareto: bool = False

    @property
    def status(self) -> str:
        """How it stands: "finished", "stopped" early by the sweep's scheduler, "running" or "failed"."""
        early = self.run.status == "finished" and self.run.tags.get("stopped_early") == "true"
        return "stopped" if early else self.run.status

    def value(self, column: str) -> float | None:
        """Return a metric; None unless it is a finite number."""
        number = self.run.metrics.get(column)
        return float(number) if number is not None and math.isfinite(number) else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything about the run in values that JSON can hold."""
        run = self.run
        return {
            "id": run.id,
            "name": run.name,
            "experiment": run.experiment,
            "model": run.model,
            "family": run.family,
            "data": run.data_name,
            "data_fingerprint": run.data_fingerprint,
            "seed": run.seed,
            "settings": run.settings,
            "recipe": run.recipe,
            **{column: plain(self.value(column)) for column in COLUMNS},
            "status": self.status,
            "reason": run.reason,
            "pareto": self.pareto,
            "parent": run.parent,
            "started": run.started.isoformat(),
        }


class Comparison:
    """Runs in rows, best first; those on the same images stand together.

    Args:
        runs: The runs.
        sort: The metric they are ranked by: best first, which is the highest of a score, the lowest of a cost.
        against: The cost that the Pareto front weighs the score against: "parameters", "macs", "latency" or "seconds".

    Attributes:
        rows: The rows.
        sort: As given.
        against: As given.
        score: The score of the Pareto front: what is sorted by, or the validation accuracy where that is a cost.
        notes: What a reader should know about the rows as a whole.

    Raises:
        SettingError: There is no such metric or cost.
    """

    def __init__(self, runs: Sequence[Run], *, sort: str = SCORE, against: str = "parameters") -> None:
        if against not in COSTS:
            raise SettingError(f"against={against!r} is no cost: choose {', '.join(COSTS)}.{nearest(against, COSTS)}")
        known = {*COLUMNS, *(name for run in runs for name in run.metrics)}
        if sort not in known:
            names = ", ".join(name for name in COLUMNS if name in known)
            raise SettingError(f"sort={sort!r} is no column: choose {names}.{nearest(sort, known)}")
        self.sort = sort
        self.against = against
        self.score = SCORE if less_is_better(sort) else sort
        differences = find_differences(runs)
        labels = label_data(runs)
        rows = [Row(run=run, data=labels[run.data_fingerprint], differences=differences[run.id]) for run in runs]
        self.rows = [row for group in group_by_data(rows) for row in self._rank(group)]
        self.notes = self._notes()

    def first(self, count: int) -> Comparison:
        """Return the comparison with no more than the first rows of each set of images, their marks unchanged."""
        shorter = copy.copy(self)
        shorter.rows = [row for group in group_by_data(self.rows) for row in group[:count]]
        hidden = len(self.rows) - len(shorter.rows)
        shorter.notes = [*self.notes, f"Not shown: {hidden} more."] if hidden else self.notes
        return shorter

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows in values that JSON can hold; numbers are exact, and None where there is none."""
        return [row.as_dict() for row in self.rows]

    def to_csv(self) -> str:
        """Return the rows as comma-separated values, each setting in a column of its own."""
        rows = []
        for row in self.rows:
            values = row.as_dict()
            settings = {f"settings.{name}": value for name, value in values.pop("settings").items()}
            recipe = {f"recipe.{name}": value for name, value in values.pop("recipe").items()}
            rows.append({**values, **settings, **recipe})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _rank(self, rows: list[Row]) -> list[Row]:
        """Mark the Pareto front of runs on the same images, and sort them: failed ones come last."""
        sign = 1.0 if less_is_better(self.sort) else -1.0

        def place(row: Row) -> tuple[bool, float, str]:
            value = row.value(self.sort)
            return row.run.status == "failed", math.inf if value is None else sign * value, row.run.name

        candidates = [(row, point) for row in rows if (point := self.point(row)) is not None]
        front = {candidates[index][0].run.id for index in pareto_front([point for _, point in candidates])}
        return sorted((replace(row, pareto=row.run.id in front) for row in rows), key=place)

    def point(self, row: Row) -> tuple[float, float] | None:
        """Return cost and score of a run, or None where it has not finished or one of them is missing."""
        cost, score = row.value(self.against), row.value(self.score)
        if row.run.status != "finished" or cost is None or score is None:
            return None
        return cost, score

    def _notes(self) -> list[str]:
        notes = []
        data = len({row.run.data_fingerprint for row in self.rows})
        if data > 1:
            notes.append(f"{data} sets of images: runs are ranked and marked only among those on the same images.")
        states = Counter(row.run.status for row in self.rows)
        notes += [f"{states[state]} of {len(self.rows)} {verb}." for state, verb in UNFINISHED if states[state]]
        return notes


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, by rising cost.

    Args:
        points: Cost and score of each. A point dominates another if it costs no more and scores no less, and is
            better in one of the two; so of equal points all or none are in the front. Points that are not numbers
            are never in it.
    """
    order = sorted(
        (index for index, point in enumerate(points) if not any(map(math.isnan, point))),
        key=lambda index: (points[index][0], -points[index][1]),
    )
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return front


def less_is_better(column: str) -> bool:
    """Return whether a metric is a cost or a loss, not a score."""
    return column in LESS_IS_BETTER or column.endswith(("loss", "error"))


def group_by_data(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows on the same images together, in the order in which the images first occur."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.run.data_fingerprint, []).append(row)
    return list(groups.values())


def label_data(runs: Iterable[Run]) -> dict[str, str]:
    """Return what to call the images with each fingerprint, no two the same."""
    names = {run.data_fingerprint: run.data_name for run in runs}
    counts = Counter(names.values())
    return {
        fingerprint: name if counts[name] == 1 else f"{name} {fingerprint[:6]}" for fingerprint, name in names.items()
    }


def find_differences(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Return, by run, the settings in which the runs of its family differ, and recipe and seed where any do."""
    by_family: dict[str, list[Run]] = {}
    for run in runs:
        by_family.setdefault(run.family, []).append(run)
    recipe = varying([{**run.recipe, "seed": str(run.seed)} for run in runs])
    return {
        run.id: {
            **{name: run.settings[name] for name in run.settings if name in settings},
            **{name: run.recipe[name] for name in run.recipe if name in recipe},
            **({"seed": str(run.seed)} if "seed" in recipe and run.seed is not None else {}),
        }
        for family in by_family.values()
        for settings in [varying([run.settings for run in family])]
        for run in family
    }


def varying(records: Sequence[dict[str, str]]) -> set[str]:
    """Return the names that not all records give the same value."""
    names = {name for record in records for name in record}
    return {name for name in names if len({record.get(name) for record in records}) > 1}


def plain(value: float | None) -> float | int | None:
    """Return a whole number without a fraction, so that counts read as counts."""
    return int(value) if value is not None and value.is_integer() and abs(value) > 1 else value
