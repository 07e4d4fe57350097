"""Several stores, read as one."""

from __future__ import annotations

from collections.abc import Sequence

from keras_cnns.errors import StoreError, nearest
from keras_cnns.tracking.runs import Run, chosen
from keras_cnns.tracking.store import Store


class Stores:
    """Stores whose runs are compared with each other; a run that two have, as copies do, is read from the first.

    Args:
        stores: One store or more.

    Attributes:
        location: What to call them.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = stores
        self.location = ", ".join(store.location for store in stores)
        self._of_run: dict[str, Store] = {}

    def experiments(self) -> list[str]:
        """Return the names of the experiments that any has."""
        return list(dict.fromkeys(name for store in self.stores for name in store.experiments()))

    def runs(self, experiments: Sequence[str] = ()) -> list[Run]:
        """Return the runs of some experiments, or of all.

        Raises:
            StoreError: No store has one of the experiments.
        """
        found: dict[str, Run] = {}
        known = {store.uri: store.experiments() for store in self.stores}
        every = {name: None for names in known.values() for name in names}
        for name in experiments or every:
            if name not in every:
                names = ", ".join(map(repr, every))
                raise StoreError(f"no experiment {name!r} in {self.location}; it has {names}.{nearest(name, every)}")
            for store in self.stores:
                for run in store.runs(experiment=name) if name in known[store.uri] else ():
                    found.setdefault(run.id, run)
                    self._of_run.setdefault(run.id, store)
        return list(found.values())

    def page(self, run: Run) -> str:
        """Return where a run is seen in MLflow; "" where its store is no server."""
        uri = self.of(run).uri
        return f"{uri.rstrip('/')}/#/runs/{run.id}" if uri.startswith(("http://", "https://")) else ""

    def named(self, references: Sequence[str]) -> list[Run]:
        """Return the runs that a person means, each as `Store.run` does."""
        runs = self.runs()
        return [chosen(reference, runs, self.location) for reference in references]

    def of(self, run: Run) -> Store:
        """Return the store that a run was read from."""
        return self._of_run[run.id]
