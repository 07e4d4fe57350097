"""Runs read directly from the database equal the results of MLflow's search."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from keras_cnns.tracking import Run, RunDescription, Store
from keras_cnns.tracking.conversion import filter_string, from_mlflow
from keras_cnns.tracking.database import read_runs
from tests.test_tracking import DESCRIPTION

TAGS = ({}, {"trial": "1"}, {"trial": "1", "quoted": "it's"}, {"trial": "9"})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with infinite and NaN metrics, and with failed, running and deleted runs."""
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


def in_order(runs: Iterable[Run]) -> list[dict[str, Any]]:
    return sorted(map(asdict, runs), key=lambda run: (-run["started"].timestamp(), run["id"]))


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("names", [["one"], ["two"], ["one", "two", "Default"], []])
def test_the_database_gives_the_same_runs_as_mlflows_search(
    database: Path, names: list[str], tags: dict[str, str], finished: bool
) -> None:
    client = MlflowClient(f"sqlite:///{database}")
    experiments = {found.experiment_id: found.name for found in client.search_experiments() if found.name in names}
    query = filter_string(tags, finished=finished)
    searched = client.search_runs(list(experiments), query, ViewType.ACTIVE_ONLY) if experiments else []
    expected = [from_mlflow(run, experiments[run.info.experiment_id]) for run in searched]
    runs = list(read_runs(database, experiments, tags, finished=finished))
    np.testing.assert_equal(in_order(runs), in_order(expected))
    assert [run.started for run in runs] == sorted((run.started for run in runs), reverse=True)


def test_a_locked_database_is_a_transient_mlflow_error(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.tracking.database.LOCK_TIMEOUT", 0.05)
    writing = sqlite3.connect(database)
    writing.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MlflowException, match="locked") as caught:
        list(read_runs(database, {"0": "Default"}, {}, finished=False))
    writing.rollback()
    assert caught.value.error_code == "TEMPORARILY_UNAVAILABLE"
