"""Select runs by a condition such as "parameters < 1e6 and family == 'densenet'"."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from keras_cnns.comparing.rows import run_fields
from keras_cnns.errors import SettingError, nearest
from keras_cnns.tracking.runs import Run

EXAMPLE = "parameters < 1e6 and family == 'densenet'"


def filter_runs(runs: Sequence[Run], condition: str) -> list[Run]:
    """Return the runs that satisfy a condition.

    Args:
        runs: The runs.
        condition: An expression for `pandas.DataFrame.eval`. Its columns are id, name, experiment, model, family, data,
            seed, status, the metrics, the settings and the fields of the recipe. If a metric has the same name as a
            setting or a recipe field, the plain name is the metric; `settings.NAME` and `recipe.NAME` (in backticks)
            are always the setting and the recipe field. Comparisons with a value that a run does not have are false.

    Raises:
        SettingError: The condition is invalid, or names a column that no run has.
    """
    table = pd.DataFrame([condition_columns(run) for run in runs])
    for name in table:
        numbers = pd.to_numeric(table[name], errors="coerce")
        if (numbers.notna() == table[name].notna()).all():
            table[name] = numbers
    if "@" in condition or "__" in condition:
        raise invalid(condition, "only columns, numbers and quoted text are allowed")
    try:
        satisfied = table.eval(condition, engine="python")
    except pd.errors.UndefinedVariableError as error:
        name = str(error).split("'")[1] if "'" in str(error) else str(error)
        hint = f"{nearest(name, map(str, table))} Put text in quotes: {EXAMPLE!r}."
        raise SettingError(f"--where {condition!r}: no run has {name!r}.{hint}") from None
    except (AttributeError, KeyError, NotImplementedError, SyntaxError, TypeError, ValueError) as error:
        raise invalid(condition, str(error).splitlines()[0]) from None
    if not pd.api.types.is_bool_dtype(satisfied):
        raise invalid(condition, "this is not a condition")
    return [run for run, keep in zip(runs, satisfied, strict=True) if keep]


def invalid(condition: str, reason: str) -> SettingError:
    """Return the error for an invalid condition."""
    return SettingError(f"--where {condition!r}: {reason}; write for example {EXAMPLE!r}.")


def condition_columns(run: Run) -> dict[str, object]:
    """Return the values of a run by the column names of a condition."""
    return {
        **{f"recipe.{name}": value for name, value in run.recipe.items()},
        **{f"settings.{name}": value for name, value in run.settings.items()},
        **run.recipe,
        **run.settings,
        **run.metrics,
        **run_fields(run),
    }
