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
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from keras_cnns.atomic import write_text
from keras_cnns.data import Dataset
from keras_cnns.data.folds import FOLD_TABLE, Folds, fold_table, make_folds, pool_images, read_folds
from keras_cnns.data.pseudonyms import load_pseudonyms
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.errors import SettingError
from keras_cnns.evaluation.cross_fitting import fit_folds
from keras_cnns.evaluation.evaluation import store_evaluation
from keras_cnns.evaluation.operating_point import fit_operating_point
from keras_cnns.evaluation.out_of_fold import OUT_OF_FOLD, evaluate_out_of_fold
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.evaluation.validation import VALIDATION_CASES, describe_validation
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.recipe import Recipe
from keras_cnns.pretrained.starting_weights import StartingWeights
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.location import project_folder
from keras_cnns.tracking.retry import RETRY_SECONDS
from keras_cnns.tracking.runs import (
    COMPLETE,
    FINGERPRINT,
    PARENT,
)
from keras_cnns.training.devices import cluster
from keras_cnns.training.fit import check_monitor
from keras_cnns.training.folds import FoldTrainer, RunningCrossValidation, read_predictions, train_one_by_one
from keras_cnns.training.job import Job, count_costs
from keras_cnns.training.logged_data import hide_patients, log_text
from keras_cnns.training.run import (
    describe_run,
    make_job,
    resolve_dataset,
)
from keras_cnns.training.run_directory import FINISHED, create_directory, find_directories, find_unfinished

RECORD = "cross_validation.json"


@dataclass(frozen=True, kw_only=True)
class FoldRun:
    """The training of a fold.

    Attributes:
        name: The number of the fold from 1, or the value that was left out.
        run_id: The ID of its MLflow run.
    """

    name: str
    run_id: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CrossValidation(Summarized):
    """A finished cross-validation.

    Attributes:
        run_id: The ID of its MLflow run, which also names the ensemble of the networks of all folds.
        folder: The folder of its checkpoints.
        costs: The cost of the network.
        folds: The trainings of the folds.
        evaluation: The metrics of the pooled out-of-fold predictions with intervals and, in `by`, those of each fold.
        operating_point: The decision `threshold` for two classes and the `temperature` for new images, fitted on the
            out-of-fold predictions of all folds.
        weights: The weights that the trainings began with; None: random ones.
    """

    run_id: str
    folder: Path
    costs: Counts
    folds: tuple[FoldRun, ...]
    evaluation: Evaluation
    operating_point: Mapping[str, float]
    weights: StartingWeights | None = None

    @property
    def url(self) -> str:
        """The address of the run's page on an MLflow server; "" if the store is a file."""
        return self.evaluation.url

    def summary(self) -> Summary:
        """Return the metrics of the out-of-fold predictions, and the accuracy of each fold."""
        found = self.evaluation.summary()
        costs = f"{self.costs.total_parameters:,} parameters, {self.costs.macs:,} MACs"
        (by_fold,) = self.evaluation.by.values()
        names = [name for name in ("accuracy", "auc") if all(name in result.metrics for result in by_fold.values())]
        rows = [
            (name, f"{result.images:,}", *(" (".join(result.format(metric)) + ")" for metric in names))
            for name, result in by_fold.items()
        ]
        folds = SummaryTable(columns=("fold", "images", *names), rows=rows)
        return replace(
            found,
            title=f"cross-validation of {self.evaluation.runs[0].model} on {self.evaluation.data_name}, "
            f"{len(self.folds)} folds",
            facts=[*found.facts, ("networks", costs)],
            tables=[*found.tables, folds],
            addresses=[("folder", str(self.folder)), *found.addresses],
        )


@shows_progress
def cross_validate(
    model: str,
    data: str | Dataset = "digits",
    *,
    folds: int = 5,
    fold_by: str | None = None,
    settings: Mapping[str, object] | None = None,
    recipe: Recipe | str = "plain",
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    resume: bool = False,
    experiment: str = "train",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress: bool | Progress = True,
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
        weights: As for `train`.
        seed: As for `train`, for the networks of all folds. The seed of the folds is that of the validation split, see
            `load`.
        resume: Resume the newest unfinished cross-validation with the same arguments: only folds that are not finished
            are trained, from their last checkpoints.
        experiment: As for `train`.
        tracking_uri: As for `train`.
        folder: As for `train`.
        progress: Whether to show progress, or what receives it.

    Raises:
        KerasCnnsError: An argument is not valid, or the data or the store cannot be used, each in a subclass.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    dataset = resolve_dataset(data)
    return start_cross_validation(
        make_job(model, settings, recipe, seed, dataset, weights, tracking_uri),
        dataset,
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
    parent: str | None = None,
) -> CrossValidation:
    """Start or resume a cross-validation, train its folds and store its result, see `cross_validate`.

    Args:
        job: The network and how to train it.
        dataset: The dataset.
        folds: As for `cross_validate`, as are the other arguments that are not described here.
        fold_by: A column, each of whose values is left out once.
        resume: Resume the newest unfinished cross-validation with the same arguments.
        experiment: Name of the MLflow experiment.
        store: The store.
        folder: The folder for the checkpoints of all cross-validations.
        train_folds: Trains the unfinished folds.
        progress: Receives a message for each step.
        parent: The ID of the MLflow run that the cross-validation is a part of, such as a sweep's.
    """
    identity = make_identity(job, dataset, store, folds, fold_by)
    if resume:
        wanted = f"cross-validation of {job.model} with these settings, recipe, seed, folds and data"
        directory, lock, record = find_unfinished(folder, RECORD, identity, description=wanted)
    else:
        progress.message("dividing the images into folds")
        pooled = pool_images(dataset)
        made = make_folds(pooled, folds=folds, column=fold_by)
        check_folds(job, pooled, made, dataset.fingerprint)
        directory, lock = create_directory(folder, f"cross-validation-{job.model}")
        write_text(directory / FOLD_TABLE, fold_table(pooled, made))
        run_id = start_run(job, dataset, pooled, made, directory, store, experiment, parent)
        record = {**identity, "run_id": run_id}
        write_text(directory / RECORD, json.dumps(record, indent=2))
    with lock, store.mark_failure(record["run_id"]):
        running = open_cross_validation(
            job, dataset, directory, record, store=store, experiment=experiment, progress=progress
        )
        train_folds(running)
        return finish(running)


def continue_cross_validation(
    job: Job,
    dataset: Dataset,
    *,
    folds: int,
    experiment: str,
    parent: str,
    store: Store,
    folder: Path,
    train_folds: FoldTrainer,
    progress: Progress,
) -> CrossValidation:
    """Return the result of the cross-validation in a folder, which is started or resumed unless it is finished."""
    identity = make_identity(job, dataset, store, folds, None)
    known = next(find_directories(folder, RECORD, identity), None)
    if known is not None and (known[0] / FINISHED).exists():
        running = open_cross_validation(job, dataset, *known, store=store, experiment=experiment, progress=progress)
        return summarize(running)
    return start_cross_validation(
        job, dataset, folds=folds, fold_by=None, resume=known is not None, experiment=experiment, store=store,
        folder=folder, train_folds=train_folds, progress=progress, parent=parent,
    )  # fmt: skip


def make_identity(job: Job, dataset: Dataset, store: Store, folds: int, fold_by: str | None) -> dict[str, Any]:
    """Return what a resumed cross-validation must share with the original one."""
    return {**job.describe(), "data": dataset.fingerprint, "store": store.uri, "folds": folds, "fold_by": fold_by}


def open_cross_validation(
    job: Job,
    dataset: Dataset,
    directory: Path,
    record: Mapping[str, Any],
    *,
    store: Store,
    experiment: str,
    progress: Progress,
) -> RunningCrossValidation:
    """Return a cross-validation whose folds and run are in its directory."""
    pooled = pool_images(dataset)
    folds = read_folds((directory / FOLD_TABLE).read_text("utf-8"), pooled, column=record["fold_by"])
    return RunningCrossValidation(
        job=job, dataset=dataset, pooled=pooled, folds=folds, folder=directory, store=store, experiment=experiment,
        run_id=record["run_id"], progress=progress,
    )  # fmt: skip


def check_folds(job: Job, pooled: Dataset, folds: Folds, pooled_from: str) -> None:
    """Check before training what `fit` requires of the images of each fold.

    Raises:
        SettingError: The validation images of a fold do not give the metric that the recipe monitors, several workers
            share each batch, or the weights were trained on the images, whose fingerprint before they were pooled is
            `pooled_from`.
    """
    if cluster().workers > 1:
        raise SettingError("a cross-validation does not support workers that share each batch; unset TF_CONFIG.")
    if job.weights is not None and job.weights.file.data == pooled_from:
        raise SettingError(
            f"weights {job.weights.file.reference} were trained on these images, so every fold would be validated on "
            f"images that its weights know; begin with other weights."
        )
    pool = replace(pooled.training, images=np.arange(len(pooled.training)))
    for index in range(len(folds)):
        _, validation = folds.divide(pool.labels, index)
        check_monitor(job.recipe, replace(pooled, splits={"validation": pool.take(validation)}))


def start_run(
    job: Job,
    dataset: Dataset,
    pooled: Dataset,
    folds: Folds,
    directory: Path,
    store: Store,
    experiment: str,
    parent: str | None,
) -> str:
    """Start the MLflow run of a cross-validation, and return its ID."""
    divided = {"folds": len(folds), **({"fold_by": folds.column} if folds.column else {})}
    description = describe_run(job, dataset, count_costs(job, dataset), directory.name)
    tags = {**description.tags, "data.name": dataset.name, FINGERPRINT: dataset.fingerprint}
    run_id = store.start_group(
        f"cross-validation-{job.model}",
        experiment=experiment,
        params={**description.params(), **divided},
        tags={**tags, **({PARENT: parent} if parent else {})},
    )
    log_text(fold_table(hide_patients(pooled, store), folds), FOLD_TABLE, store, run_id)
    return run_id


def summarize(running: RunningCrossValidation) -> CrossValidation:
    """Return the result of a cross-validation whose folds are finished."""
    store, folds, pool = running.store, running.folds, running.pooled.training
    running.progress.message("computing metrics and intervals of the out-of-fold predictions")
    probabilities = read_predictions(running)
    trained = tuple(
        FoldRun(name=name, run_id=(running.fold_folder(index) / FINISHED).read_text("utf-8"))
        for index, name in enumerate(folds.names)
    )
    pseudonyms = load_pseudonyms(project_folder(store.uri), running.dataset)
    evaluation = evaluate_out_of_fold(
        describe_parent(running), running.pooled, folds, probabilities, pseudonyms=pseudonyms
    )
    return CrossValidation(
        run_id=running.run_id,
        folder=running.folder,
        costs=count_costs(running.job, running.pooled),
        folds=trained,
        evaluation=evaluation,
        operating_point=fit_operating_point(pool.labels, probabilities),
        weights=running.job.weights,
    )


def finish(running: RunningCrossValidation) -> CrossValidation:
    """Store the result of a cross-validation whose folds are finished, end its run, and return the result."""
    result, store, pool = summarize(running), running.store, running.pooled.training
    evaluation, operating_point = result.evaluation, result.operating_point
    report_folder = store_evaluation(store, evaluation, None)
    shown = hide_patients(running.pooled, store).training
    table = describe_validation(shown, evaluation.probabilities, operating_point, running.pooled.class_names)
    log_text(table, VALIDATION_CASES, store, running.run_id)
    (by_fold,) = evaluation.by.values()
    points = fit_folds(pool.labels, evaluation.probabilities, running.folds)
    for fold, point in zip(result.folds, points, strict=True):
        metrics = {**point, **by_fold[fold.name].to_metrics(f"{OUT_OF_FOLD}_")}
        store.log(fold.run_id, metrics=metrics, tags={COMPLETE: "true"})
    store.finish(running.run_id, metrics=operating_point)
    write_text(running.folder / FINISHED, running.run_id)
    return replace(result, evaluation=replace(evaluation, report_folder=report_folder, store=store.uri))


def describe_parent(running: RunningCrossValidation) -> Run:
    """Return the run of a cross-validation as a run that an evaluation can name."""
    job, dataset = running.job, running.dataset
    return Run(
        id=running.run_id, name=running.name, experiment=running.experiment, status="finished", reason="",
        model=job.model, family=job.family, settings=job.settings.to_strings(), recipe=job.recipe.to_strings(),
        metrics={}, seed=job.seed, data_name=dataset.name, data_fingerprint=dataset.fingerprint, parent=None, tags={},
        started=datetime.now(tz=UTC),
    )  # fmt: skip
