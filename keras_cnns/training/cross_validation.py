"""Cross-validation: a network for each fold, trained without it, and metrics of the pooled out-of-fold predictions.

    cross_validation.json    the job, the dataset, the folds and the MLflow run
    folds.csv                the fold of each image
    folds/01/                the folder of the training of the first fold, as `keras_cnns.training.checkpoints` has it,
                             and its predictions, out_of_fold.npy
    finished                 exists when the result is stored

The run of the cross-validation is the parent of the runs of its folds, whose networks can be used as one ensemble.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np

from keras_cnns.atomic import atomic_write, write_text
from keras_cnns.data import Dataset
from keras_cnns.data.folds import FOLD_TABLE, Folds, fold_table, make_folds, pool_images, read_folds
from keras_cnns.data.pseudonyms import load_pseudonyms
from keras_cnns.errors import SettingError, StoreError, TrainingError
from keras_cnns.evaluation.cross_fitting import fit_folds
from keras_cnns.evaluation.ensemble import ensemble_key, ensemble_prefix
from keras_cnns.evaluation.evaluation import store_evaluation
from keras_cnns.evaluation.operating_point import fit_operating_point
from keras_cnns.evaluation.out_of_fold import OUT_OF_FOLD, evaluate_out_of_fold
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.evaluation.run_network import Progress, no_progress, predict_probabilities
from keras_cnns.evaluation.validation import VALIDATION_CASES, describe_validation
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.recipe import Recipe
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.location import project_folder
from keras_cnns.tracking.retry import RETRY_SECONDS
from keras_cnns.tracking.runs import (
    COMPLETE,
    CROSS_VALIDATION,
    CROSS_VALIDATION_NAME,
    FINGERPRINT,
    FOLD,
    FOLDS,
    TRAIN_AND_VALIDATION,
    TRAINED_ON,
)
from keras_cnns.training.callbacks import ProgressCallback
from keras_cnns.training.checkpoints import best_model_path, read_progress, selected_metrics
from keras_cnns.training.devices import cluster, strategy
from keras_cnns.training.fit import check_monitor, fit
from keras_cnns.training.job import Job, count_costs
from keras_cnns.training.logged_data import hide_patients, log_splits, log_text, network_metadata
from keras_cnns.training.run import (
    INPUT_EXAMPLES,
    TrackingCallback,
    describe_run,
    make_job,
    resolve_dataset,
)
from keras_cnns.training.run_directory import FINISHED, create_directory, find_unfinished

RECORD = "cross_validation.json"
PREDICTIONS = "out_of_fold.npy"


@dataclass(frozen=True, kw_only=True)
class FoldRun:
    """The training of a fold.

    Attributes:
        name: The number of the fold from 1, or the value that was left out.
        run_id: The ID of its MLflow run.
    """

    name: str
    run_id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        run_id: The ID of its MLflow run, which also names the ensemble of the networks of all folds.
        folder: The folder of its checkpoints.
        costs: The cost of the network.
        folds: The trainings of the folds.
        evaluation: The metrics of the pooled out-of-fold predictions with intervals and, in `by`, those of each fold.
        operating_point: The decision `threshold` for two classes and the `temperature` for new images, fitted on the
            out-of-fold predictions of all folds.
    """

    run_id: str
    folder: Path
    costs: Counts
    folds: tuple[FoldRun, ...]
    evaluation: Evaluation
    operating_point: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunningCrossValidation:
    """A cross-validation while it runs.

    Attributes:
        job: The network and how to train it.
        dataset: The dataset.
        pooled: Its training and validation images in one split, see `pool_images`.
        folds: The folds.
        folder: The folder of the cross-validation.
        store: The store.
        experiment: The MLflow experiment.
        run_id: The ID of its MLflow run.
        progress: Receives descriptions of the progress.
    """

    job: Job
    dataset: Dataset
    pooled: Dataset
    folds: Folds
    folder: Path
    store: Store
    experiment: str
    run_id: str
    progress: Progress

    @property
    def name(self) -> str:
        """The name of its MLflow run."""
        return f"cross-validation-{self.job.model}"

    @property
    def unfinished(self) -> list[int]:
        """The indices of the folds that are not finished."""
        return [index for index in range(len(self.folds)) if not (self.fold_folder(index) / FINISHED).exists()]

    def fold_folder(self, index: int) -> Path:
        """Return the folder of the training of a fold."""
        return self.folder / "folds" / f"{index + 1:02d}"

    def start_fold(self, index: int) -> str:
        """Start the MLflow run of a fold, or continue it, and return its ID."""
        costs = count_costs(self.job, self.pooled)
        tags = {
            "folder": self.folder.name,
            FOLD: str(index + 1),
            FOLDS: str(len(self.folds)),
            CROSS_VALIDATION: self.run_id,
            CROSS_VALIDATION_NAME: self.name,
            TRAINED_ON: TRAIN_AND_VALIDATION,  # the images that validate a fold train others
        }
        description = replace(
            describe_run(self.job, self.dataset, costs, self.folder.name),
            name=f"{self.job.model}-fold-{index + 1}",
            tags=tags,
        )
        run_id = self.store.start(description, experiment=self.experiment, parent=self.run_id)
        folder = self.fold_folder(index)
        folder.mkdir(parents=True, exist_ok=True)
        log_splits(self.list_splits(index), folder, self.store, run_id)
        if self.folds.column:
            self.store.log(run_id, tags={f"{FOLD}.value": self.folds.names[index]})
        return run_id

    def list_splits(self, index: int) -> Dataset:
        """Return the splits of a fold's training without their pixels; the held-out images are its test split."""
        pool = replace(self.pooled.training, images=np.arange(len(self.pooled.training)))
        train, validation = self.folds.divide(pool.labels, index)
        held_out = self.folds.held_out(index)
        splits = {"train": pool.take(train), "validation": pool.take(validation), "test": pool.take(held_out)}
        return replace(self.pooled, splits=splits)

    def record_epochs(self, index: int, run_id: str) -> Sequence[Mapping[str, float]]:
        """Record the epochs of the last checkpoint of a fold that are not recorded yet, and return all of them."""
        history = read_progress(self.fold_folder(index)).history
        for number, metrics in enumerate(history, start=1):
            self.store.record(run_id, number, metrics)
        return history

    def record_fold(self, index: int, run_id: str) -> None:
        """Record the epochs and the network of a fold that has been trained, and end its run."""
        folder, store, history = self.fold_folder(index), self.store, self.record_epochs(index, run_id)
        if not has_network(store, run_id):
            network = keras.saving.load_model(best_model_path(folder), compile=False)
            examples = self.pooled.training.images[:INPUT_EXAMPLES]
            store.log_model(run_id, network, examples, metadata=network_metadata(self.dataset, store))
        store.finish(run_id, metrics=selected_metrics(history, self.job.recipe))
        write_text(folder / FINISHED, run_id)


FoldTrainer = Callable[[RunningCrossValidation], None]
"""Trains the unfinished folds of a cross-validation."""


def cross_validate(
    model: str,
    data: str | Dataset = "digits",
    *,
    folds: int = 5,
    fold_by: str | None = None,
    settings: Mapping[str, object] | None = None,
    recipe: Recipe | str = "plain",
    seed: int = 0,
    resume: bool = False,
    experiment: str = "train",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress: Progress = no_progress,
) -> CrossValidation:
    """Cross-validate a network: train one network for each fold, and evaluate it on the fold.

    The training and validation images are divided together, by patient and class. A test split is not used. The
    networks of all folds can be evaluated and used as one ensemble, by the ID of the run. `tuning.cross_validate`
    trains several folds at a time.

    Args:
        model: The name of a variant, one of `list_models()`.
        data: A source for `load`, or a dataset.
        folds: The number of folds.
        fold_by: A column of the source, such as the scanner or the hospital: each of its values is left out once,
            whatever `folds` is.
        settings: As for `train`.
        recipe: As for `train`.
        seed: As for `train`, for the networks of all folds. The seed of the folds is that of the validation split, see
            `load`.
        resume: Resume the newest unfinished cross-validation with the same arguments: only folds that are not finished
            are trained, from their last checkpoints.
        experiment: As for `train`.
        tracking_uri: As for `train`.
        folder: As for `train`.
        progress: Called with a description of each step.

    Raises:
        KerasCnnsError: An argument is not valid, or the data or the store cannot be used, each in a subclass.
    """
    return start_cross_validation(
        make_job(model, settings, recipe, seed),
        resolve_dataset(data),
        folds=folds,
        fold_by=fold_by,
        resume=resume,
        experiment=experiment,
        store=Store(tracking_uri, retry_timeout=RETRY_SECONDS),
        folder=Path(folder),
        train_folds=train_one_by_one,
        progress=progress,
    )


def start_cross_validation(
    job: Job,
    dataset: Dataset,
    *,
    folds: int,
    fold_by: str | None,
    resume: bool,
    experiment: str,
    store: Store,
    folder: Path,
    train_folds: FoldTrainer,
    progress: Progress,
) -> CrossValidation:
    """Start or resume a cross-validation, train its folds and store its result, see `cross_validate`."""
    identity = {
        **job.describe(), "data": dataset.fingerprint, "store": store.uri, "folds": folds, "fold_by": fold_by,
    }  # fmt: skip
    pooled = pool_images(dataset)
    if resume:
        wanted = f"cross-validation of {job.model} with these settings, recipe, seed, folds and data"
        directory, lock, record = find_unfinished(folder, RECORD, identity, description=wanted)
        made = read_folds((directory / FOLD_TABLE).read_text("utf-8"), pooled, column=fold_by)
    else:
        progress("dividing the images into folds")
        made = make_folds(pooled, folds=folds, column=fold_by)
        check_folds(job, pooled, made)
        directory, lock = create_directory(folder, f"cross-validation-{job.model}")
        record = {}
    with lock:
        if not record:
            write_text(directory / FOLD_TABLE, fold_table(pooled, made))
        run_id = record.get("run_id") or start_run(job, dataset, pooled, made, directory, store, experiment)
        write_text(directory / RECORD, json.dumps({**identity, "run_id": run_id}, indent=2))
        running = RunningCrossValidation(
            job=job, dataset=dataset, pooled=pooled, folds=made, folder=directory, store=store, experiment=experiment,
            run_id=run_id, progress=progress,
        )  # fmt: skip
        with store.mark_failure(run_id):
            train_folds(running)
            return finish(running)


def check_folds(job: Job, pooled: Dataset, folds: Folds) -> None:
    """Check before training what `fit` requires of the images of each fold.

    Raises:
        SettingError: The validation images of a fold do not give the metric that the recipe monitors, or several
            workers share each batch.
    """
    if cluster().workers > 1:
        raise SettingError("a cross-validation does not support workers that share each batch; unset TF_CONFIG.")
    pool = replace(pooled.training, images=np.arange(len(pooled.training)))
    for index in range(len(folds)):
        _, validation = folds.divide(pool.labels, index)
        check_monitor(job.recipe, replace(pooled, splits={"validation": pool.take(validation)}))


def start_run(
    job: Job, dataset: Dataset, pooled: Dataset, folds: Folds, directory: Path, store: Store, experiment: str
) -> str:
    """Start the MLflow run of a cross-validation, and return its ID."""
    divided = {"folds": len(folds), **({"fold_by": folds.column} if folds.column else {})}
    run_id = store.start_group(
        f"cross-validation-{job.model}",
        experiment=experiment,
        params={**describe_run(job, dataset, count_costs(job, dataset), directory.name).params(), **divided},
        tags={"folder": directory.name, "data.name": dataset.name, FINGERPRINT: dataset.fingerprint},
    )
    log_text(fold_table(hide_patients(pooled, store), folds), FOLD_TABLE, store, run_id)
    return run_id


def train_one_by_one(running: RunningCrossValidation) -> None:
    """Train the unfinished folds of a cross-validation in this process, one after the other."""
    strategy()
    for index in running.unfinished:
        run_id = running.start_fold(index)
        with running.store.mark_failure(run_id):
            running.record_epochs(index, run_id)
            callbacks = (TrackingCallback(running.store, run_id), FoldProgress(running, index))
            train_fold(running.job, running.pooled, running.folds, index, running.fold_folder(index), callbacks)
            running.record_fold(index, run_id)
        keras.backend.clear_session()


def train_fold(
    job: Job,
    pooled: Dataset,
    folds: Folds,
    index: int,
    folder: Path,
    callbacks: Sequence[ProgressCallback] = (),
) -> None:
    """Train the network of a fold, from the last checkpoint if there is one, and predict the images of the fold.

    Raises:
        TrainingError: The loss or the predictions are not finite.
    """
    if (folder / PREDICTIONS).exists():
        return
    fitted = fit(job, folds.make_dataset(pooled, index), folder, progress_callbacks=callbacks)
    network = keras.saving.load_model(fitted.best_model, compile=False)
    probabilities = predict_probabilities(network, pooled.training.take(folds.held_out(index)).images)
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            f"{folds.describe(index)}: the network predicts probabilities that are not finite; try a learning_rate "
            f"below {job.recipe.learning_rate:g}, or clip_norm=1."
        )
    with atomic_write(folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.save(file, probabilities, allow_pickle=False)


class FoldProgress:
    """A progress callback that describes the epochs of a fold."""

    def __init__(self, running: RunningCrossValidation, index: int) -> None:
        self.running = running
        self.index = index

    def step(self, done: int, total: int) -> None:
        """Ignore single steps."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Describe the epoch."""
        running = self.running
        monitor = running.job.recipe.monitor
        score = f", {monitor} {metrics[monitor]:.4f}" if monitor in metrics else ""
        fold = running.folds.describe(self.index)
        running.progress(f"{fold}: epoch {number} of {running.job.recipe.epochs}{score}")


def has_network(store: Store, run_id: str) -> bool:
    """Return whether a run has a saved network."""
    try:
        store.logged_model(run_id)
    except StoreError:
        return False
    return True


def read_predictions(running: RunningCrossValidation) -> np.ndarray:
    """Return the out-of-fold predictions of all images, shape (images, classes)."""
    pool = running.pooled.training
    probabilities = np.full((len(pool), running.pooled.classes), np.nan)
    for index in range(len(running.folds)):
        of_fold = np.load(running.fold_folder(index) / PREDICTIONS, allow_pickle=False)
        probabilities[running.folds.held_out(index)] = of_fold
    return probabilities


def finish(running: RunningCrossValidation) -> CrossValidation:
    """Compute and store the result of a cross-validation whose folds are finished, and end its run."""
    store, folds, pool = running.store, running.folds, running.pooled.training
    running.progress("computing metrics and intervals of the out-of-fold predictions")
    probabilities = read_predictions(running)
    trained = tuple(
        FoldRun(name=name, run_id=(running.fold_folder(index) / FINISHED).read_text("utf-8"))
        for index, name in enumerate(folds.names)
    )
    pseudonyms = load_pseudonyms(project_folder(store.uri), running.dataset)
    evaluation = evaluate_out_of_fold(
        describe_parent(running), running.pooled, folds, probabilities, pseudonyms=pseudonyms
    )
    evaluation = replace(evaluation, report_folder=store_evaluation(store, evaluation, None))
    operating_point = fit_operating_point(pool.labels, probabilities)
    shown = hide_patients(running.pooled, store).training
    table = describe_validation(shown, probabilities, operating_point, running.pooled.class_names)
    log_text(table, VALIDATION_CASES, store, running.run_id)
    prefix = ensemble_prefix(ensemble_key(fold.run_id for fold in trained))
    of_ensemble = {f"{prefix}{name}": value for name, value in operating_point.items()}
    (by_fold,) = evaluation.by.values()
    points = fit_folds(pool.labels, probabilities, folds)
    for fold, point in zip(trained, points, strict=True):
        metrics = {**point, **of_ensemble, **by_fold[fold.name].to_metrics(f"{OUT_OF_FOLD}_")}
        store.log(fold.run_id, metrics=metrics, tags={COMPLETE: "true"})
    store.finish(running.run_id, metrics=operating_point)
    write_text(running.folder / FINISHED, running.run_id)
    return CrossValidation(
        run_id=running.run_id,
        folder=running.folder,
        costs=count_costs(running.job, running.pooled),
        folds=trained,
        evaluation=evaluation,
        operating_point=operating_point,
    )


def describe_parent(running: RunningCrossValidation) -> Run:
    """Return the run of a cross-validation as a run that an evaluation can name."""
    job, dataset = running.job, running.dataset
    return Run(
        id=running.run_id, name=running.name, experiment=running.experiment, status="finished", reason="",
        model=job.model, family=job.family, settings=job.settings.to_strings(), recipe=job.recipe.to_strings(),
        metrics={}, seed=job.seed, data_name=dataset.name, data_fingerprint=dataset.fingerprint, parent=None, tags={},
        started=datetime.now(tz=UTC),
    )  # fmt: skip
