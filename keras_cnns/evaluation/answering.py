"""Which images a network answers, and from which it abstains.

There are two ways to choose, both calibrated on the validation predictions that a training stores in its run:

- a confidence level: each image gets a conformal prediction set, and is answered if this set is only the predicted
  class, see `keras_cnns.evaluation.conformal`;
- a coverage: the images with the highest confidence are answered, see `keras_cnns.evaluation.selective`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.conformal import ClassQuantiles, class_quantiles, prediction_sets
from keras_cnns.evaluation.operating_point import Threshold, predict_classes
from keras_cnns.evaluation.selective import decision_confidence, min_confidence

if TYPE_CHECKING:
    from keras_cnns.evaluation.ensemble import Ensemble

Validation = TypeVar("Validation")


@dataclass(frozen=True, kw_only=True)
class AnswerChoice:
    """How a user wants to choose the answered images: exactly one of the attributes is not None.

    Attributes:
        confidence_level: The probability with which a prediction set contains the true class.
        coverage: The fraction of validation images that are answered.
    """

    confidence_level: float | None = None
    coverage: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerRule:
    """A rule that decides which images are answered. Probabilities are those before temperature scaling.

    Attributes:
        choice: How the answered images were to be chosen.
        threshold: The decision threshold; None if the most probable class is predicted.
        images: Number of validation images that the rule was calibrated on.
        patients: Number of validation patients; None if they are unknown.
        quantiles: The `class_quantiles` of the prediction sets; None without sets.
        min_confidence: The lowest `decision_confidence` that is answered; None with sets.
    """

    choice: AnswerChoice
    threshold: Threshold
    images: int
    patients: int | None
    quantiles: ClassQuantiles | None
    min_confidence: float | None

    def sets(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Return which classes are in the prediction set of each image, shape (images, classes); None without sets."""
        if self.quantiles is None:
            return None
        return prediction_sets(probabilities, self.quantiles, predict_classes(probabilities, self.threshold))

    def answers(self, probabilities: np.ndarray) -> np.ndarray:
        """Return whether each image is answered, shape (images,)."""
        sets = self.sets(probabilities)
        if sets is None:
            return np.asarray(decision_confidence(probabilities, self.threshold) >= self.min_confidence)
        predicted = predict_classes(probabilities, self.threshold)
        return np.asarray((sets.sum(axis=1) == 1) & sets[np.arange(len(sets)), predicted])


def choose_answers(confidence_level: float | None, coverage: float | None) -> AnswerChoice | None:
    """Return how the answered images are chosen; None if all are answered.

    Raises:
        EvaluationError: Both are given, or the value is not possible.
    """
    if confidence_level is None and coverage is None:
        return None
    if confidence_level is not None and coverage is not None:
        raise EvaluationError(
            "--confidence-level and --coverage (confidence_level, coverage) exclude each other; use one of them."
        )
    if confidence_level is not None and not 0 < confidence_level < 1:
        raise EvaluationError(
            f"confidence_level={confidence_level:g} is not possible; use a number between 0 and 1, such as 0.9."
        )
    if coverage is not None and not 0 < coverage <= 1:
        raise EvaluationError(
            f"coverage={coverage:g} is not possible; use a number above 0 and at most 1, such as 0.8."
        )
    return AnswerChoice(confidence_level=confidence_level, coverage=coverage)


def check_answers(choice: AnswerChoice | None, ensemble: Ensemble) -> None:
    """Raise an `EvaluationError` if the answers of networks can never be calibrated."""
    if choice is None:
        return
    if ensemble.first.multi_label:
        raise EvaluationError(
            f"the network of run {ensemble.first.run.id} is multi-label, and prediction sets and abstention need one "
            f"class per image; leave out --confidence-level and --coverage (confidence_level, coverage)."
        )
    refit = next((own for own in ensemble.runs if own.trained_on_validation and not own.cross_validation), None)
    if refit is not None:
        raise EvaluationError(
            f"run {refit.id} is a refit, which was trained on the validation images too, so none are left to calibrate "
            f"its answers; use run {refit.tags.get('refit_of', 'unknown')}, which it repeats."
        )


def require_validation(validation: Validation | None, ensemble: Ensemble, tta: int) -> Validation:
    """Return validation predictions, on which the answers of networks are calibrated.

    Raises:
        EvaluationError: There are none.
    """
    if validation is not None and not (tta > 1 and ensemble.cross_validation):
        return validation
    runs = " and ".join(run.id for run in ensemble.runs)
    if tta > 1:
        raise EvaluationError(
            f"run {runs} has no validation predictions with test-time augmentation, on which answers are calibrated; "
            f"leave out --tta (tta)."
        )
    raise EvaluationError(
        f"run {runs} has no predictions for one set of validation images, on which answers are calibrated; use runs "
        f"that were trained on the same splits."
    )


def name_sets(sets: np.ndarray, class_names: Sequence[str]) -> list[list[str]]:
    """Return the names of the classes in each prediction set, as `AnswerRule.sets` returns them."""
    return [[class_names[index] for index in np.flatnonzero(row).tolist()] for row in sets]


def calibrate(
    choice: AnswerChoice,
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: Threshold,
    patients: np.ndarray | None = None,
) -> AnswerRule:
    """Return the rule for a choice.

    Args:
        choice: The choice.
        labels: The class of each validation image, shape (images,).
        probabilities: Before temperature scaling, shape (images, classes).
        threshold: The decision threshold; None if the most probable class is predicted.
        patients: The patient of each image, shape (images,); None if patients are unknown.
    """
    quantiles = lowest = None
    if choice.confidence_level is not None:
        quantiles = class_quantiles(labels, probabilities, choice.confidence_level, patients)
    if choice.coverage is not None:
        lowest = min_confidence(decision_confidence(probabilities, threshold), choice.coverage)
    return AnswerRule(
        choice=choice,
        threshold=threshold,
        images=len(labels),
        patients=None if patients is None else len(np.unique(patients)),
        quantiles=quantiles,
        min_confidence=lowest,
    )
