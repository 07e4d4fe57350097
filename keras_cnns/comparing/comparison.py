"""Comparisons of runs: rank them, mark the Pareto front, and test their differences.

Runs are ranked only among runs on the same images. Runs that differ only in the seed can share a row, which shows the
mean of each metric and its confidence interval. The rows are then tested against the best one.
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

from keras_cnns.comparing.formatting import format_count
from keras_cnns.comparing.significance import confidence_interval, holm_correction, paired_t_test
from keras_cnns.errors import SettingError, nearest
from keras_cnns.tracking.runs import CROSS_VALIDATION_NAME, FOLD, Run

SCORE = "val_accuracy"
SCORES = (SCORE, "val_auc", "test_accuracy", "test_auc")
COSTS = ("parameters", "macs", "seconds")
COLUMNS = (*SCORES, *COSTS, "epochs")
LOWER_IS_BETTER = {*COSTS, "trainable_parameters", "epochs", "best_epoch"}
UNFINISHED = {"failed": "Failed", "running": "Not finished yet"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a comparison: a single run, or several that differ only in the seed or are folds of a cross-validation.

    Attributes:
        runs: The runs, by ascending seed or fold.
        data: The name of their images, with part of the fingerprint if other images have the same name.
        differences: The settings, recipe fields and seed in which they differ from other runs.
        pareto: Whether the row is on the Pareto front: no other row on the same images is both cheaper and better.
        p: The p-value of the paired t-test against the best row on the same images, over the seeds that both have,
            corrected for the number of tested rows; None for the best row and if fewer than two seeds are shared.
    """

    runs: tuple[Run, ...]
    data: str
    differences: dict[str, str]
    pareto: bool = False
    p: float | None = None

    @property
    def run(self) -> Run:
        """The first run."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """The name of the first run, with the number of runs if there are several."""
        if len(self.runs) == 1:
            return self.run.name
        return f"{self.run.tags.get(CROSS_VALIDATION_NAME, self.run.name)} (×{len(self.runs)})"

    @property
    def status(self) -> str:
        """The status: "finished", "stopped" (early, by the scheduler of a sweep), "running" or "failed"."""
        return run_status(self.run)

    def values(self, column: str) -> list[float]:
        """Return the finite values of a metric, by ascending seed."""
        return [value for run in self.runs if math.isfinite(value := run.metrics.get(column, math.nan))]

    def values_by_seed(self, column: str) -> dict[int, float]:
        """Return the finite values of a metric by seed."""
        found = {run.seed: run.metrics.get(column, math.nan) for run in self.runs if run.seed is not None}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    def value(self, column: str) -> float | None:
        """Return the mean of the finite values of a metric; None if there are none."""
        values = self.values(column)
        return math.fsum(values) / len(values) if values else None

    def interval(self, column: str) -> tuple[float, float] | None:
        """Return the 95 % confidence interval of a mean score; None for a cost, and for fewer than two values."""
        values = self.values(column)
        return None if lower_is_better(column) or len(values) < 2 else confidence_interval(values)

    def margin(self, column: str) -> float | None:
        """Return the margin of error of a mean score: the distance to the farther end of its interval."""
        value, interval = self.value(column), self.interval(column)
        return None if value is None or interval is None else max(interval[1] - value, value - interval[0])

    def partial(self, column: str) -> str:
        """Return "1 of 3 runs" if only some of the runs have a value of a metric, else ""."""
        count = len(self.values(column))
        return f"{count} of {len(self.runs)} runs" if 0 < count < len(self.runs) else ""

    def cell(self, column: str) -> float | str | None:
        """Return the value in a column: the mean of a metric, a setting, a recipe field or a field of the run."""
        number = self.value(column)
        if number is not None:
            return number
        return {**self.run.recipe, **self.run.settings, **run_fields(self.run)}.get(column)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as values that can be written as JSON."""
        run, intervals = self.run, {name: self.interval(name) for name in COLUMNS}
        return {
            **run_fields(run),
            "seed": run.seed,
            "data_fingerprint": run.data_fingerprint,
            "settings": run.settings,
            "recipe": run.recipe,
            **{column: integer_if_whole(self.value(column)) for column in COLUMNS},
            "reason": run.reason,
            "pareto": self.pareto,
            "p": self.p,
            "runs": len(self.runs),
            "ids": [each.id for each in self.runs],
            "seeds": [each.seed for each in self.runs],
            "partial": {name: text for name in COLUMNS if (text := self.partial(name))},
            "intervals": {name: list(interval) for name, interval in intervals.items() if interval is not None},
            "parent": run.parent,
            "started": run.started.isoformat(),
        }


class Comparison:
    """A ranking of runs, the best first; runs on the same images are ranked together.

    Args:
        runs: The runs.
        sort: The metric to rank by. Scores are sorted in descending order, costs in ascending order.
        cost: The cost on the other axis of the Pareto front: "parameters", "macs" or "seconds".
        per_run: Whether each run has its own row. By default, finished runs that differ only in the seed share a row,
            and so do the folds of a cross-validation; the trials of a search never share a row with the repeats of its
            finalists, because they were selected by their scores, which biases the mean.

    Attributes:
        rows: The rows.
        sort: As given.
        cost: As given.
        score: The score of the Pareto front: `sort`, or the validation accuracy if `sort` is a cost.
        notes: Remarks about the rows as a whole.

    Raises:
        SettingError: The metric or the cost does not exist.
    """

    def __init__(
        self, runs: Sequence[Run], *, sort: str = SCORE, cost: str = "parameters", per_run: bool = False
    ) -> None:
        check_cost(cost)
        known = {*COLUMNS, *(name for run in runs for name in run.metrics)}
        if sort not in known:
            raise SettingError(f"sort={sort!r} is not a column: choose {', '.join(COLUMNS)}.{nearest(sort, known)}")
        self.sort = sort
        self.cost = cost
        self.score = SCORE if lower_is_better(sort) else sort
        differences = find_differences(runs)
        labels = label_data(runs)
        rows = []
        for group in [(run,) for run in runs] if per_run else group_seeds(runs):
            first = differences[group[0].id]
            shared = {name: value for name, value in first.items() if name != "seed" or len(group) == 1}
            rows.append(Row(runs=group, data=labels[group[0].data_fingerprint], differences=shared))
        self.rows = [row for group in group_by_data(rows) for row in self._rank(group)]
        self.notes = self._notes()

    def column_names(self) -> set[str]:
        """Return the names for which `Row.cell` has a value in any row."""
        runs = [run for row in self.rows for run in row.runs]
        return {name for run in runs for name in (*run_fields(run), *run.metrics, *run.settings, *run.recipe)}

    def footnotes(self, mark: str) -> list[str]:
        """Return the explanations of a table: the mark of the Pareto front, means, p-values, and the notes."""
        lines = [f"{mark} Pareto front ({self.score}, {self.cost}): no other run is both cheaper and better."]
        if not any(row.pareto for row in self.rows):
            lines = [f"No finished run has both {self.score} and {self.cost}."]
        if any(len(row.runs) > 1 for row in self.rows):
            kinds = [
                kind
                for kind, of_folds in (("runs that differ only in the seed", False), ("folds", True))
                if any(len(row.runs) > 1 and bool(row.run.cross_validation) == of_folds for row in self.rows)
            ]
            lines.append(f"(×N) mean of N {' or '.join(kinds)}, ± 95 % confidence interval (Student's t).")
        if any(row.p is not None for row in self.rows):
            lines.append(
                f"p: paired t-test of {self.score} against the first row, over the seeds that both have, corrected "
                "for the number of rows (Holm)."
            )
        return [*lines, *self.notes]

    def with_cost(self, cost: str) -> Comparison:
        """Return the same rows with the Pareto front for another cost.

        Raises:
            SettingError: The cost does not exist.
        """
        check_cost(cost)
        other = copy.copy(self)
        other.cost = cost
        other.rows = [row for group in group_by_data(self.rows) for row in other.mark_front(group)]
        return other

    def head(self, count: int) -> Comparison:
        """Return the first `count` rows for each set of images, with their marks and p-values unchanged."""
        shorter = copy.copy(self)
        shorter.rows = [row for group in group_by_data(self.rows) for row in group[:count]]
        hidden = len(self.rows) - len(shorter.rows)
        shorter.notes = [*self.notes, f"Not shown: {format_count(hidden, 'more row')}."] if hidden else self.notes
        return shorter

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as values that can be written as JSON; numbers are exact, and None if missing."""
        return [row.as_dict() for row in self.rows]

    def to_csv(self) -> str:
        """Return the rows as comma-separated values, with a column for each setting and recipe field."""
        rows = []
        for row in self.rows:
            values = row.as_dict()
            for name, (low, high) in values.pop("intervals").items():
                values |= {f"{name}_low": low, f"{name}_high": high}
            values |= {name: " ".join(map(str, values[name])) for name in ("ids", "seeds")}
            values["partial"] = "; ".join(f"{name}: {text}" for name, text in values["partial"].items())
            for section in ("settings", "recipe"):
                values |= {f"{section}.{name}": value for name, value in values.pop(section).items()}
            rows.append(values)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def cost_and_score(self, row: Row) -> tuple[float, float] | None:
        """Return the cost and the score of a finished row; None if it is not finished or one of them is missing."""
        cost, score = row.value(self.cost), row.value(self.score)
        return None if row.run.status != "finished" or cost is None or score is None else (cost, score)

    def _rank(self, rows: list[Row]) -> list[Row]:
        """Mark, sort and test the rows on the same images; failed runs come last."""
        sign = 1.0 if lower_is_better(self.sort) else -1.0

        def sort_key(row: Row) -> tuple[bool, float, str]:
            value = row.value(self.sort)
            return row.run.status == "failed", math.inf if value is None else sign * value, row.run.name

        return self._test(sorted(self.mark_front(rows), key=sort_key))

    def mark_front(self, rows: list[Row]) -> list[Row]:
        """Mark the Pareto front among the rows on the same images."""
        candidates = [(row, point) for row in rows if (point := self.cost_and_score(row)) is not None]
        front = {candidates[index][0].run.id for index in pareto_front([point for _, point in candidates])}
        return [replace(row, pareto=row.run.id in front) for row in rows]

    def _test(self, rows: list[Row]) -> list[Row]:
        """Test ranked rows on the same images against the first of them, over the seeds that both have."""
        if len(rows) < 2 or self.score != self.sort:
            return rows
        scores = [row.values_by_seed(self.score) for row in rows]
        p_values = {(0, index): paired_t_test(scores[0], scores[index]) for index in range(1, len(rows))}
        corrected = holm_correction({pair: p for pair, p in p_values.items() if p is not None})
        return [replace(row, p=corrected.get((0, index))) for index, row in enumerate(rows)]

    def _notes(self) -> list[str]:
        notes = []
        data = len({row.run.data_fingerprint for row in self.rows})
        if data > 1:
            notes.append(f"{data} datasets: runs are ranked and marked only among runs on the same dataset.")
        counts = Counter(run.status for row in self.rows for run in row.runs)
        unfinished = [(words, counts[status]) for status, words in UNFINISHED.items() if status in counts]
        return [*notes, *(f"{words}: {count} of {format_count(counts.total())}." for words, count in unfinished)]


def check_cost(name: str) -> None:
    """Raise a `SettingError` if there is no cost of this name."""
    if name not in COSTS:
        raise SettingError(f"cost={name!r} is not a cost: choose {', '.join(COSTS)}.{nearest(name, COSTS)}")


def run_status(run: Run) -> str:
    """Return the status of a run; "stopped" if the scheduler of a sweep stopped it early."""
    early = run.status == "finished" and run.tags.get("stopped_early") == "true"
    return "stopped" if early else run.status


def run_fields(run: Run) -> dict[str, str | None]:
    """Return what identifies a run, besides its settings and its recipe."""
    fields = {name: getattr(run, name) for name in ("id", "name", "experiment", "model", "family")}
    seed = None if run.seed is None else str(run.seed)
    return {**fields, "data": run.data_name, "seed": seed, "status": run_status(run)}


def group_seeds(runs: Iterable[Run]) -> list[tuple[Run, ...]]:
    """Group finished runs that differ only in the seed, by ascending seed, and finished folds of a cross-validation.

    Other runs are groups of one.
    """
    groups: dict[object, dict[int | None, Run]] = {}
    for run in runs:
        if run.cross_validation and run_status(run) == "finished":
            groups.setdefault(run.cross_validation, {})[int(run.tags[FOLD])] = run
            continue
        settings, recipe = tuple(sorted(run.settings.items())), tuple(sorted(run.recipe.items()))
        searched = run.tags.get("role") == "search"
        key: object = (run.data_fingerprint, run.model, settings, recipe, searched, run.trained_on_validation)
        is_repeated = run.seed in groups.get(key, {})
        if is_repeated or run.seed is None or run_status(run) != "finished":
            key = run.id
        groups.setdefault(key, {})[run.seed] = run
    return [tuple(run for _, run in sorted(group.items(), key=lambda item: item[0] or 0)) for group in groups.values()]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, by ascending cost.

    Args:
        points: The cost and score of each point. A point dominates another if it costs no more and scores no less, and
            is better in one of the two. Of equal points, all or none are on the front. Points with a NaN never are.
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


def lower_is_better(column: str) -> bool:
    """Return whether lower values of a metric are better, as for costs and losses."""
    return column in LOWER_IS_BETTER or column.endswith(("loss", "error"))


def group_by_data(rows: Iterable[Row]) -> list[list[Row]]:
    """Group rows by their images, in the order in which the images first occur."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.run.data_fingerprint, []).append(row)
    return list(groups.values())


def label_data(runs: Iterable[Run]) -> dict[str, str]:
    """Return a unique label for each fingerprint: the name of the images, with part of the fingerprint if needed."""
    names = {run.data_fingerprint: run.data_name for run in runs}
    counts = Counter(names.values())
    return {
        fingerprint: name if counts[name] == 1 else f"{name} {fingerprint[:6]}" for fingerprint, name in names.items()
    }


def find_differences(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Return, by run id, the values of the settings that vary within its family, and of the recipe fields and seed."""
    recipes = {run.id: {**run.recipe, **({} if run.seed is None else {"seed": str(run.seed)})} for run in runs}
    in_recipe = varying_names(list(recipes.values()))
    in_settings = {
        family: varying_names([run.settings for run in runs if run.family == family])
        for family in {run.family for run in runs}
    }
    return {
        run.id: {name: value for name, value in run.settings.items() if name in in_settings[run.family]}
        | {name: value for name, value in recipes[run.id].items() if name in in_recipe}
        for run in runs
    }


def varying_names(records: Sequence[dict[str, str]]) -> set[str]:
    """Return the names whose values are not the same in all records."""
    names = {name for record in records for name in record}
    return {name for name in names if len({record.get(name) for record in records}) > 1}


def integer_if_whole(value: float | None) -> float | int | None:
    """Return a whole number above 1 as an integer, so that counts are written without a fraction."""
    return int(value) if value is not None and value.is_integer() and abs(value) > 1 else value
