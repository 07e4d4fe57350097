"""What two runs differ in: what was trained and how, what came out, and how they learned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keras_cnns.comparing.comparison import less_is_better, status_of
from keras_cnns.tracking import Run

Curves = Mapping[str, list[tuple[int, float]]]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which two runs differ; None where a run has no such thing.

    Attributes:
        part: What it is of: "run", "setting", "recipe", "metric" or "curve".
        name: What it is called.
        values: What each run has.
    """

    part: str
    name: str
    values: tuple[str | float | None, str | float | None]


def find_differences(runs: tuple[Run, Run], curves: Sequence[Curves]) -> list[Difference]:
    """Return all that two runs differ in; of their curves the best value and its epoch."""
    first, second = map(about, runs, curves)
    return [*differing(first, second)]


def about(run: Run, curves: Curves) -> dict[tuple[str, str], str | float]:
    """Return what can be compared of a run, by part and name."""
    of_run = {"model": run.model, "family": run.family, "data": run.data_name, "status": status_of(run)}
    of_run |= {"data fingerprint": run.data_fingerprint, "seed": str(run.seed), "experiment": run.experiment}
    return {
        **{("run", name): value for name, value in of_run.items()},
        **{("setting", name): value for name, value in run.settings.items()},
        **{("recipe", name): value for name, value in run.recipe.items()},
        **{("metric", name): value for name, value in sorted(run.metrics.items())},
        **{("curve", name): best(name, curve) for name, curve in sorted(curves.items())},
    }


def best(name: str, curve: list[tuple[int, float]]) -> str:
    """Write the best value of a curve, and the epoch that it was reached in."""
    sign = -1 if less_is_better(name) else 1
    reached = [(sign * value, -epoch) for epoch, value in curve if math.isfinite(value)]
    if not reached:
        return "no number"
    value, epoch = max(reached)
    return f"{sign * value:.4f} in epoch {-epoch} of {len(curve)}"


def differing(
    first: Mapping[tuple[str, str], str | float], second: Mapping[tuple[str, str], str | float]
) -> Iterator[Difference]:
    """Yield what is not the same in both, in the order of the parts."""
    for part in ("run", "setting", "recipe", "metric", "curve"):
        for key in dict.fromkeys(key for key in (*first, *second) if key[0] == part):
            if first.get(key) != second.get(key):
                yield Difference(part=part, name=key[1], values=(first.get(key), second.get(key)))
