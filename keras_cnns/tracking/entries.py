"""Single entries between us and MLflow: metrics, tags, clauses of a search, and a run read back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from keras_cnns.tracking.runs import Run, below

STATUS = {"FINISHED": "finished", "RUNNING": "running", "SCHEDULED": "running"}
PARENT = "mlflow.parentRunId"
REASON = "reason"
LOOKED_AT = "looked_at."


def points(metrics: Mapping[str, float], *, step: int) -> list[Metric]:
    """Return metrics as MLflow takes them."""
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in metrics.items()]


def written(params: Mapping[str, object]) -> list[Param]:
    """Return params as MLflow takes them."""
    return [Param(name, str(value)) for name, value in params.items()]


def tagged(tags: Mapping[str, str]) -> list[RunTag]:
    """Return tags as MLflow takes them."""
    return [RunTag(name, value) for name, value in tags.items()]


def having(tags: Mapping[str, str], *, finished: bool = False) -> str:
    """Return the search for runs that have all these tags, and where asked for have finished."""
    quotes = {name: '"' if "'" in value else "'" for name, value in tags.items()}
    clauses = [f"tags.`{name}` = {quotes[name]}{value}{quotes[name]}" for name, value in tags.items()]
    return " and ".join([*clauses, *["attributes.status = 'FINISHED'"] * finished])


def kept(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the validation scores of the network that was kept, by their plain names."""
    return {f"val_{name}": value for name, value in below("best_val_", metrics).items()}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run as MLflow has it: status and start (milliseconds since 1970) in its words, the experiment by id."""

    id: str
    name: str
    experiment: str
    status: str
    started: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def entry_of(run: MlflowRun) -> Entry:
    """Return what MLflow's search gives as an entry."""
    return Entry(
        id=run.info.run_id,
        name=run.info.run_name or "",
        experiment=run.info.experiment_id,
        status=run.info.status,
        started=run.info.start_time,
        params=run.data.params,
        tags=run.data.tags,
        metrics=run.data.metrics,
    )


def read(entry: Entry, experiment: str) -> Run:
    """Return MLflow's run as ours."""
    params, tags = entry.params, entry.tags
    metrics = {name: value for name, value in entry.metrics.items() if not name.startswith(LOOKED_AT)}
    status = STATUS.get(entry.status, "failed")
    seed = params.get("seed", "")
    return Run(
        id=entry.id,
        name=entry.name,
        experiment=experiment,
        status=status,
        reason=tags.get(REASON, entry.status.lower()) if status == "failed" else "",
        model=params.get("model", ""),
        family=params.get("family", ""),
        settings=below("settings.", params),
        recipe=below("recipe.", params),
        metrics={**metrics, **kept(metrics)},
        seed=int(seed) if seed.isdecimal() else None,
        data_name=tags.get("data.name", ""),
        data_fingerprint=tags.get("data.fingerprint", ""),
        parent=tags.get(PARENT),
        tags=dict(tags),
        started=datetime.fromtimestamp(entry.started / 1000, tz=UTC),
    )
