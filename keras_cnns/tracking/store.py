"""The store: runs written to and read from MLflow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlflow import entities
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from keras_cnns.errors import StoreError, first_line, nearest
from keras_cnns.tracking.conversion import all_pages, filter_string, from_mlflow
from keras_cnns.tracking.database import read_runs
from keras_cnns.tracking.fluent import find_active_run
from keras_cnns.tracking.location import artifact_folder, current_artifact_uri, download, open_location, quiet_logging
from keras_cnns.tracking.mlflow_model import NETWORK, save_mlflow_model
from keras_cnns.tracking.network_file import describe_run
from keras_cnns.tracking.retry import RetryTimeout, retry
from keras_cnns.tracking.runs import (
    FINGERPRINT,
    PARENT,
    REASON,
    TEST_SET_EVALUATIONS,
    EvaluationCounts,
    Run,
    RunDescription,
    StoredNetwork,
    provenance,
    select_run,
)

if TYPE_CHECKING:
    import numpy as np

GROUP = "keras_cnns.group"
EPOCHS = "epochs"
MODEL = "model"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's pages then show metrics first
PAGE = 1000
SAME_VERSIONS = ("versions.tensorflow", "versions.keras", "versions.keras_cnns")


class Store:
    """A store of runs in MLflow, without MLflow's global state.

    Args:
        uri: `sqlite:///PATH.db` or a server's address; by default MLflow's environment variable, else `mlflow.db`
            in the working directory. Files of a database's runs are in `mlartifacts` beside it.
        create: Create a missing database.
        retry_timeout: Seconds for which a call is retried while a server is down, a database locked or a disk full.

    Attributes:
        uri: The absolute URI of the store.
        retry_timeout: The retry timeout, which can be cancelled.

    Raises:
        StoreError: The store cannot be used.
    """

    def __init__(self, uri: str | None = None, *, create: bool = True, retry_timeout: float = 0.0) -> None:
        self.retry_timeout = RetryTimeout(retry_timeout)
        self.uri, self._database = open_location(uri, create=create)
        self._recorded_epochs: dict[str, set[int]] = {}
        self._client = self._connect()

    @property
    def location(self) -> str:
        """The database file or the server's address."""
        return str(self._database or self.uri)

    @retry
    def start(self, description: RunDescription, *, experiment: str, parent: str | None = None) -> str:
        """Start a run, or continue the one with the description's own tags, and return its ID.

        Args:
            description: The description of the run.
            experiment: The name of its experiment, created if necessary.
            parent: The ID of the sweep's run, in a sweep.
        """
        run_id = self.find(experiment=experiment, tags=description.tags)
        if run_id is None:
            tags = description.all_tags() | ({PARENT: parent} if parent else {})
            run_id = self._create(description.name, experiment, tags)
        self._log(run_id, metrics=description.metrics(), params=description.params())
        self._client.log_inputs(run_id, [description.dataset_input()])
        return run_id

    @retry
    def start_group(self, name: str, *, experiment: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Start a run that groups others, such as a sweep's, or continue the one with these tags; return its ID."""
        found = self.find(experiment=experiment, tags=tags)
        run_id = found or self._create(name, experiment, {**tags, GROUP: "true"})
        self._log(run_id, params=params)
        return run_id

    @retry
    def record(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of an epoch, counted from 1, unless they are recorded already.

        A run that has ended is running again.
        """
        recorded = self._recorded_epochs.pop(run_id, None)  # read again if this call fails
        if recorded is None:
            recorded = {point.step for point in self._client.get_metric_history(run_id, EPOCHS)}
            self._reopen(run_id)
        if epoch not in recorded:
            self._log(run_id, metrics={**metrics, EPOCHS: epoch}, step=epoch)
        self._recorded_epochs[run_id] = recorded | {epoch}

    @retry
    def finish(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        status: Literal["finished", "failed", "killed"] = "finished",
        reason: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """End a run.

        Args:
            run_id: The run.
            metrics: Its final metrics.
            status: How it ended.
            reason: Why it failed or was killed.
            tags: Further tags.
        """
        self._log(run_id, metrics=metrics, tags={**(tags or {}), **({REASON: reason} if reason else {})})
        self._client.set_terminated(run_id, status=status.upper())
        self._recorded_epochs.pop(run_id, None)

    @contextmanager
    def mark_failure(self, run_id: str) -> Iterator[None]:
        """Mark a run as failed or killed if an exception leaves the context."""
        try:
            yield
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt)
            reason = "interrupted" if killed else f"{type(error).__name__}: {first_line(error)}"
            self.retry_timeout.cancel()
            with suppress(StoreError):  # the first error is the one to report
                self.finish(run_id, status="killed" if killed else "failed", reason=reason)
            raise

    @retry
    def find(self, *, experiment: str, tags: Mapping[str, str]) -> str | None:
        """Return the ID of a run of an experiment with all of these tags, or None."""
        found = self._client.get_experiment_by_name(experiment)
        if found is None or not tags:
            return None
        runs = self._client.search_runs([found.experiment_id], filter_string(tags), max_results=1)
        return str(runs[0].info.run_id) if runs else None

    @retry
    def log_model(
        self,
        run_id: str,
        model: Any,
        example: np.ndarray,
        *,
        description: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save a network in a run, for `mlflow.pyfunc` and `mlflow.tensorflow`.

        Args:
            run_id: The run; the model's URI is `runs:/RUN_ID/model`.
            model: The Keras model.
            example: A few images.
            description: What turns its outputs into answers, see `save_mlflow_model`.
            metadata: More JSON-compatible values to save with it, such as how the images were read.
        """
        run = self._client.get_run(run_id)
        facts = describe_run(run_id, run.info.run_name, run.info.start_time, run.data.params, run.data.tags)
        logged = self._client.create_logged_model(
            run.info.experiment_id, name=MODEL, source_run_id=run_id, params=run.data.params
        )
        where, model_id = logged.artifact_location, logged.model_id
        mlflow_model = Model(where, run_id, model_uuid=model_id, model_id=model_id, metadata=dict(metadata or {}))
        with tempfile.TemporaryDirectory() as folder, quiet_logging():
            path = Path(folder, MODEL)
            save_mlflow_model(path, model, mlflow_model, example, {"run": facts, **description})
            self._client.log_model_artifacts(model_id, str(path))
        self._client.finalize_logged_model(model_id, entities.LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [entities.LoggedModelOutput(model_id, step=0)])

    @retry
    def logged_model(self, run_id: str) -> entities.LoggedModel:
        """Return the newest model of a run.

        Raises:
            StoreError: The run has no model.
        """
        run = self._client.get_run(run_id)
        outputs = run.outputs.model_outputs if run.outputs else []
        if not outputs:
            raise StoreError(
                f"run {run_id} in {self.location} has no saved network: only finished runs of `keras-cnns train` and "
                f"the best trial of a sweep have one."
            )
        models = [self._client.get_logged_model(output.model_id) for output in outputs]
        return max(models, key=lambda model: model.creation_timestamp)

    @retry
    def fetch_network(self, run_id: str, folder: Path) -> StoredNetwork:
        """Return the saved network of a run, downloaded to a folder if the store is a server.

        Raises:
            StoreError: The run has no saved network.
        """
        files = self._files(self.logged_model(run_id).artifact_location)
        mlflow_model, network = (download(files, name, folder) for name in ("MLmodel", NETWORK))
        return StoredNetwork(file=network, metadata=Model.load(str(mlflow_model)).metadata or {})

    def _log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        """Add metrics, parameters and tags to a run, finished or not; metrics without an epoch have step 0."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[entities.Metric(name, float(value), now, step) for name, value in (metrics or {}).items()],
            params=[entities.Param(name, str(value)) for name, value in (params or {}).items()],
            tags=[entities.RunTag(name, value) for name, value in (tags or {}).items()],
        )

    log = retry(_log)

    @retry
    def log_files(self, run_id: str, *paths: str | Path, into: str = "") -> str:
        """Save files or folders in a run, and return their path or, on a server, their URI.

        Args:
            run_id: The run.
            *paths: The files and folders.
            into: The destination folder among the run's files.
        """
        files = self._files(self._client.get_run(run_id).info.artifact_uri)
        for path in map(Path, paths):
            if path.is_dir():
                files.log_artifacts(str(path), str(Path(into, path.name)))
            else:
                files.log_artifact(str(path), into or None)
        return f"{getattr(files, 'artifact_dir', files.artifact_uri)}/{into}".rstrip("/")

    def read_file(self, run_id: str, path: str) -> str | None:
        """Return the text of a file of a run, or None if it does not exist."""
        return None if (content := self.read_bytes(run_id, path)) is None else content.decode()

    @retry
    def read_bytes(self, run_id: str, path: str) -> bytes | None:
        """Return the content of a file of a run, given its path among the run's files, or None if it does not exist."""
        if path not in self.list_files(run_id, str(Path(path).parent)):
            return None
        files = self._files(self._client.get_run(run_id).info.artifact_uri)
        with tempfile.TemporaryDirectory() as folder:
            return download(files, path, Path(folder)).read_bytes()

    @retry
    def list_files(self, run_id: str, folder: str) -> list[str]:
        """Return the paths of the files and folders in a folder of a run; none if it does not exist."""
        files = self._files(self._client.get_run(run_id).info.artifact_uri)
        return sorted(entry.path for entry in files.list_artifacts(folder))

    @retry
    def count_test_set_evaluation(self, run_id: str, fingerprint: str) -> EvaluationCounts:
        """Record an evaluation of a run on the test set with this fingerprint, and return the counts so far.

        Each evaluation is a point in the history of a metric, with the time in seconds as its value, so evaluations
        by concurrent processes are all counted.
        """
        name = f"{TEST_SET_EVALUATIONS}{fingerprint}"
        self._log(run_id, metrics={name: time.time()})
        experiments = [experiment.experiment_id for experiment in self._experiments(entities.ViewType.ALL)]
        runs = self._search_mlflow(experiments, f"metrics.`{name}` > 0", entities.ViewType.ALL)
        counts = {run.info.run_id: len(self._client.get_metric_history(run.info.run_id, name)) for run in runs}
        return EvaluationCounts(by_run=counts[run_id], total=sum(counts.values()), runs=len(counts))

    @retry
    def run(self, reference: str) -> Run:
        """Return a run.

        Args:
            reference: Its ID, the beginning of its ID, or a name that no other run has.

        Raises:
            StoreError: No run or more than one run matches.
        """
        return select_run(reference, self.runs(), self.location)

    @retry
    def runs(self, *, experiment: str | None = None, parent: str | None = None) -> list[Run]:
        """Return runs, newest first, without the runs that group others.

        Args:
            experiment: Return only the runs of this experiment.
            parent: Return only the runs of the sweep with this run.

        Raises:
            StoreError: The experiment does not exist.
        """
        experiments = {known.name: known for known in self._experiments()}
        if experiment is not None and experiment not in experiments:
            names = ", ".join(repr(name) for name in experiments)
            raise StoreError(
                f"no experiment {experiment!r} in {self.location}; it has {names}.{nearest(experiment, experiments)}"
            )
        selected = experiments.values() if experiment is None else [experiments[experiment]]
        return self._search(selected, {PARENT: parent} if parent else {})

    @retry
    def reusable_runs(self, fingerprint: str) -> list[Run]:
        """Return the finished runs of the same software on a dataset, except those that were stopped early."""
        versions = {name: value for name, value in self._provenance.items() if name in SAME_VERSIONS}
        runs = self._search(self._experiments(), {FINGERPRINT: fingerprint, **versions}, finished=True)
        return [run for run in runs if "stopped_early" not in run.tags]

    @retry
    def params(self, run_id: str) -> dict[str, str]:
        """Return the parameters of a run, which may be one that groups others, such as a sweep's."""
        return dict(self._client.get_run(run_id).data.params)

    @retry
    def curves(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Return the epochs and values of each metric of a run that was recorded by epoch."""
        curves: dict[str, list[tuple[int, float]]] = {}
        for name in self._client.get_run(run_id).data.metrics:
            history = self._client.get_metric_history(run_id, name)
            curve = sorted((point.step, point.value) for point in history if point.step > 0)
            if curve and name != EPOCHS:
                curves[name] = curve
        return curves

    @retry
    def experiments(self) -> list[str]:
        """Return the names of all experiments."""
        return [experiment.name for experiment in self._experiments()]

    @retry
    def _connect(self) -> MlflowClient:
        with quiet_logging():
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            client.search_experiments(max_results=1)
        return client

    @cached_property
    def _provenance(self) -> dict[str, str]:
        return provenance()

    def _create(self, name: str, experiment: str, tags: Mapping[str, str]) -> str:
        experiment_id = self._experiment_id(experiment)
        if PARENT not in tags and (active := find_active_run(self.uri)):
            tags = {**tags, PARENT: active}
        run = self._client.create_run(experiment_id, tags={**self._provenance, **tags}, run_name=name)
        self._recorded_epochs[run.info.run_id] = set()
        return str(run.info.run_id)

    def _search(
        self, experiments: Iterable[entities.Experiment], tags: Mapping[str, str], *, finished: bool = False
    ) -> list[Run]:
        names = {known.experiment_id: known.name for known in experiments}
        if self._database is not None:
            runs = read_runs(self._database, names, tags, finished=finished)
        else:
            found = self._search_mlflow(list(names), filter_string(tags, finished=finished))
            runs = (from_mlflow(run, names[run.info.experiment_id]) for run in found)
        return [run for run in runs if GROUP not in run.tags]

    def _search_mlflow(
        self, experiments: list[str], query: str, view: int = entities.ViewType.ACTIVE_ONLY
    ) -> Iterator[Any]:
        search = self._client.search_runs
        return all_pages(lambda token: search(experiments, query, view, max_results=PAGE, page_token=token))

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = artifact_folder(self._database).as_uri() if self._database else None
            with suppress(MlflowException):  # another process may create it at the same time
                self._client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
            found = self._client.get_experiment_by_name(name)
        if found is None:
            raise StoreError(f"cannot create an experiment called {name!r} in {self.location}; try a simpler name.")
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"experiment {name!r} in {self.location} was deleted: choose another name, or restore it with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`."
            )
        return str(found.experiment_id)

    def _reopen(self, run_id: str) -> None:
        run = self._client.get_run(run_id)
        if run.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
            if REASON in run.data.tags:
                self._client.delete_tag(run_id, REASON)

    def _files(self, uri: str) -> Any:
        return get_artifact_repository(current_artifact_uri(uri, self._database), tracking_uri=self.uri)

    def _experiments(self, view: int = entities.ViewType.ACTIVE_ONLY) -> list[entities.Experiment]:
        search = self._client.search_experiments
        return list(all_pages(lambda token: search(view, max_results=PAGE, page_token=token)))
