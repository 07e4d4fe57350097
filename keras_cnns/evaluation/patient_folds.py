"""Results per patient of a cross-validation, at thresholds that come from the patients of the other folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_cnns.data.folds import Folds
from keras_cnns.evaluation.calibration import binary_probabilities
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import (
    DEFAULT_THRESHOLD,
    OperatingPoint,
    Threshold,
    choose_threshold,
    predict_classes,
)
from keras_cnns.evaluation.patient_level import COMBINATIONS, MEAN, combine_images
from keras_cnns.evaluation.results import PatientLevel


def compute_patient_level_of_folds(
    predictions: LabelledPredictions, patients: np.ndarray, folds: Folds
) -> PatientLevel | None:
    """Compute the results per patient, as `compute_patient_level` does.

    The result is None if no patient has several images, if none is left, or if a patient has images in several folds.

    Args:
        predictions: The out-of-fold predictions for images.
        patients: The patient of each image; images of unknown patients have one each.
        folds: The folds of the images.
    """
    by_patient = np.unique(np.stack([np.unique(patients, return_inverse=True)[1], folds.assigned]), axis=1)
    several_folds = by_patient.shape[1] > len(np.unique(patients))
    if several_folds or len(np.unique(patients)) in (0, len(patients)):
        return None
    single = not predictions.multi_label and not (predictions.is_binary and predictions.positive_is_known)
    results, thresholds, left_out = {}, {}, 0
    for name in [MEAN] if single else COMBINATIONS:
        combined = [
            combine_images(predictions.take(own), patients[own], name, by_class=single)
            for own in (folds.held_out(fold) for fold in range(len(folds)))
        ]
        left_out = sum(without for _, without in combined)
        labels, probabilities, decisions = cross_fit_patients([part for part, _ in combined])
        if not len(labels):
            return None
        threshold = choose(labels, probabilities)
        source = predictions.operating_point.source
        results[name] = replace(
            predictions,
            labels=labels,
            probabilities=probabilities,
            operating_point=OperatingPoint(threshold=threshold, temperature=None, source=source),
            groups=None,
            decisions=decisions,
        ).compute()
        thresholds[name] = threshold
    return PatientLevel(results=results, thresholds=thresholds, thresholds_from_patients=True, left_out=left_out)


def cross_fit_patients(parts: list[LabelledPredictions]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities and decisions of the patients of all folds, given those of each fold.

    The decisions for the patients of a fold use the threshold of the patients of the other folds.
    """
    decisions = []
    for index, part in enumerate(parts):
        others = [other for position, other in enumerate(parts) if position != index]
        labels = np.concatenate([other.labels for other in others])
        threshold = choose(labels, np.concatenate([other.probabilities for other in others]))
        decisions.append(predict_classes(part.probabilities, threshold))
    return (
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate(decisions),
    )


def choose(labels: np.ndarray, probabilities: np.ndarray) -> Threshold:
    """Return the threshold with the highest Youden index, or those of several labels, which are 0.5 without one."""
    if labels.ndim == 1:
        return choose_threshold(labels, probabilities)
    chosen = [
        choose_threshold(labels[:, label], binary_probabilities(probabilities[:, label]))
        for label in range(labels.shape[1])
    ]
    return tuple(DEFAULT_THRESHOLD if value is None else value for value in chosen)
