"""Fast reading of many runs from MLflow's SQLite database.

MLflow's own search creates an object for each metric, parameter and tag, which takes a millisecond per run: five
seconds for 5,000 runs instead of a third of a second. The tests compare this module's results with MLflow's.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from keras_cnns.tracking.conversion import make_run
from keras_cnns.tracking.runs import Run

LOCK_TIMEOUT = 30.0  # seconds
SELECTED_RUNS = """
WITH selected AS (
  SELECT run_uuid, name, experiment_id, status, start_time FROM runs
  WHERE lifecycle_stage = 'active' AND experiment_id IN (SELECT value FROM json_each(?)) {conditions}
)
"""
HAS_TAG = "AND EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ? AND value = ?)"
IS_FINISHED = "AND status = 'FINISHED'"


def read_runs(
    database: Path, experiments: Mapping[str, str], tags: Mapping[str, str], *, finished: bool
) -> Iterator[Run]:
    """Yield the active runs of some experiments, newest first.

    Args:
        database: The database file.
        experiments: The names of the experiments by ID.
        tags: Yield only runs with all of these tags.
        finished: Yield only finished runs.

    Raises:
        MlflowException: The database cannot be read at the moment.
    """
    conditions = " ".join([HAS_TAG] * len(tags) + [IS_FINISHED] * finished)
    prefix = SELECTED_RUNS.format(conditions=conditions)
    values = [f"[{','.join(experiments)}]", *(word for item in tags.items() for word in item)]

    def select(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(prefix + query, values).fetchall()

    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=LOCK_TIMEOUT)) as connection:
            connection.execute("BEGIN")  # all queries see the same state
            rows = select("SELECT * FROM selected ORDER BY start_time DESC, run_uuid")
            params, run_tags, metrics = (
                group_by_run(select(f"SELECT run_uuid, key, {value} FROM {table} JOIN selected USING (run_uuid)"))  # noqa: S608
                for table, value in (
                    ("params", "value"),
                    ("tags", "value"),
                    ("latest_metrics", "IIF(is_nan, NULL, value)"),
                )
            )
    except sqlite3.Error as error:
        raise MlflowException(str(error), error_code=TEMPORARILY_UNAVAILABLE) from error
    for run_id, name, experiment, status, started in rows:
        numbers = {key: math.nan if value is None else value for key, value in metrics.get(run_id, {}).items()}
        run_params, its_tags = params.get(run_id, {}), run_tags.get(run_id, {})
        yield make_run(run_id, name, experiments[str(experiment)], status, started, run_params, its_tags, numbers)


def group_by_run(rows: Sequence[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the values of (run, key, value) rows by run and key."""
    grouped: dict[str, dict[str, Any]] = {}
    for run_id, key, value in rows:
        grouped.setdefault(run_id, {})[key] = value
    return grouped
