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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from keras_cnns.comparing.formatting import format_count, metric_label
from keras_cnns.comparing.rows import COLUMNS, COSTS, SCORE, SCORES, Row, lower_is_better, run_fields, run_status
from keras_cnns.comparing.significance import holm_correction, paired_t_test
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.errors import SettingError, nearest
from keras_cnns.tracking.runs import FOLD, Run

UNFINISHED = {"failed": "Failed", "running": "Not finished yet"}
MARK = "*"
MAX_ROWS = 10  # of a summary, for each set of images


class Comparison(Summarized):
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

    def default_columns(self, rows: Sequence[Row]) -> list[str]:
        """Return the scores that any row has, and the costs."""
        scores = [name for name in SCORES if any(row.value(name) is not None for row in rows)]
        if self.sort not in (*scores, *COSTS, "epochs"):
            scores.append(self.sort)
        return [*scores, *COSTS]

    def summary(self) -> Summary:
        """Return the first rows for each set of images."""
        tables = [table for rows in group_by_data(self.rows) for table in self.summarize(rows)]
        data = ", ".join(dict.fromkeys(row.data for row in self.rows))
        runs = format_count(sum(len(row.runs) for row in self.rows))
        return Summary(title=f"{runs} on {data}" if data else runs, tables=tables, notes=self.footnotes(MARK))

    def summarize(self, rows: Sequence[Row]) -> Iterator[SummaryTable]:
        """Yield a table of the first rows on the same images, and one of the settings in which they differ."""
        columns, several = self.default_columns(rows), len({row.run.model for row in rows}) > 1
        cells = [
            [
                MARK if row.pareto else "",
                row.title,
                *(row.format(column) for column in columns),
                row.format_p(),
                "" if row.status == "finished" else row.status,
            ]
            for row in rows[:MAX_ROWS]
        ]
        names = ("", "run", *map(metric_label, columns), "p", "status")
        used = [index for index in range(len(names)) if index == 1 or any(row[index] for row in cells)]
        yield SummaryTable(
            columns=[names[index] for index in used],
            rows=[[row[index] for index in used] for row in cells],
            text_columns=sum(index < 2 for index in used),
            more=len(rows) - len(cells),
        )
        found = [(row.title, row.format_differences(with_model=several)) for row in rows[:MAX_ROWS]]
        if any(settings for _, settings in found):
            yield SummaryTable(columns=("run", "settings"), rows=found, text_columns=2)

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
