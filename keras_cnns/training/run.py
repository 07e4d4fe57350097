"""Training as a run: saved in a folder, tracked in MLflow, and resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import keras
import numpy as np

from keras_cnns.atomic import write_text
from keras_cnns.data import Dataset, load
from keras_cnns.display.curves import draw_learning_curves
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.errors import DataError, SettingError
from keras_cnns.evaluation.metrics import compute_scores
from keras_cnns.evaluation.operating_point import fit_operating_point
from keras_cnns.evaluation.run_network import (
    is_multi_label,
    normalize,
    predict_probabilities,
    predict_with_features,
)
from keras_cnns.evaluation.validation import VALIDATION_CASES, describe_validation
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.features import with_feature_summary
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import find_variant, network_settings
from keras_cnns.pretrained.runs import find_any_weights
from keras_cnns.pretrained.starting_weights import StartingWeights, check_weights
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.retry import RETRY_SECONDS
from keras_cnns.tracking.stores import run_url
from keras_cnns.training.devices import cluster, describe_hardware, strategy
from keras_cnns.training.fit import Fitted, fit
from keras_cnns.training.job import Job, count_costs
from keras_cnns.training.logged_data import hide_patients, log_network, log_splits, log_text
from keras_cnns.training.presets import get_recipe
from keras_cnns.training.reference import log_detector, log_training_images
from keras_cnns.training.run_directory import FINISHED, create_directory, find_unfinished, wait_for_first_worker
from keras_cnns.units import format_seconds

JOB = "job.json"


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainedRun(Summarized):
    """A finished training run.

    Attributes:
        model: The name of the network.
        data: The name of the dataset.
        store: The URI of the MLflow store.
        run_id: The ID of the MLflow run.
        folder: The folder of its checkpoints.
        costs: The cost of the network.
        fitted: The metrics and the best network.
        operating_point: The decision `threshold` for two classes and the `temperature` of the best network, fitted on
            the validation images.
        test: `test_loss`, `test_accuracy` and `test_auc` if the network was evaluated on the test set.
        weights: The weights that training began with; None: random ones.
    """

    model: str
    data: str
    store: str
    run_id: str
    folder: Path
    costs: Counts
    fitted: Fitted
    operating_point: Mapping[str, float]
    test: Mapping[str, float]
    weights: StartingWeights | None = None

    @property
    def best_model(self) -> keras.Model:
        """The network of the best epoch, for pixel values from 0 to 255."""
        return keras.saving.load_model(self.fitted.best_model, compile=False)

    @property
    def url(self) -> str:
        """The address of the run's page on an MLflow server; "" if the store is a file."""
        return run_url(self.store, self.run_id)

    def summary(self) -> Summary:
        """Return the metrics of the best epoch, the costs and the learning curves."""
        best, history = self.fitted.metrics, self.fitted.history
        rows = [
            (name.removeprefix(prefix), split, f"{value:.4f}")
            for split, prefix, metrics in (("validation", "best_val_", best), ("test", "test_", self.test))
            for name, value in metrics.items()
            if name.startswith(prefix)
        ]
        point = [f"{name} {value:.4f}" for name, value in self.operating_point.items()]
        costs = f"{self.costs.total_parameters:,} parameters, {self.costs.macs:,} MACs"
        return Summary(
            title=f"{self.model} trained on {self.data}",
            facts=[
                ("run", self.run_id),
                ("network", costs),
                ("weights", f"of epoch {best['best_epoch']:.0f} of {len(history)}"),
                ("training", format_seconds(best["seconds"])),
                *([("decision", ", ".join(point))] if point else []),
            ],
            tables=[SummaryTable(columns=("metric", "split", "value"), rows=rows, text_columns=2)] if rows else (),
            figure=draw_learning_curves(history),
            addresses=[
                ("folder", str(self.folder)),
                ("file", str(self.fitted.best_model)),
                ("MLflow", self.url),
            ],
        )


@shows_progress
def train(
    model: str,
    data: str | Dataset = "digits",
    *,
    settings: Mapping[str, object] | None = None,
    recipe: Recipe | str = "plain",
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    resume: bool = False,
    test: bool = False,
    experiment: str = "train",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress: bool | Progress = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainedRun:
    """Train a network on images and track the run in MLflow.

    `cross_validate` trains and evaluates a network for each of several folds instead.

    Args:
        model: The name of a variant, one of `list_models()`, or of a baseline, as for `build`.
        data: A source for `load`, or a dataset.
        settings: Settings of the model's family that differ from the variant's.
        recipe: A `Recipe`, or the name of one: "plain", "modern" or "paper"; with `weights` also "finetune", or
            "probe", which fits only the classifier.
        weights: The weights to begin with, as for `build`; None: random ones. How images were standardized for them
            takes the place of the recipe's standardization.
        seed: Seed of the weight initialization, the order of the images, augmentation and dropout.
        resume: Resume the newest unfinished training with the same arguments from its last checkpoint.
        test: Evaluate the best network on the test set at the end.
        experiment: MLflow experiment of the run.
        tracking_uri: The store of the run; by default MLflow's environment variable, else `./mlflow.db`.
        folder: The folder for the checkpoints of all trainings.
        progress: Whether to show progress, or what receives it.
        callbacks: Callbacks of Keras, such as `keras.callbacks.TensorBoard` or those of W&B. Their logs of an epoch
            contain the validation metrics. They are not restored when a training is resumed.

    Raises:
        KerasCnnsError: The model, settings, recipe, data or store are not valid, each in a subclass.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    strategy()
    dataset = resolve_dataset(data)
    job = make_job(model, settings, recipe, seed, dataset, weights, tracking_uri)
    if test and "test" not in dataset.splits:
        raise DataError(f"{dataset.name} has no test split to evaluate on; add one, or do not ask for it (test).")
    costs = count_costs(job, dataset)
    store = Store(tracking_uri, retry_timeout=RETRY_SECONDS)
    identity = {**job.describe(), "data": dataset.fingerprint, "store": store.uri}
    progress.begin_training(job.recipe.recorded_epochs)
    if cluster().worker > 0:
        directory, record = wait_for_first_worker(Path(folder), JOB, identity)
        fitted = fit(job, dataset, directory, progress_callbacks=[progress], callbacks=callbacks)
        return TrainedRun(
            model=model,
            data=dataset.name,
            store=store.uri,
            run_id=record["run_id"],
            folder=directory,
            costs=costs,
            fitted=fitted,
            operating_point={},
            test={},
        )
    if resume:
        wanted = f"training of {model} with these settings, recipe, seed and data"
        directory, lock, record = find_unfinished(Path(folder), JOB, identity, description=wanted)
    else:
        directory, lock = create_directory(Path(folder), model)
        record = {}
    with lock:
        description = describe_run(job, dataset, costs, directory.name)
        run_id = record.get("run_id") or store.start(description, experiment=experiment)
        write_text(directory / JOB, json.dumps({**identity, "run_id": run_id}, indent=2))
        log_splits(dataset, directory, store, run_id)
        with store.mark_failure(run_id):
            receivers = (TrackingCallback(store, run_id), progress)
            fitted = fit(job, dataset, directory, progress_callbacks=receivers, callbacks=callbacks)
            progress.message("predicting the validation images and saving the network")
            network = keras.saving.load_model(fitted.best_model, compile=False)
            operating_point = log_validation(network, dataset, store, run_id)
            results = evaluate_test(network, dataset, operating_point.get("threshold"), store, run_id) if test else {}
            log_network(network, dataset, store, run_id, operating_point)
            store.finish(run_id, metrics={**fitted.metrics, **operating_point, **results}, tags=describe_hardware())
        write_text(directory / FINISHED, run_id)
    return TrainedRun(
        model=model, data=dataset.name, store=store.uri, run_id=run_id, folder=directory, costs=costs, fitted=fitted,
        operating_point=operating_point, test=results, weights=job.weights,
    )  # fmt: skip


def make_job(
    model: str,
    settings: Mapping[str, object] | None,
    recipe: Recipe | str,
    seed: int,
    dataset: Dataset,
    weights: str | os.PathLike[str] | None,
    tracking_uri: str | None,
) -> Job:
    """Return the job that the arguments of `train` describe.

    Raises:
        KerasCnnsError: The model, settings, recipe, seed or weights are not valid, each in a subclass.
    """
    if isinstance(recipe, str):
        recipe = get_recipe(recipe, find_variant(model)[0], with_weights=weights is not None)
    if weights is not None:
        recipe = recipe.replace({"standardization": "dataset"})  # until the weights are known
    job = Job(model=model, settings=network_settings(model, settings or {}), recipe=recipe, seed=seed)
    return job if weights is None else begin_with(job, dataset, weights, tracking_uri)


def begin_with(job: Job, dataset: Dataset, weights: str | os.PathLike[str], tracking_uri: str | None) -> Job:
    """Return a job that begins with weights, which are checked against the images."""
    file = find_any_weights(weights, job.model, tracking_uri, job.settings.as_dict())
    if file.knows_validation and file.data == dataset.fingerprint:
        raise SettingError(
            f"weights {file.reference} were trained on the validation images of {dataset.name} too, so they would "
            f"validate nothing; begin with the weights of a run that was trained on the training images only."
        )
    starting = check_weights(file, job.model, dataset.image_shape, dataset.classes, job.settings.as_dict())
    return replace(job, weights=starting, recipe=job.recipe.replace({"standardization": "weights"}))


def resolve_dataset(data: str | Dataset) -> Dataset:
    """Return a dataset, loaded if necessary."""
    return load(data) if isinstance(data, str) else data


class TrackingCallback:
    """Records the metrics of each epoch in a store."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.run_id = run_id

    def step(self, done: int, total: int) -> None:
        """Do nothing: only epochs are recorded."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Record the epoch."""
        self.store.record(self.run_id, number, metrics)


def describe_run(job: Job, dataset: Dataset, costs: Counts, folder: str) -> RunDescription:
    """Return the description of a job's run before training."""
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
        tags={"folder": folder, **job.to_tags()},
    )


def log_validation(network: keras.Model, dataset: Dataset, store: Store, run_id: str) -> dict[str, float]:
    """Log what later evaluations and predictions need of the images, and return the threshold and the temperature.

    These are the predictions for the validation images, which both are fitted on, the distribution of the features of
    the training images, and their perceptual hashes.
    """
    validation, with_features = dataset.splits["validation"], with_feature_summary(network)
    features, predicted = predict_with_features(with_features, validation.images)
    probabilities = normalize(predicted, multi_label=is_multi_label(network))
    images = dataset.training.images
    log_detector(with_features, images, np.arange(len(images)), features, validation.patients, store, run_id)
    log_training_images(images, store, run_id)
    fitted = fit_operating_point(validation.labels, probabilities)
    shown = hide_patients(dataset, store).splits["validation"]
    log_text(describe_validation(shown, probabilities, fitted, dataset.class_names), VALIDATION_CASES, store, run_id)
    return fitted


def evaluate_test(
    network: keras.Model, dataset: Dataset, threshold: float | None, store: Store, run_id: str
) -> dict[str, float]:
    """Return the metrics of a network on the test set, and record the test-set evaluation."""
    split = dataset.splits["test"]
    store.count_test_set_evaluation(run_id, split.fingerprint)
    metrics = compute_scores(split.labels, predict_probabilities(network, split.images), threshold=threshold)
    return {f"test_{name}": value for name, value in metrics.items()}
