"""The differences between two runs: networks, settings, recipes, images, metrics and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keras_cnns.comparing.rows import lower_is_better, run_fields
from keras_cnns.tracking import Run

SECTIONS = ("run", "setting", "recipe", "metric", "curve")
Curves = Mapping[str, list[tuple[int, float]]]
"""For each metric, pairs of epoch and value."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value in which two runs differ.

    Attributes:
        section: "run", "setting", "recipe", "metric" or "curve".
        name: The name of the value.
        values: The value of each run; None if a run does not have it.
    """

    section: str
    name: str
    values: tuple[str | float | None, str | float | None]


def find_differences(runs: tuple[Run, Run], curves: Sequence[Curves]) -> list[Difference]:
    """Return all differences between two runs, by section; curves are compared by their best value and its epoch."""
    first, second = map(comparable_values, runs, curves)
    return [
        Difference(section=section, name=name, values=(first[section].get(name), second[section].get(name)))
        for section in SECTIONS
        for name in {**first[section], **second[section]}
        if first[section].get(name) != second[section].get(name)
    ]


def comparable_values(run: Run, curves: Curves) -> dict[str, Mapping[str, str | float | None]]:
    """Return the values of a run that can be compared, by section and name."""
    fields = {name: value for name, value in run_fields(run).items() if name not in ("id", "name")}
    return {
        "run": {**fields, "data fingerprint": run.data_fingerprint},
        "setting": run.settings,
        "recipe": run.recipe,
        "metric": dict(sorted(run.metrics.items())),
        "curve": {name: describe_best(name, curve) for name, curve in sorted(curves.items())},
    }


def describe_best(name: str, curve: Sequence[tuple[int, float]]) -> str:
    """Describe the best value of a curve and its epoch: "0.9500 in epoch 3 of 5"."""
    sign = -1 if lower_is_better(name) else 1
    found = [(sign * value, -epoch) for epoch, value in curve if math.isfinite(value)]
    if not found:
        return "not finite in any epoch"
    value, epoch = max(found)
    return f"{sign * value:.4f} in epoch {-epoch} of {len(curve)}"
