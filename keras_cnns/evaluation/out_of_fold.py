"""Evaluation of a cross-validation: the out-of-fold predictions of all images, pooled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.folds import Folds
from keras_cnns.data.pseudonyms import Pseudonyms, known_patients
from keras_cnns.evaluation.cases import describe_conversion, make_cases
from keras_cnns.evaluation.caveats import (
    note_intervals,
    note_metrics,
    note_patients,
    note_precision,
    note_temperature,
)
from keras_cnns.evaluation.compatibility import select_groups, separate_unknown
from keras_cnns.evaluation.cross_fitting import cross_fit
from keras_cnns.evaluation.error_analysis import find_mistakes
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.patient_folds import compute_patient_level_of_folds
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.tracking import Run

OUT_OF_FOLD = "out_of_fold"
FOLD = "fold"


def evaluate_out_of_fold(
    run: Run, pooled: Dataset, folds: Folds, probabilities: np.ndarray, *, pseudonyms: Pseudonyms, seed: int = 0
) -> Evaluation:
    """Compute metrics and intervals of pooled out-of-fold predictions, and of each fold.

    Each image is predicted by the network that was not trained on its fold, and used at the threshold and the
    temperature of the other folds. The bootstrap resamples whole patients, if they are known.

    Args:
        run: The run of the cross-validation.
        pooled: The images, see `pool_images`.
        folds: Their folds.
        probabilities: The predicted probabilities before temperature scaling, shape (images, classes).
        pseudonyms: The pseudonyms of patients in the table of cases and in notes.
        seed: Seed of the bootstrap.

    Returns:
        The evaluation, whose `by` has the metrics of each fold, and whose table of cases has the fold of each image.
    """
    pool, column = pooled.training, folds.column or FOLD
    groups, grouped_by = select_groups(None, pool, pooled.name)
    point, decisions = cross_fit(pool.labels, probabilities, folds)
    predictions = LabelledPredictions(
        labels=pool.labels,
        probabilities=probabilities,
        operating_point=point,
        groups=groups,
        seed=seed,
        positive_is_known=pooled.positive is not None or pool.labels.ndim == 2,
        decisions=decisions,
    )
    patients = separate_unknown(pool.patients)
    shown = pseudonyms.hide_split(pool)
    mistakes, mistake_count = find_mistakes(None, predictions, shown, OUT_OF_FOLD, pooled.class_names)
    of_images = {column: np.array(folds.names, object)[folds.assigned]}
    evaluation = Evaluation(
        runs=(run,),
        data_name=pooled.name,
        data_fingerprint=run.data_fingerprint,
        split=OUT_OF_FOLD,
        external=False,
        class_names=pooled.class_names,
        positive=pooled.positive,
        class_map={name: name for name in pooled.class_names},
        labels=pool.labels,
        probabilities=probabilities,
        overall=predictions.compute(),
        by_label=predictions.compute_labels(pooled.class_names),
        by={
            column: {name: predictions.take(folds.held_out(index)).compute() for index, name in enumerate(folds.names)}
        },
        operating_point=point,
        grouped_by=grouped_by,
        groups=None if groups is None else len(np.unique(groups)),
        group_of_image=groups,
        mistakes=mistakes,
        mistake_count=mistake_count,
        conversion=describe_conversion(pooled),
        tta=1,
        tta_augmentation="",
        test_set_evaluations=None,
        seed=seed,
        cases=make_cases(shown, OUT_OF_FOLD, predictions, pooled.class_names, of_images),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        patient_level=None if patients is None else compute_patient_level_of_folds(predictions, patients, folds),
        decisions=decisions,
    )
    ids = known_patients(pooled)
    notes = tuple(pseudonyms.hide(note, ids) for note in find_notes(evaluation, pooled, folds))
    return dataclasses.replace(evaluation, notes=notes)


def find_notes(evaluation: Evaluation, pooled: Dataset, folds: Folds) -> Iterator[str]:
    """Yield the notes of a cross-validation."""
    yield from note_temperature(evaluation)
    yield "Each image was predicted by the network of its fold, which was not trained or validated on that fold."
    yield from folds.notes
    yield from pooled.notes
    if evaluation.is_binary and evaluation.positive is None:
        yield "The positive class is unknown; metrics that refer to it are left out; choose it with --positive NAME."
    yield from note_precision(evaluation)
    yield from note_patients(evaluation)
    yield from note_metrics(evaluation)
    yield from note_intervals(evaluation)
    yield (
        "The intervals are for these networks: they do not include how much networks vary that are trained on other "
        "images."
    )
