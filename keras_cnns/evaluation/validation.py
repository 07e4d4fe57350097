"""The predictions of runs for their validation images, which thresholds are chosen on.

Training stores them in the run as `validation_predictions.csv`, a table of cases (`keras_cnns.evaluation.cases`) with
probabilities before temperature scaling, so that an evaluation does not need the images.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from keras_cnns.data.dataset import IMAGE_COLUMN, Dataset, Split
from keras_cnns.display.progress import NO_PROGRESS, Progress
from keras_cnns.evaluation.cases import PATH, PATIENT, PROBABILITY, TRUE_CLASS, case_table
from keras_cnns.evaluation.ensemble import Ensemble, find_indices
from keras_cnns.evaluation.operating_point import OperatingPoint, fit_operating_point, predict_classes
from keras_cnns.evaluation.run_network import RunNetwork
from keras_cnns.tracking import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VALIDATION_CASES = "validation_predictions.csv"


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationPredictions:
    """Predictions for validation images.

    Attributes:
        images: The name of each image.
        labels: The class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        probabilities: Before temperature scaling, shape (images, classes).
        patients: The patient of each image, shape (images,), "" if unknown; None if no patients are known.
    """

    images: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray | None


def describe_validation(
    split: Split, probabilities: np.ndarray, fitted: Mapping[str, float], class_names: Sequence[str]
) -> str:
    """Return the table of cases of validation images as CSV.

    Args:
        split: The validation images.
        probabilities: Before temperature scaling, shape (images, classes).
        fitted: The result of `fit_operating_point`.
        class_names: The classes or labels.
    """
    threshold = fitted.get("threshold")
    thresholds = tuple(fitted.get(f"threshold_{label}", 0.5) for label in range(len(class_names)))
    predicted = predict_classes(probabilities, thresholds if split.labels.ndim == 2 else threshold)
    table = case_table(
        split, "validation", labels=split.labels, probabilities=probabilities, predicted=predicted,
        class_names=class_names,
    )  # fmt: skip
    return str(table.to_csv(index=False))


def find_validation(
    store: Store, ensemble: Ensemble, dataset: Dataset | None = None, *, tta: int = 1, progress: Progress = NO_PROGRESS
) -> ValidationPredictions | None:
    """Return the predictions of an ensemble for the validation images of its runs, or None if they are not known.

    For a cross-validation they are its out-of-fold predictions.

    They are read from the runs if all of them had the same validation images. With test-time augmentation, and for
    runs that did not store them, they are predicted if a dataset is given and is that of the runs.
    """
    if ensemble.cross_validation:
        return read_validation(store, ensemble.cross_validation, ensemble.first.class_names)
    stored = [find_own_validation(store, member) for member in ensemble.members] if tta == 1 else [None]
    first = stored[0]
    known = [found for found in stored if found is not None and first is not None and found.images == first.images]
    if first is not None and len(known) == len(ensemble.members):
        names = ensemble.first.class_names
        orders = [find_indices(names, member.class_names) for member in ensemble.members]
        pairs = zip(known, orders, strict=True)
        mean = np.mean([found.probabilities[:, order] for found, order in pairs], axis=0)
        return ValidationPredictions(
            images=first.images, labels=first.labels, probabilities=mean, patients=first.patients
        )
    if dataset is None:
        return None
    own = len(ensemble.runs_trained_on(dataset)) == len(ensemble.runs)
    if not own or ensemble.trained_on_validation or "validation" not in dataset.splits:
        return None
    split = dataset.splits["validation"]
    return ValidationPredictions(
        images=tuple(split.image_name("validation", index) for index in range(len(split))),
        labels=split.labels,
        probabilities=ensemble.predict(split.images, tta=tta, progress=progress).probabilities,
        patients=split.patients,
    )


def choose_operating_point(
    ensemble: Ensemble, validation: ValidationPredictions | None, *, tta: int = 1
) -> OperatingPoint:
    """Return the stored operating point or, for an ensemble or test-time augmentation, fit it on validation images."""
    if ensemble.cross_validation and validation is not None:
        metrics = fit_operating_point(validation.labels, validation.probabilities)
        return ensemble.first.read_operating_point(metrics, "the out-of-fold predictions of the cross-validation")
    if validation is None or (ensemble.is_single and tta == 1):
        return ensemble.stored_operating_point()
    metrics = fit_operating_point(validation.labels, validation.probabilities)
    conditions = [] if ensemble.is_single else ["for this ensemble"]
    conditions += [f"with test-time augmentation (tta={tta})"] if tta > 1 else []
    return ensemble.first.read_operating_point(metrics, f"the validation images, {' '.join(conditions)}", tta=tta)


def find_own_validation(store: Store, network: RunNetwork) -> ValidationPredictions | None:
    """Return the predictions that a run has stored; None if it has none or was trained on these images."""
    return None if network.run.trained_on_validation else read_validation(store, network.run.id, network.class_names)


def read_validation(store: Store, run_id: str, names: Sequence[str]) -> ValidationPredictions | None:
    """Return the predictions that a run has stored, with the classes or labels in this order; None if it has none."""
    text = store.read_file(run_id, VALIDATION_CASES)
    if text is None:
        return None
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    probabilities = table[[f"{PROBABILITY}{name}" for name in names]].to_numpy().astype(np.float64)
    if TRUE_CLASS in table:
        labels = pd.Index(names).get_indexer(table[TRUE_CLASS])
    else:
        labels = table[[f"true_{name}" for name in names]].to_numpy().astype(np.int64)
    return ValidationPredictions(
        images=tuple(table[PATH if PATH in table else IMAGE_COLUMN]),
        labels=labels,
        probabilities=probabilities,
        patients=table[PATIENT].to_numpy().astype(str) if PATIENT in table else None,
    )
