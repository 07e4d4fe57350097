"""Runs read from the database itself are those that MLflow's own search gives."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.database import read_entries
from keras_cnns.tracking.entries import entry_of, having
from tests.test_tracking import DESCRIPTION

TAGS = ({}, {"trial": "1"}, {"trial": "1", "quoted": "it's"}, {"trial": "9"})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with what may be in one: metrics that are no numbers, and runs that failed, run, or were deleted."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store = Store(f"sqlite:///{path}")
    parent = store.start_group("sweep", experiment="one", params={"trials": 3}, tags={"group": "a"})
    for number, score in enumerate([0.5, float("nan"), float("inf"), -1.0, 0.25, 0.75]):
        tags = {"trial": str(number % 3), "own": str(number), "quoted": "it's"}
        description: RunDescription = replace(DESCRIPTION, name=f"trial-{number}", tags=tags)
        run_id = store.start(description, experiment=("one", "two")[number % 2], parent=parent)
        for epoch in (1, 2):
            store.record(run_id, epoch, {"val_accuracy": score / epoch, "loss": 1.0})
        if number != 4:
            store.finish(run_id, status="failed" if number == 3 else "finished", reason="broken" if number == 3 else "")
        if number == 5:
            MlflowClient(store.uri).delete_run(run_id)
    return path


def in_order(entries: Iterator[Any]) -> list[dict[str, Any]]:
    return sorted((asdict(entry) for entry in entries), key=lambda entry: (-entry["started"], entry["id"]))


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("names", [["one"], ["two"], ["one", "two", "Default"], []])
def test_the_database_gives_what_mlflows_search_gives(
    database: Path, names: list[str], tags: dict[str, str], finished: bool
) -> None:
    client = MlflowClient(f"sqlite:///{database}")
    experiments = [found.experiment_id for found in client.search_experiments() if found.name in names]
    query = having(tags, finished=finished)
    searched = client.search_runs(experiments, query, ViewType.ACTIVE_ONLY) if experiments else []
    own = [*read_entries(database, experiments, tags, finished=finished)]
    np.testing.assert_equal(in_order(iter(own)), in_order(map(entry_of, searched)))
    assert [entry.started for entry in own] == sorted((entry.started for entry in own), reverse=True)


def test_a_database_that_stays_locked_is_told_as_mlflow_tells_it(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_cnns.tracking.database.SECONDS_WHILE_LOCKED", 0.05)
    writing = sqlite3.connect(database)
    writing.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MlflowException, match="locked") as caught:
        list(read_entries(database, ["0"], {}, finished=False))
    writing.rollback()
    assert caught.value.error_code == "TEMPORARILY_UNAVAILABLE"
