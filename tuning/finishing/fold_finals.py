"""Finalists that are cross-validated instead of repeated with other seeds.

The finalists have the same folds, so that their out-of-fold predictions are paired: a bootstrap over images, or over
patients, gives the interval of the difference of their scores. Scores of single folds are not tested, because the
networks of the folds share most of their training images, and a paired t-test over folds finds differences too often
(Dietterich, "Approximate statistical tests for comparing supervised classification learning algorithms", 1998).

The search has chosen the finalists by validation images that the folds contain. This is therefore not a nested
cross-validation, and the scores remain somewhat optimistic.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keras_cnns.data.folds import pool_images
from keras_cnns.display.progress import Progress
from keras_cnns.evaluation.metrics import compute_scores
from keras_cnns.networks.recipe import Recipe
from keras_cnns.training.checkpoints import read_progress, selected_metrics
from keras_cnns.training.cross_validation import CrossValidation, continue_cross_validation
from keras_cnns.training.job import Job
from tuning.finishing.finals import Finalist, Finals, States, select_finalists
from tuning.finishing.lead_intervals import add_lead_intervals
from tuning.running.cluster import connect
from tuning.running.folds import train_folds
from tuning.running.journal import TrialState
from tuning.running.sweep_run import SweepRun

OPTIMISTIC = (
    "The settings were chosen by validation images that are in the folds, so these scores are somewhat optimistic; "
    "evaluate the winner on a test split."
)


def cross_validate_finalists(
    sweep: SweepRun, states: States, names: Mapping[int, str], progress: Progress
) -> Finals | None:
    """Cross-validate the finalists of a search, and compare their out-of-fold predictions; None without finalists.

    Finished cross-validations of an interrupted sweep are read, and an unfinished one is resumed.

    Args:
        sweep: The sweep, whose configuration has the number of folds.
        states: All trials.
        names: Names of the runs of the search, by trial.
        progress: Receives messages.
    """
    config, recipe = sweep.config, sweep.config.space.recipe
    pool = pool_images(config.dataset).training
    finalists, predictions = [], {}
    with connect(config.cluster):  # once for all finalists
        for number in select_finalists(states, recipe, config.cost):
            result = cross_validate_finalist(sweep, states[number], names[number], progress)
            probabilities = result.evaluation.probabilities
            score = compute_scores(pool.labels, probabilities).get(recipe.monitor.removeprefix("val_"))
            if score is not None:
                predictions[number] = [probabilities]
                finalists.append(
                    Finalist(
                        number=number,
                        name=names[number],
                        scores={config.seed: score},
                        epochs=mean_best_epoch(result, recipe),
                        cross_validation=result.run_id,
                    )
                )
    if not finalists:
        return None
    order = tuple(sorted(finalists, key=lambda finalist: -finalist.mean))
    verdict = state_verdict(order, config.folds or 0)
    finals = Finals(monitor=recipe.monitor, finalists=order, verdict=verdict, folds=config.folds)
    finals = add_lead_intervals(finals, pool, predictions)
    return replace(finals, verdict=f"{finals.verdict} {OPTIMISTIC}")


def cross_validate_finalist(sweep: SweepRun, state: TrialState, name: str, progress: Progress) -> CrossValidation:
    """Cross-validate a finalist, or return its result if it is finished."""
    config, candidate = sweep.config, sweep.candidate(state)
    return continue_cross_validation(
        Job(**vars(candidate), seed=config.seed),
        config.dataset,
        folds=config.folds or 0,
        experiment=sweep.experiment,
        parent=sweep.run_id,
        store=sweep.store,
        folder=sweep.folder / "cross_validation" / f"{state.number:04d}",
        train_folds=functools.partial(train_folds, cluster=config.cluster),
        progress=PrefixedMessages(name, progress),
    )


class PrefixedMessages(Progress):
    """Passes on messages about a finalist, with its name."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.name = name
        self.progress = progress

    def message(self, text: str) -> None:
        """Pass on the message."""
        self.progress.message(f"{self.name}, {text}")


def mean_best_epoch(result: CrossValidation, recipe: Recipe) -> float:
    """Return the mean number of the best epoch of the folds."""
    histories = [read_progress(folder).history for folder in sorted((result.folder / "folds").iterdir())]
    return float(np.mean([selected_metrics(history, recipe)["best_epoch"] for history in histories]))


def state_verdict(finalists: tuple[Finalist, ...], folds: int) -> str:
    """Return a sentence with the score of the first finalist."""
    first, *others = finalists
    best = "is the only finalist, with" if not others else "has the highest score,"
    return f"{first.name} {best} {first.mean:.4f} for the out-of-fold predictions of {folds} folds."
