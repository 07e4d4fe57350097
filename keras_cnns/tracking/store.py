"""The store: runs written to MLflow and read back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlflow.entities import Experiment, LoggedModelOutput, LoggedModelStatus, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from keras_cnns.errors import StoreError, nearest
from keras_cnns.tracking.database import read_entries
from keras_cnns.tracking.entries import LOOKED_AT, PARENT, REASON, entry_of, having, points, read, tagged, written
from keras_cnns.tracking.location import (
    artifact_folder,
    check_server,
    find_place,
    prepare_database,
    present_place,
    quiet,
)
from keras_cnns.tracking.retry import Patience, retry
from keras_cnns.tracking.runs import KeptNetwork, Looks, Run, RunDescription, chosen, installed_version, provenance
from keras_cnns.version import __version__

if TYPE_CHECKING:
    import numpy as np

GROUP = "keras_cnns.group"
EPOCHS = "epochs"
MODEL = "model"
OF_TRAININGS = {"mlflow.experimentKind": "custom_model_development"}  # its pages show metrics, not conversations
NETWORK = "data/model.keras"
CLASS_NAMES = "class_names"
PAGE = 1000
FINGERPRINT = "data.fingerprint"
SAME_VERSIONS = ("versions.tensorflow", "versions.keras", "versions.keras_cnns")


class Store:
    """Runs in MLflow, without its global state.

    Args:
        uri: `sqlite:///PATH.db` or a server's address; by default MLflow's environment variable, else `mlflow.db`
            in the working directory. Files go to `mlartifacts` beside a database.
        create: Make a database that is not there.
        patience: Seconds that each thing is tried again for, where a server is away, a database locked or a disk full.

    Attributes:
        uri: The store's URI, written out.
        patience: What waits, and can be told to wait no longer.

    Raises:
        StoreError: The place cannot be used.
    """

    def __init__(self, uri: str | None = None, *, create: bool = True, patience: float = 0.0) -> None:
        self.patience = Patience(patience)
        self.uri, self._database = find_place(uri)
        if self._database is None:
            check_server(self.uri)
        else:
            prepare_database(self._database, create=create)
        self._recorded: dict[str, set[int]] = {}
        self._client = self._connect()

    def forget(self) -> None:
        """Know no more which epochs are recorded; they are read again where that matters."""
        self._recorded.clear()

    @property
    def location(self) -> str:
        """What to call the store: its database file, or the server's address."""
        return str(self._database or self.uri)

    @retry
    def start(self, description: RunDescription, *, experiment: str, parent: str | None = None) -> str:
        """Begin a run and return its id; one that the description's own tags name is gone on with.

        Args:
            description: What is known of it.
            experiment: Name of its experiment, made where there is none.
            parent: Id of the sweep's run that it belongs to.
        """
        tags = description.all_tags() | ({PARENT: parent} if parent else {})
        run_id = self.find(experiment=experiment, tags=description.tags)
        if run_id is None:
            run_id = self._create(description.name, experiment, tags)
            self._recorded[run_id] = set()
        self._client.log_batch(
            run_id, metrics=points(description.metrics(), step=0), params=written(description.params())
        )
        self._client.log_inputs(run_id, [description.images()])
        return run_id

    @retry
    def start_group(self, name: str, *, experiment: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Begin a run that only holds others together, as a sweep's does, and return its id.

        One that has these tags is gone on with.
        """
        found = self.find(experiment=experiment, tags=tags)
        run_id = found or self._create(name, experiment, {**tags, GROUP: "true"})
        self._client.log_batch(run_id, params=written(params))
        return run_id

    @retry
    def record(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add an epoch, counted from 1, to a run's curves, unless it is there already.

        A run that had ended goes on.
        """
        if run_id not in self._recorded:
            history = self._client.get_metric_history(run_id, EPOCHS)
            self._recorded[run_id] = {point.step for point in history}
            self._reopen(run_id)
        if epoch in self._recorded[run_id]:
            return
        self._client.log_batch(run_id, metrics=points({**metrics, EPOCHS: float(epoch)}, step=epoch))
        self._recorded[run_id].add(epoch)

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
        """Close a run.

        Args:
            run_id: The run.
            metrics: What it reached, beside the curves.
            status: How it ended.
            reason: Why, if it failed or was killed.
            tags: Further tags.
        """
        all_tags = {**(tags or {}), **({REASON: reason} if reason else {})}
        if metrics or all_tags:
            self._client.log_batch(run_id, metrics=points(metrics or {}, step=0), tags=tagged(all_tags))
        self._client.set_terminated(run_id, status=status.upper())
        self._recorded.pop(run_id, None)

    @retry
    def find(self, *, experiment: str, tags: Mapping[str, str]) -> str | None:
        """Return the id of a run of an experiment that has all these tags, or None."""
        found = self._client.get_experiment_by_name(experiment)
        if found is None or not tags:
            return None
        runs = self._client.search_runs([found.experiment_id], having(tags), max_results=1)
        return str(runs[0].info.run_id) if runs else None

    @retry
    def log_model(self, run_id: str, model: Any, example: np.ndarray, *, class_names: Sequence[str] = ()) -> None:
        """Keep a Keras model with a run, to be loaded by `mlflow.pyfunc` or `mlflow.tensorflow`.

        Args:
            run_id: The run; the model is `runs:/RUN_ID/model`.
            model: The model.
            example: A few inputs, which give the model its signature, in the model's own type.
            class_names: What its outputs stand for; they are in the model's metadata.
        """
        import mlflow.tensorflow  # noqa: PLC0415 - imports TensorFlow

        example = example.astype(model.inputs[0].dtype)
        signature = infer_signature(example, model.predict(example, verbose=0))
        requirements = [f"{name}=={installed_version(name)}" for name in ("tensorflow", "keras")]
        run = self._client.get_run(run_id)
        logged = self._client.create_logged_model(
            run.info.experiment_id, name=MODEL, source_run_id=run_id, params=run.data.params
        )
        described = Model(
            artifact_path=logged.artifact_location,
            run_id=run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            metadata={CLASS_NAMES: list(class_names)},
        )
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = str(Path(folder, MODEL))
            mlflow.tensorflow.save_model(
                model,
                path,
                mlflow_model=described,
                signature=signature,
                input_example=example,
                pip_requirements=[*requirements, f"keras-cnns=={__version__}"],
            )
            self._client.log_model_artifacts(logged.model_id, path)
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])

    @retry
    def fetch_network(self, run_id: str, folder: Path) -> KeptNetwork:
        """Return the network that a run has kept, brought into a folder if it is on a server.

        Raises:
            StoreError: It has kept none.
        """
        run = self._client.get_run(run_id)
        outputs = run.outputs.model_outputs if run.outputs else []
        if not outputs:
            raise StoreError(
                f"run {run_id} in {self.location} has kept no network: those that `keras-cnns train` has finished have "
                f"one, and the best trial of a sweep."
            )
        models = [self._client.get_logged_model(output.model_id) for output in outputs]
        newest = max(models, key=lambda model: model.creation_timestamp)
        files = self._files(newest.artifact_location)
        here = None if hasattr(files, "artifact_dir") else str(folder)
        described, network = (files.download_artifacts(name, here) for name in ("MLmodel", NETWORK))
        metadata = Model.load(described).metadata or {}
        return KeptNetwork(file=Path(network), class_names=tuple(metadata.get(CLASS_NAMES, ())))

    @retry
    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to a run, finished or not, beside its curves."""
        self._client.log_batch(run_id, metrics=points(metrics, step=0))

    @retry
    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run, finished or not."""
        self._client.log_batch(run_id, tags=tagged(tags))

    @retry
    def log_files(self, run_id: str, *paths: str | Path, into: str = "") -> str:
        """Keep files or whole folders with a run, and return where they are: a path, or a server's URI.

        Args:
            run_id: The run.
            *paths: The files and folders.
            into: The folder, among the run's files, that they go into.
        """
        files = self._files(self._client.get_run(run_id).info.artifact_uri)
        for path in map(Path, paths):
            if path.is_dir():
                files.log_artifacts(str(path), str(Path(into, path.name)))
            else:
                files.log_artifact(str(path), into or None)
        place = getattr(files, "artifact_dir", files.artifact_uri)
        return f"{place}/{into}".rstrip("/")

    @retry
    def read_file(self, run_id: str, path: str) -> str | None:
        """Return the text of a file that is kept with a run; None where there is none.

        Args:
            run_id: The run.
            path: Where the file is among the run's files.
        """
        files = self._files(self._client.get_run(run_id).info.artifact_uri)
        if path not in {entry.path for entry in files.list_artifacts(str(Path(path).parent))}:
            return None
        with tempfile.TemporaryDirectory() as folder:
            here = None if hasattr(files, "artifact_dir") else folder
            return Path(files.download_artifacts(path, here)).read_text("utf-8")

    @retry
    def look(self, run_id: str, fingerprint: str) -> Looks:
        """Count a look of a run at a test split, and return how many there were.

        Each look is a point of its own in the history of a metric, its value the time in seconds, so that looks of
        several processes at once are all counted.

        Args:
            run_id: The run.
            fingerprint: What tells the split's images from all others.
        """
        name = f"{LOOKED_AT}{fingerprint}"
        self._client.log_batch(run_id, metrics=points({name: time.time()}, step=0))
        experiments = [experiment.experiment_id for experiment in self._experiments(ViewType.ALL)]
        query = f"metrics.`{name}` > 0"
        looking = self._pages(
            lambda token: self._client.search_runs(experiments, query, ViewType.ALL, max_results=PAGE, page_token=token)
        )
        counts = {run.info.run_id: len(self._client.get_metric_history(run.info.run_id, name)) for run in looking}
        return Looks(by_run=counts[run_id], by_all=sum(counts.values()), runs=len(counts))

    @retry
    def run(self, reference: str) -> Run:
        """Return the run that a person means.

        Args:
            reference: Its id, the beginning of it, or a name that no other run has.

        Raises:
            StoreError: There is none, or more than one.
        """
        return chosen(reference, self.runs(), self.location)

    @retry
    def runs(self, *, experiment: str | None = None, parent: str | None = None) -> list[Run]:
        """Return runs, newest first, without the groups that hold them together.

        Args:
            experiment: Only those of this experiment.
            parent: Only those of the sweep with this run.

        Raises:
            StoreError: There is no such experiment.
        """
        experiments = {known.name: known for known in self._experiments()}
        if experiment is not None and experiment not in experiments:
            names = ", ".join(repr(name) for name in experiments)
            raise StoreError(
                f"no experiment {experiment!r} in {self.location}; it has {names}.{nearest(experiment, experiments)}"
            )
        chosen = experiments.values() if experiment is None else [experiments[experiment]]
        return self._search(chosen, {PARENT: parent} if parent else {})

    @retry
    def done_before(self, fingerprint: str) -> list[Run]:
        """Return the finished runs on the same images that these versions made and no scheduler stopped early.

        Args:
            fingerprint: What tells the images from all others.
        """
        versions = {name: value for name, value in self._provenance.items() if name in SAME_VERSIONS}
        found = self._search(self._experiments(), {FINGERPRINT: fingerprint, **versions}, finished=True)
        return [run for run in found if "stopped_early" not in run.tags]

    @retry
    def curves(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Return each metric of a run that was recorded by epoch, as epochs and values."""
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
        with quiet():
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            client.search_experiments(max_results=1)
        return client

    @cached_property
    def _provenance(self) -> dict[str, str]:
        return provenance()

    def _create(self, name: str, experiment: str, tags: Mapping[str, str]) -> str:
        experiment_id = self._experiment_id(experiment)
        run = self._client.create_run(experiment_id, tags={**self._provenance, **tags}, run_name=name)
        return str(run.info.run_id)

    def _search(
        self, experiments: Iterable[Experiment], tags: Mapping[str, str], *, finished: bool = False
    ) -> list[Run]:
        names = {known.experiment_id: known.name for known in experiments}
        if self._database is not None:
            entries = read_entries(self._database, list(names), tags, finished=finished)
        else:
            query = having(tags, finished=finished)
            pages = self._pages(
                lambda token: self._client.search_runs(list(names), query, max_results=PAGE, page_token=token)
            )
            entries = map(entry_of, pages)
        return [read(entry, names[entry.experiment]) for entry in entries if GROUP not in entry.tags]

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = artifact_folder(self._database).as_uri() if self._database else None
            # Another process may make it at this moment.
            with suppress(MlflowException):
                return str(self._client.create_experiment(name, artifact_location=location, tags=OF_TRAININGS))
            found = self._client.get_experiment_by_name(name)
        if found is None:
            raise StoreError(f"cannot make an experiment called {name!r} in {self.location}; try a plain name.")
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"experiment {name!r} in {self.location} was deleted: choose another name, or bring it back with "
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
        return get_artifact_repository(present_place(uri, self._database), tracking_uri=self.uri)

    def _experiments(self, view: int = ViewType.ACTIVE_ONLY) -> list[Experiment]:
        return list(
            self._pages(lambda token: self._client.search_experiments(view, max_results=PAGE, page_token=token))
        )

    @staticmethod
    def _pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
        page = fetch(None)
        yield from page
        while page.token:
            page = fetch(page.token)
            yield from page
