"""Results per patient instead of per image, from the predictions for all images of each patient.

The probabilities after temperature scaling of a patient's images are combined by their mean, their maximum or, for a
finding that each image shows independently, by noisy-or: 1 - (1 - p1)(1 - p2)... A patient is positive if one of the
images is. For more than two classes, or if the positive class is unknown, there is only the mean, and patients with
images of several classes are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import FIXED, OperatingPoint, choose_threshold
from keras_cnns.evaluation.results import PatientLevel

MEAN = "mean"


def mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the images of a patient."""
    return np.asarray(values.mean(axis=0))


def maximum(values: np.ndarray) -> np.ndarray:
    """Return the maximum over the images of a patient."""
    return np.asarray(values.max(axis=0))


def noisy_or(values: np.ndarray) -> np.ndarray:
    """Return the probability that at least one image is positive, if they are independent."""
    return np.asarray(1 - np.prod(1 - values, axis=0))


COMBINATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    MEAN: mean, "maximum": maximum, "noisy-or": noisy_or,
}  # fmt: skip


def compute_patient_level(
    predictions: LabelledPredictions, patients: np.ndarray, validation: LabelledPredictions | None
) -> PatientLevel | None:
    """Compute the results per patient; None if no patient has several images, or none is left.

    Args:
        predictions: The predictions for images.
        patients: The patient of each image; images of unknown patients have one each.
        validation: The predictions for validation images, whose groups are patients, for the choice of thresholds;
            None if they are not known.
    """
    if len(np.unique(patients)) in (0, len(patients)):
        return None
    single = not predictions.multi_label and not (predictions.is_binary and predictions.positive_is_known)
    results, thresholds, left_out = {}, {}, 0
    for name in [MEAN] if single else COMBINATIONS:
        combined, left_out = combine_images(predictions, patients, name, by_class=single)
        if not len(combined.labels):
            return None
        if validation is not None and validation.groups is not None:
            known, _ = combine_images(validation, validation.groups, name, by_class=single)
            combined = replace(combined, operating_point=choose_for_patients(combined.operating_point, known))
        results[name] = combined.compute()
        thresholds[name] = combined.operating_point.threshold
    from_patients = validation is not None and validation.groups is not None
    return PatientLevel(
        results=results, thresholds=thresholds, thresholds_from_patients=from_patients, left_out=left_out
    )


def combine_images(
    predictions: LabelledPredictions, patients: np.ndarray, name: str, *, by_class: bool
) -> tuple[LabelledPredictions, int]:
    """Return the predictions for patients, and the number of patients left out because of several classes.

    Args:
        predictions: The predictions for images.
        patients: The patient of each image.
        name: How the images are combined, a key of `COMBINATIONS`.
        by_class: Leave out patients with images of several classes; otherwise a patient has the labels that any of
            the images has.
    """
    scaled = predictions.operating_point.scale(predictions.probabilities, multi_label=predictions.multi_label)
    order = np.argsort(patients, kind="stable")
    starts = np.flatnonzero(np.r_[True, patients[order][1:] != patients[order][:-1]])
    labels, probabilities = [], []
    for images in np.split(order, starts[1:]):
        own = predictions.labels[images]
        if by_class and len(np.unique(own)) > 1:
            continue
        labels.append(own.max(axis=0))
        if predictions.is_binary:
            positive = COMBINATIONS[name](scaled[images, 1])
            probabilities.append(np.array([1 - positive, positive]))
        else:
            probabilities.append(COMBINATIONS[name](scaled[images]))
    point = predictions.operating_point
    combined = replace(
        predictions,
        labels=np.array(labels, np.int64).reshape(len(labels), *predictions.labels.shape[1:]),
        probabilities=np.array(probabilities).reshape(len(labels), -1),
        operating_point=replace(point, threshold=point.scaled_threshold, temperature=None),
        groups=None,
        decisions=None,
    )
    return combined, len(starts) - len(labels)


def choose_for_patients(point: OperatingPoint, validation: LabelledPredictions) -> OperatingPoint:
    """Return the operating point with the threshold that its rule chooses on validation patients, where it can."""
    if point.rule.kind == FIXED or point.threshold is None:
        return point
    if not isinstance(point.threshold, tuple):
        found = choose_threshold(validation.labels, validation.probabilities, point.rule)
        return point if found is None else replace(point, threshold=found)
    labels = [validation.select_label(label) for label in range(len(point.threshold))]
    chosen = [choose_threshold(label.labels, label.probabilities, point.rule) for label in labels]
    pairs = zip(chosen, point.threshold, strict=True)
    return replace(point, threshold=tuple(own if new is None else new for new, own in pairs))
