"""A training as a run: kept in a folder, recorded in MLflow, resumable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from filelock import FileLock

from keras_cnns.data import Dataset, load
from keras_cnns.data.splits import SPLIT_TABLE, split_table
from keras_cnns.errors import DataError
from keras_cnns.evaluation import scores
from keras_cnns.evaluation.calibration import settled_by_validation
from keras_cnns.evaluation.network import probabilities
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import find_variant, network_settings
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.retry import PATIENCE
from keras_cnns.training.callbacks import ProgressCallback
from keras_cnns.training.checkpoints import write_text
from keras_cnns.training.devices import strategy, worker
from keras_cnns.training.fit import Fitted, fit
from keras_cnns.training.job import Job, measure
from keras_cnns.training.presets import preset
from keras_cnns.training.run_directory import FINISHED, claim_new, claim_unfinished, join_first_worker

JOB = "job.json"
EXAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A finished training.

    Attributes:
        run_id: The run in MLflow.
        folder: Where its checkpoints are.
        costs: What the network costs.
        fitted: Metrics and the best network.
        settled: The `threshold` of two classes and the `temperature` that the validation images give the best network.
        test: `test_loss`, `test_accuracy` and `test_auc` where the test split was asked for.
    """

    run_id: str
    folder: Path
    costs: Counts
    fitted: Fitted
    settled: Mapping[str, float]
    test: Mapping[str, float]

    @property
    def best_model(self) -> keras.Model:
        """The network of the best epoch, which takes pixels of 0 to 255."""
        return keras.saving.load_model(self.fitted.best_model, compile=False)


def train(
    model: str,
    data: str | Dataset = "digits",
    *,
    settings: Mapping[str, object] | None = None,
    recipe: Recipe | str = "plain",
    seed: int = 0,
    resume: bool = False,
    test: bool = False,
    experiment: str = "train",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress_callback: ProgressCallback | None = None,
) -> TrainedRun:
    """Train a network on images and record the run in MLflow.

    Args:
        model: A variant's name, one of `list_models()`.
        data: A source that `load` reads, or images already loaded.
        settings: Free choices of the model's family that differ from the variant's.
        recipe: How to train: a `Recipe`, or the name of one, "plain", "modern" or "paper".
        seed: Seed of first weights, order of images and dropout.
        resume: Go on with the newest unfinished training of the same arguments, from its last whole epoch.
        test: Measure the best network on the test split too, once, at the end.
        experiment: MLflow experiment that the run belongs to.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        folder: Where trainings keep their checkpoints.
        progress_callback: Told of every step and epoch.

    Raises:
        KerasCnnsError: Model, settings, recipe, data or store are not usable, each in a subclass.
    """
    strategy()  # has to be made before anything is computed
    if isinstance(recipe, str):
        recipe = preset(recipe, find_variant(model)[0].name)
    job = Job(model=model, settings=network_settings(model, settings or {}), recipe=recipe, seed=seed)
    dataset = load(data) if isinstance(data, str) else data
    training = dataset.training
    if test and "test" not in dataset.splits:
        raise DataError(f"{dataset.name} has no test split to measure on; leave out the test, or give one.")
    costs = measure(job, dataset)
    store = Store(tracking_uri, patience=PATIENCE)
    identity = {**job.describe(), "data": dataset.fingerprint, "store": store.uri}
    if worker() > 0:
        place, record = join_first_worker(Path(folder), JOB, identity)
        fitted = fit(job, dataset, place, progress_callback=progress_callback)
        return TrainedRun(run_id=record["run_id"], folder=place, costs=costs, fitted=fitted, settled={}, test={})
    place, lock, record = claim(Path(folder), identity, resume=resume)
    with lock:
        begun = description(job, dataset, costs, place.name)
        run_id = record.get("run_id") or store.start(begun, experiment=experiment)
        write_text(place / JOB, json.dumps({**identity, "run_id": run_id}, indent=2))
        write_text(place / SPLIT_TABLE, split_table(dataset))
        store.log_files(run_id, place / SPLIT_TABLE)
        recorder = Recorder(store, run_id, progress_callback)
        try:
            fitted = fit(job, dataset, place, progress_callback=recorder)
            network = keras.saving.load_model(fitted.best_model, compile=False)
            settled = settle(network, dataset)
            measured = measure_test(network, dataset, settled.get("threshold"), store, run_id) if test else {}
            store.log_model(run_id, network, training.images[:EXAMPLES], class_names=dataset.class_names)
            store.finish(run_id, metrics={**fitted.kept, **settled, **measured})
        except KeyboardInterrupt:
            store.patience.end()
            store.finish(run_id, status="killed", reason="interrupted")
            raise
        except Exception as error:
            store.finish(run_id, status="failed", reason=f"{type(error).__name__}: {error}")
            raise
        write_text(place / FINISHED, run_id)
    return TrainedRun(run_id=run_id, folder=place, costs=costs, fitted=fitted, settled=settled, test=measured)


class Recorder:
    """Writes each epoch to MLflow on its way to the observer."""

    def __init__(self, store: Store, run_id: str, progress_callback: ProgressCallback | None) -> None:
        self.store = store
        self.run_id = run_id
        self.progress_callback = progress_callback

    def step(self, done: int, total: int) -> None:
        """Pass on."""
        if self.progress_callback is not None:
            self.progress_callback.step(done, total)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Record, then pass on."""
        self.store.record(self.run_id, number, metrics)
        if self.progress_callback is not None:
            self.progress_callback.epoch(number, metrics)


def claim(folder: Path, identity: Mapping[str, Any], *, resume: bool) -> tuple[Path, FileLock, dict[str, Any]]:
    """Return a training's folder, the lock that keeps other processes out, and what is known of its run."""
    if not resume:
        return *claim_new(folder, identity["model"]), {}
    wanted = f"training of {identity['model']} with these settings, recipe, seed and data"
    return claim_unfinished(folder, JOB, identity, wanted=wanted)


def description(job: Job, dataset: Dataset, costs: Counts, folder: str) -> RunDescription:
    """Say what is known of a run before it trains."""
    return RunDescription(
        name=job.model,
        model=job.model,
        family=job.family,
        settings=job.settings.to_strings(),
        recipe=job.recipe.to_strings(),
        seed=job.seed,
        data_name=dataset.name,
        data_fingerprint=dataset.fingerprint,
        parameters=costs.total_parameters,
        trainable_parameters=costs.trainable_parameters,
        macs=costs.macs,
        tags={"folder": folder},
    )


def settle(network: keras.Model, dataset: Dataset) -> dict[str, float]:
    """Return the threshold and the temperature that the validation images give a network, each where there is one."""
    validation = dataset.splits["validation"]
    return settled_by_validation(validation.labels, probabilities(network, validation.images))


def measure_test(
    network: keras.Model, dataset: Dataset, threshold: float | None, store: Store, run_id: str
) -> dict[str, float]:
    """Measure a network on the test split, which counts as a look at it."""
    split = dataset.splits["test"]
    store.look(run_id, split.fingerprint)
    measured = scores(split.labels, probabilities(network, split.images), threshold=threshold)
    return {f"test_{name}": value for name, value in measured.items()}
