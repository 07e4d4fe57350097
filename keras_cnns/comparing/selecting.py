"""Runs that fulfil a condition, as a person writes it: "parameters < 1e6 and family == 'densenet'"."""

from __future__ import annotations

from collections.abc import Sequence

from keras_cnns.comparing.comparison import about
from keras_cnns.errors import SettingError, nearest
from keras_cnns.tracking.runs import Run

EXAMPLE = "parameters < 1e6 and family == 'densenet'"


def select(runs: Sequence[Run], condition: str) -> list[Run]:
    """Return the runs that fulfil a condition over their columns.

    Args:
        runs: The runs.
        condition: What pandas evaluates, by row. Columns are the metrics, and where no metric is called so the settings
            and parts of the recipe; `settings.NAME` and `recipe.NAME` (in backticks) are always these; and id, name,
            experiment, model, family, data, seed and status. What a run lacks fulfils no comparison.

    Raises:
        SettingError: It is no condition, or names what no run has.
    """
    import pandas as pd  # noqa: PLC0415 - most comparisons have no condition

    table = pd.DataFrame([columns(run) for run in runs])
    for name in table:
        numbers = pd.to_numeric(table[name], errors="coerce")
        if (numbers.notna() == table[name].notna()).all():
            table[name] = numbers
    if "@" in condition or "__" in condition:
        raise SettingError(f"--where {condition!r}: only columns, numbers and words; write for example {EXAMPLE!r}.")
    try:
        fulfilled = table.eval(condition, engine="python")
    except pd.errors.UndefinedVariableError as error:
        name = str(error).split("'")[1] if "'" in str(error) else str(error)
        hint = f"{nearest(name, map(str, table))} Words stand in quotes: {EXAMPLE!r}."
        raise SettingError(f"--where {condition!r}: no run has {name!r}.{hint}") from None
    except (AttributeError, KeyError, NotImplementedError, SyntaxError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"--where {condition!r}: {reason}; write for example {EXAMPLE!r}.") from None
    if not pd.api.types.is_bool_dtype(fulfilled):
        raise SettingError(f"--where {condition!r}: true or false of no run; write for example {EXAMPLE!r}.")
    return [run for run, keep in zip(runs, fulfilled, strict=True) if keep]


def columns(run: Run) -> dict[str, object]:
    """Return what a condition can be about."""
    return {
        **{f"recipe.{name}": value for name, value in run.recipe.items()},
        **{f"settings.{name}": value for name, value in run.settings.items()},
        **run.recipe,
        **run.settings,
        **run.metrics,
        **about(run),
        "id": run.id,
        "name": run.name,
        "data": run.data_name,
        "seed": run.seed,
    }
