"""MLflow's fluent interface in the program of a user: its active run, and its autologging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.utils.autologging_utils import disable_autologging

from keras_cnns.tracking.location import SQLITE


@contextmanager
def without_autologging() -> Iterator[None]:
    """Stop MLflow from logging a training in a run of its own: ours has all of it."""
    with disable_autologging():
        yield


def find_active_run(uri: str) -> str | None:
    """Return the ID of the active run if it is in the store with this absolute URI."""
    active = mlflow.active_run()
    return active.info.run_id if active is not None and absolute(mlflow.get_tracking_uri()) == uri else None


def absolute(uri: str) -> str:
    """Return the URI of a store with the absolute path of its database."""
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri.rstrip("/")
