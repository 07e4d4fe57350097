"""Rows of a comparison: runs, or several that differ only in the seed, with their metrics and differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keras_cnns.comparing.formatting import format_metric, format_setting
from keras_cnns.comparing.significance import confidence_interval
from keras_cnns.tracking.runs import CROSS_VALIDATION_NAME, Run

SCORE = "val_accuracy"
SCORES = (SCORE, "val_auc", "test_accuracy", "test_auc")
COSTS = ("parameters", "macs", "seconds")
COLUMNS = (*SCORES, *COSTS, "epochs")
LOWER_IS_BETTER = {*COSTS, "trainable_parameters", "epochs", "best_epoch"}


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

    def format(self, column: str) -> str:
        """Format the value in a column; means over seeds have a margin of error, and how many runs have a value."""
        value = self.cell(column)
        if value is None or isinstance(value, str):
            return "" if value is None else format_setting(value)
        return "\n".join(filter(None, (format_metric(column, value, self.margin(column)), self.partial(column))))

    def format_p(self) -> str:
        """Format the p-value; "" if there is none."""
        return "" if self.p is None else f"{self.p:.2g}"

    def format_differences(self, *, with_model: bool) -> str:
        """Format the settings in which the row differs from others, as in growth_rate=12 depth=40."""
        model = [self.run.model] if with_model else []
        return " ".join([*model, *(f"{name}={format_setting(value)}" for name, value in self.differences.items())])


def run_status(run: Run) -> str:
    """Return the status of a run; "stopped" if the scheduler of a sweep stopped it early."""
    early = run.status == "finished" and run.tags.get("stopped_early") == "true"
    return "stopped" if early else run.status


def run_fields(run: Run) -> dict[str, str | None]:
    """Return what identifies a run, besides its settings and its recipe."""
    fields = {name: getattr(run, name) for name in ("id", "name", "experiment", "model", "family")}
    seed = None if run.seed is None else str(run.seed)
    return {**fields, "data": run.data_name, "seed": seed, "status": run_status(run)}


def lower_is_better(column: str) -> bool:
    """Return whether lower values of a metric are better, as for costs and losses."""
    return column in LOWER_IS_BETTER or column.endswith(("loss", "error"))


def integer_if_whole(value: float | None) -> float | int | None:
    """Return a whole number above 1 as an integer, so that counts are written without a fraction."""
    return int(value) if value is not None and value.is_integer() and abs(value) > 1 else value
