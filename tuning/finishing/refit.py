"""Refit: train the winner again on training and validation images, and register it.

Without validation images nothing can be selected: the network trains for the number of epochs that was found before,
its last epoch is saved, and decision threshold and temperature come from the run that was validated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_cnns.atomic import write_text
from keras_cnns.data import Dataset
from keras_cnns.display.progress import Progress
from keras_cnns.errors import TrainingError
from keras_cnns.evaluation.run_network import predict_probabilities
from keras_cnns.tracking import Run, RunDescription
from keras_cnns.tracking.registry import RegisteredVersion, Registry
from keras_cnns.tracking.runs import FINGERPRINT, TRAIN_AND_VALIDATION, TRAINED_ON
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job, count_costs
from keras_cnns.training.logged_data import log_network, log_splits
from keras_cnns.training.reference import log_training_images
from keras_cnns.training.run import TrackingCallback, describe_run
from keras_cnns.training.run_directory import FINISHED
from tuning.candidates.space import Candidate
from tuning.finishing.finals import Finalist
from tuning.finishing.result import RefitResult
from tuning.running.sweep_run import SweepRun

REFIT = "refit"


def refit(
    winner: Finalist,
    best: Run,
    candidate: Candidate,
    operating_point: Mapping[str, float],
    sweep: SweepRun,
    progress: Progress,
) -> RefitResult:
    """Train the winner on all images but the test split, in this process, and register it.

    An interrupted refit continues from its last checkpoint. A winner is registered only once.

    Args:
        winner: The winner of the finals or, without repeats, the best trial; it determines the number of epochs.
        best: The validated run of the winner.
        candidate: The network and the recipe.
        operating_point: Decision threshold and temperature of the validated run.
        sweep: The sweep.
        progress: Receives the epochs.

    Raises:
        TrainingError: The loss is not finite.
    """
    store, dataset = sweep.store, sweep.config.dataset.merge_validation()
    recipe = candidate.recipe.for_refit(round(winner.epochs))
    epochs = recipe.recorded_epochs
    job = Job(**vars(replace(candidate, recipe=recipe)), seed=sweep.config.seed)
    folder = sweep.folder / REFIT / f"{winner.number:04d}-{epochs}"
    folder.mkdir(parents=True, exist_ok=True)
    run_id = store.start(describe_refit(job, winner, best, sweep), experiment=sweep.experiment, parent=sweep.run_id)
    log_splits(dataset, folder, store, run_id)
    with store.mark_failure(run_id):
        if not (folder / FINISHED).exists():
            progress.message(f"training {winner.name} on training and validation images")
            progress.begin_training(epochs)
            fitted = fit(job, dataset, folder, progress_callbacks=(TrackingCallback(store, run_id), progress))
            network = keras.saving.load_model(fitted.best_model, compile=False)
            check_finite(network, dataset, job.recipe.learning_rate)
            log_network(network, dataset, store, run_id, operating_point, held_out=False)
            log_training_images(dataset.training.images, store, run_id)
            store.log(run_id, metrics={**fitted.metrics, **operating_point})
            write_text(folder / FINISHED, run_id)
        registered = register(winner, best, sweep, run_id)
        store.finish(run_id, tags={"registered": registered.uri})
    return RefitResult(run_id=run_id, epochs=epochs, registered=registered)


def describe_refit(job: Job, winner: Finalist, best: Run, sweep: SweepRun) -> RunDescription:
    """Return what is known about the refit before it trains; its dataset is the sweep's."""
    dataset = sweep.config.dataset
    description = describe_run(job, dataset, count_costs(job, dataset), sweep.folder.name)
    tags = {
        "sweep": sweep.run_id,
        "role": REFIT,
        "refit_of": best.id,
        "refit_epochs": str(job.recipe.epochs),
        TRAINED_ON: TRAIN_AND_VALIDATION,
        **job.to_tags(),
    }
    return replace(description, name=f"{REFIT}-{sweep.label}-{winner.number:04d}", tags=tags)


def register(winner: Finalist, best: Run, sweep: SweepRun, run_id: str) -> RegisteredVersion:
    """Register the refit together with the score of the run that was validated."""
    config = sweep.config
    score = f"held_out.{config.monitor}"
    tags = {
        "run": run_id,
        "sweep": sweep.run_id,
        FINGERPRINT: config.dataset.fingerprint,
        "data.name": config.dataset.name,
        TRAINED_ON: TRAIN_AND_VALIDATION,
        "held_out.run": best.id,
        "held_out.seeds": str(len(winner.scores)),
        score: f"{winner.mean:.6f}",
    }
    return Registry(sweep.store).register(run_id, str(config.register), scored_by=score, tags=tags)


def check_finite(network: Any, dataset: Dataset, learning_rate: float) -> None:
    """Raise a `TrainingError` if the last step made the outputs not finite, which no validation would detect."""
    if not np.isfinite(predict_probabilities(network, dataset.training.images[:64])).all():
        raise TrainingError(
            f"after the last step of the refit, the network's outputs are not finite; try a learning_rate below "
            f"{learning_rate:g}."
        )
