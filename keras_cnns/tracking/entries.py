"""Single entries between us and MLflow: metrics, tags, clauses of a search, and a run read back."""

from __future__ import annotations

import time
from collections.abc import Mapping
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


def equals(tag: str, value: str) -> str:
    """Return the clause of a search for a tag's value."""
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value}{quote}"


def kept(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the validation scores of the network that was kept, by their plain names."""
    return {f"val_{name}": value for name, value in below("best_val_", metrics).items()}


def read(run: MlflowRun, experiment: str) -> Run:
    """Return MLflow's run as ours."""
    params, tags = run.data.params, run.data.tags
    metrics = {name: value for name, value in run.data.metrics.items() if not name.startswith(LOOKED_AT)}
    status = STATUS.get(run.info.status, "failed")
    seed = params.get("seed", "")
    return Run(
        id=run.info.run_id,
        name=run.info.run_name or "",
        experiment=experiment,
        status=status,
        reason=tags.get(REASON, run.info.status.lower()) if status == "failed" else "",
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
        started=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
    )
