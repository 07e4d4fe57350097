"""Several stores, read as one."""

from __future__ import annotations

from collections.abc import Sequence

from keras_cnns.errors import StoreError, nearest
from keras_cnns.tracking.runs import Run, select_run
from keras_cnns.tracking.store import Store


class Stores:
    """Several stores whose runs are compared. A run in more than one of them is read from the first.

    Args:
        stores: One or more stores.

    Attributes:
        location: The locations of the stores, for messages.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = stores
        self.location = ", ".join(store.location for store in stores)
        self._store_by_run: dict[str, Store] = {}

    def experiments(self) -> list[str]:
        """Return the names of the experiments in all stores."""
        return list(dict.fromkeys(name for store in self.stores for name in store.experiments()))

    def runs(self, experiments: Sequence[str] = ()) -> list[Run]:
        """Return the runs of these experiments, or of all.

        Raises:
            StoreError: An experiment is in none of the stores.
        """
        runs: dict[str, Run] = {}
        names_by_store = [(store, store.experiments()) for store in self.stores]
        known = list(dict.fromkeys(name for _, names in names_by_store for name in names))
        for experiment in experiments or known:
            if experiment not in known:
                listed = ", ".join(map(repr, known))
                raise StoreError(
                    f"no experiment {experiment!r} in {self.location}; it has {listed}.{nearest(experiment, known)}"
                )
            for store, names in names_by_store:
                for run in store.runs(experiment=experiment) if experiment in names else ():
                    runs.setdefault(run.id, run)
                    self._store_by_run.setdefault(run.id, store)
        return list(runs.values())

    def find_runs(self, references: Sequence[str]) -> list[Run]:
        """Return the runs with these references, each as in `Store.run`."""
        runs = self.runs()
        return [select_run(reference, runs, self.location) for reference in references]

    def store_of(self, run: Run) -> Store:
        """Return the store that a run was read from."""
        return self._store_by_run[run.id]

    def run_url(self, run: Run) -> str:
        """Return the address of a run's page on its MLflow server, or "" if its store is a file."""
        return run_url(self.store_of(run).uri, run.id)


def run_url(uri: str, run_id: str) -> str:
    """Return the address of a run's page on an MLflow server, or "" if the store is a file."""
    return f"{uri}/#/runs/{run_id}" if uri.startswith(("http://", "https://")) else ""
