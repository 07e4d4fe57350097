"""Conversion of MLflow's runs to ours, and searches for runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import Run as MlflowRun

from keras_cnns.tracking.runs import FINGERPRINT, PARENT, REASON, TEST_SET_EVALUATIONS, Run, strip_prefix

STATUS = {"FINISHED": "finished", "RUNNING": "running", "SCHEDULED": "running"}


def filter_string(tags: Mapping[str, str], *, finished: bool = False) -> str:
    """Return an MLflow filter for runs with all of these tags, optionally only finished ones."""
    quotes = {name: '"' if "'" in value else "'" for name, value in tags.items()}
    clauses = [f"tags.`{name}` = {quotes[name]}{value}{quotes[name]}" for name, value in tags.items()]
    return " and ".join([*clauses, *["attributes.status = 'FINISHED'"] * finished])


def from_mlflow(run: MlflowRun, experiment: str) -> Run:
    """Convert a run of MLflow.

    Args:
        run: The run.
        experiment: The name of its experiment.
    """
    info, data = run.info, run.data
    return make_run(
        info.run_id, info.run_name, experiment, info.status, info.start_time, data.params, data.tags, data.metrics
    )


def make_run(
    run_id: str,
    name: str | None,
    experiment: str,
    status: str,
    started: int,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> Run:
    """Make a run from MLflow's values.

    Args:
        run_id: The run's ID.
        name: The run's name.
        experiment: The name of its experiment.
        status: One of MLflow's statuses.
        started: The start time in milliseconds since 1970.
        params: Its parameters.
        tags: Its tags.
        metrics: The last value of each metric.
    """
    seed = params.get("seed", "")
    failed = status not in STATUS
    best = {f"val_{metric}": value for metric, value in strip_prefix(metrics, "best_val_").items()}
    return Run(
        id=run_id,
        name=name or "",
        experiment=experiment,
        status=STATUS.get(status, "failed"),
        reason=tags.get(REASON, status.lower()) if failed else "",
        model=params.get("model", ""),
        family=params.get("family", ""),
        settings=strip_prefix(params, "settings."),
        recipe=strip_prefix(params, "recipe."),
        metrics={name: value for name, value in metrics.items() if not name.startswith(TEST_SET_EVALUATIONS)} | best,
        seed=int(seed) if seed.isdecimal() else None,
        data_name=tags.get("data.name", ""),
        data_fingerprint=tags.get(FINGERPRINT, ""),
        parent=tags.get(PARENT),
        tags=dict(tags),
        started=datetime.fromtimestamp(started / 1000, tz=UTC),
    )


def iterate_pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the entries of all pages of a search, given the function that fetches the page with a token."""
    page = fetch(None)
    yield from page
    while page.token:
        page = fetch(page.token)
        yield from page
