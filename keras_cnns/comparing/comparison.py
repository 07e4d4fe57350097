"""Runs side by side: ranked, and marked where no other run is both better and cheaper.

Runs on different images are never ranked against each other. Runs that differ in nothing but the seed can stand in one
row, with the mean of each metric and its interval, and rows are tested against the best.
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

from keras_cnns.comparing.over_seeds import holm, interval_of_mean, paired_test
from keras_cnns.errors import SettingError, nearest
from keras_cnns.tracking.runs import Run

SCORE = "val_accuracy"
COSTS = ("parameters", "macs", "seconds")
UNFINISHED = (("failed", "failed"), ("running", "not finished yet"))
SCORES = (SCORE, "val_auc", "test_accuracy", "test_auc")
COLUMNS = (*SCORES, *COSTS, "epochs")
ABOUT = ("model", "family", "experiment", "status")
LESS_IS_BETTER = {*COSTS, "trainable_parameters", "epochs", "best_epoch"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Runs in a comparison that differ in nothing but the seed; one, unless they are put together.

    Attributes:
        runs: The runs, by rising seed.
        data: What their images are called, told apart from others of the same name.
        differences: The settings, parts of the recipe and seed in which they differ from other runs.
        pareto: No other row on the same images scores at least as high for less, or higher for no more.
        p: Of the paired test against the best row on the same images, over the seeds that both have, corrected for the
            number of rows that are tested; None for the best, and where fewer than two seeds are shared.
    """

    runs: tuple[Run, ...]
    data: str
    differences: dict[str, str]
    pareto: bool = False
    p: float | None = None

    @property
    def run(self) -> Run:
        """The first of its runs."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """What it is called, and how many runs it is."""
        return self.run.name + (f" (×{len(self.runs)})" if len(self.runs) > 1 else "")

    @property
    def status(self) -> str:
        """How it stands: "finished", "stopped" early by the sweep's scheduler, "running" or "failed"."""
        return status_of(self.run)

    def by_seed(self, column: str) -> dict[int, float]:
        """Return a metric of each run that has it as a finite number, by the run's seed."""
        found = {run.seed: run.metrics.get(column, math.nan) for run in self.runs if run.seed is not None}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    def value(self, column: str) -> float | None:
        """Return the mean of a metric over the runs that have it as a finite number; None where none has."""
        numbers = [number for run in self.runs if math.isfinite(number := run.metrics.get(column, math.nan))]
        return math.fsum(numbers) / len(numbers) if numbers else None

    def interval(self, column: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a score's mean over seeds; None of a cost, and of fewer than two runs."""
        scores = list(self.by_seed(column).values())
        return None if less_is_better(column) or len(scores) < 2 else interval_of_mean(scores)

    def reach(self, column: str) -> float | None:
        """Return how far the mean of a score may be off: what reaches from it to the further end of its interval."""
        value, interval = self.value(column), self.interval(column)
        return None if value is None or interval is None else max(interval[1] - value, value - interval[0])

    def cell(self, column: str) -> float | str | None:
        """Return what stands in a column: a metric, a setting, a part of the recipe, or what the run says of itself."""
        number = self.value(column)
        if number is not None:
            return number
        return {**self.run.recipe, **self.run.settings, **about(self.run)}.get(column)

    def as_dict(self) -> dict[str, Any]:
        """Return everything about the row in values that JSON can hold."""
        run = self.run
        intervals = {name: self.interval(name) for name in COLUMNS}
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
            "p": self.p,
            "runs": len(self.runs),
            "ids": [each.id for each in self.runs],
            "seeds": [each.seed for each in self.runs],
            "intervals": {name: list(interval) for name, interval in intervals.items() if interval is not None},
            "parent": run.parent,
            "started": run.started.isoformat(),
        }


class Comparison:
    """Runs in rows, best first; those on the same images stand together.

    Args:
        runs: The runs.
        sort: The metric they are ranked by: best first, which is the highest of a score, the lowest of a cost.
        cost: The cost that the Pareto front weighs the score against: "parameters", "macs" or "seconds".
        by_seed: Put finished runs that differ in nothing but the seed into one row. The trials of a sweep's search and
            the repeats of its finalists stay apart: the former were chosen for their scores.

    Attributes:
        rows: The rows.
        sort: As given.
        cost: As given.
        score: The score of the Pareto front: what is sorted by, or the validation accuracy where that is a cost.
        notes: What a reader should know about the rows as a whole.

    Raises:
        SettingError: There is no such metric or cost.
    """

    def __init__(
        self, runs: Sequence[Run], *, sort: str = SCORE, cost: str = "parameters", by_seed: bool = False
    ) -> None:
        check_cost(cost)
        known = {*COLUMNS, *(name for run in runs for name in run.metrics)}
        if sort not in known:
            names = ", ".join(name for name in COLUMNS if name in known)
            raise SettingError(f"sort={sort!r} is no column: choose {names}.{nearest(sort, known)}")
        self.sort = sort
        self.cost = cost
        self.score = SCORE if less_is_better(sort) else sort
        differences = find_differences(runs)
        labels = label_data(runs)
        rows = [
            Row(
                runs=alike,
                data=labels[alike[0].data_fingerprint],
                differences=shared([differences[run.id] for run in alike]),
            )
            for alike in (group_by_seed(runs) if by_seed else [(run,) for run in runs])
        ]
        self.rows = [row for group in group_by_data(rows) for row in self._rank(group)]
        self.notes = self._notes()

    def columns(self) -> set[str]:
        """Return the names that `Row.cell` knows of any run."""
        runs = [run for row in self.rows for run in row.runs]
        return {*ABOUT, *(name for run in runs for name in (*run.metrics, *run.settings, *run.recipe))}

    def meanings(self, mark: str) -> list[str]:
        """Say what is to be known to read the rows: the mark of the Pareto front, means, p-values, and the notes."""
        lines = [f"{mark} Pareto front: a higher {self.score} takes more {self.cost}."]
        if not any(row.pareto for row in self.rows):
            lines = [f"No finished run has both {self.score} and {self.cost}."]
        if any(len(row.runs) > 1 for row in self.rows):
            lines.append("(×N) N runs that differ in the seed alone: means, ± their 95 % intervals (Student's t).")
        if any(row.p is not None for row in self.rows):
            lines.append(
                f"p: paired t-test of {self.score} against the first row, over the seeds that both have, corrected "
                "for the number of rows (Holm)."
            )
        return [*lines, *self.notes]

    def with_cost(self, cost: str) -> Comparison:
        """Return the comparison of the same runs with the Pareto front of another cost."""
        check_cost(cost)
        other = copy.copy(self)
        other.cost = cost
        other.rows = [row for group in group_by_data(self.rows) for row in other.marked(group)]
        return other

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
            for name, (low, high) in values.pop("intervals").items():
                values |= {f"{name}_low": low, f"{name}_high": high}
            values |= {name: " ".join(map(str, values[name])) for name in ("ids", "seeds")}
            settings = {f"settings.{name}": value for name, value in values.pop("settings").items()}
            recipe = {f"recipe.{name}": value for name, value in values.pop("recipe").items()}
            rows.append({**values, **settings, **recipe})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _rank(self, rows: list[Row]) -> list[Row]:
        """Mark, sort and test rows on the same images: failed ones come last."""
        sign = 1.0 if less_is_better(self.sort) else -1.0

        def place(row: Row) -> tuple[bool, float, str]:
            value = row.value(self.sort)
            return row.run.status == "failed", math.inf if value is None else sign * value, row.run.name

        return self._test(sorted(self.marked(rows), key=place))

    def marked(self, rows: list[Row]) -> list[Row]:
        """Mark those of the Pareto front among rows on the same images."""
        candidates = [(row, point) for row in rows if (point := self.point(row)) is not None]
        front = {candidates[index][0].run.id for index in pareto_front([point for _, point in candidates])}
        return [replace(row, pareto=row.run.id in front) for row in rows]

    def _test(self, rows: list[Row]) -> list[Row]:
        """Test ranked rows on the same images against the first of them, over the seeds that both have."""
        if len(rows) < 2 or self.score != self.sort:
            return rows
        scores = [row.by_seed(self.score) for row in rows]
        tested = {(0, place): paired_test(scores[0], scores[place]) for place in range(1, len(rows))}
        corrected = holm({pair: p for pair, p in tested.items() if p is not None})
        return [replace(row, p=corrected.get((0, place))) for place, row in enumerate(rows)]

    def point(self, row: Row) -> tuple[float, float] | None:
        """Return cost and score of a run, or None where it has not finished or one of them is missing."""
        cost, score = row.value(self.cost), row.value(self.score)
        if row.run.status != "finished" or cost is None or score is None:
            return None
        return cost, score

    def _notes(self) -> list[str]:
        notes = []
        data = len({row.run.data_fingerprint for row in self.rows})
        if data > 1:
            notes.append(f"{data} sets of images: runs are ranked and marked only among those on the same images.")
        states = Counter(run.status for row in self.rows for run in row.runs)
        notes += [f"{states[state]} of {states.total()} {verb}." for state, verb in UNFINISHED if states[state]]
        return notes


def check_cost(name: str) -> None:
    """Raise a `SettingError` where a name is no cost."""
    if name not in COSTS:
        raise SettingError(f"cost={name!r} is no cost: choose {', '.join(COSTS)}.{nearest(name, COSTS)}")


def status_of(run: Run) -> str:
    """Return how a run stands, told apart from finished ones those that a sweep's scheduler stopped early."""
    early = run.status == "finished" and run.tags.get("stopped_early") == "true"
    return "stopped" if early else run.status


def about(run: Run) -> dict[str, str]:
    """Return what a run says of itself, by the names in `ABOUT`."""
    return {"model": run.model, "family": run.family, "experiment": run.experiment, "status": status_of(run)}


def group_by_seed(runs: Iterable[Run]) -> list[tuple[Run, ...]]:
    """Return finished runs that differ in nothing but the seed together, by rising seed, and all others alone."""
    groups: dict[object, dict[object, Run]] = {}
    for run in runs:
        chosen = run.tags.get("role") == "search", run.knows_validation
        what = run.model, tuple(sorted(run.settings.items())), tuple(sorted(run.recipe.items()))
        key: object = (run.data_fingerprint, *what, *chosen)
        again = run.seed in groups.get(key, {})
        if again or run.seed is None or status_of(run) != "finished":
            key = run.id
        groups.setdefault(key, {})[run.seed] = run
    return [tuple(sorted(group.values(), key=lambda run: run.seed or 0)) for group in groups.values()]


def shared(differences: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return what all runs of a row have in common of that in which they differ from others."""
    first, *others = differences
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


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
