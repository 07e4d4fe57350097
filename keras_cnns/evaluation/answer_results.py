"""How well a network answers the images that it does not abstain from: overall, by class and by subgroup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_cnns.evaluation.answering import AnswerRule
from keras_cnns.evaluation.conformal import equal_weights
from keras_cnns.evaluation.operating_point import predict_classes
from keras_cnns.evaluation.proportion import Proportion, proportion


@dataclass(frozen=True, kw_only=True)
class AnswerResult:
    """The answers for some images.

    Proportions are None without images to compute them from.

    Attributes:
        images: Number of images.
        in_set: The images whose prediction set contains the true class; None without sets.
        set_size: The mean number of classes in a prediction set; None without sets.
        answered: The images that are answered.
        accuracy: The correct predictions among all images.
        accuracy_answered: The correct predictions among the images that are answered.
    """

    images: int
    in_set: Proportion | None
    set_size: float | None
    answered: Proportion | None
    accuracy: Proportion | None
    accuracy_answered: Proportion | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Which images of an evaluation are answered, and how well.

    Attributes:
        rule: The rule.
        answered: Whether each image is answered, shape (images,).
        sets: The prediction set of each image, shape (images, classes); None without sets.
        overall: The result for all images.
        in_set_by_patient: The mean over patients of the fraction of their images whose set contains the true class,
            which is what the confidence level refers to; None without sets, and if patients are unknown.
        by_class: The result for the images of each true class that has images.
        by: The result for each subgroup, by column and value.
    """

    rule: AnswerRule
    answered: np.ndarray
    sets: np.ndarray | None
    overall: AnswerResult
    in_set_by_patient: float | None
    by_class: Mapping[str, AnswerResult]
    by: Mapping[str, Mapping[str, AnswerResult]]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-compatible values."""
        rule = self.rule
        return {
            "confidence_level": rule.choice.confidence_level,
            "coverage": rule.choice.coverage,
            "min_confidence": rule.min_confidence,
            "calibrated_on": {"images": rule.images, "patients": rule.patients},
            "in_set_by_patient": self.in_set_by_patient,
            "overall": asdict(self.overall),
            "by_class": {name: asdict(result) for name, result in self.by_class.items()},
            "by": {
                column: {name: asdict(result) for name, result in results.items()}
                for column, results in self.by.items()
            },
        }


def compute_answers(
    rule: AnswerRule,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: tuple[str, ...],
    *,
    unusual: np.ndarray | None = None,
    patients: np.ndarray | None = None,
    subgroups: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Answers:
    """Apply a rule to images and measure how well it works.

    Args:
        rule: The rule.
        labels: The true class of each image, shape (images,).
        probabilities: Before temperature scaling, shape (images, classes).
        class_names: The classes.
        unusual: Whether each image is out of distribution, and therefore not answered.
        patients: The patient, or other group, of each image; None if unknown.
        subgroups: Whether each image is in a subgroup, shape (images,), by column and subgroup.
    """
    predicted, sets = predict_classes(probabilities, rule.threshold), rule.sets(probabilities)
    answered = rule.answers(probabilities) & (True if unusual is None else ~unusual)
    correct = predicted == labels
    in_set = None if sets is None else sets[np.arange(len(labels)), labels]

    def share(events: np.ndarray, chosen: np.ndarray) -> Proportion | None:
        return proportion(events[chosen], None if patients is None else patients[chosen]) if chosen.any() else None

    def compute(chosen: np.ndarray) -> AnswerResult:
        return AnswerResult(
            images=int(chosen.sum()),
            in_set=None if in_set is None else share(in_set, chosen),
            set_size=None if sets is None or not chosen.any() else float(sets[chosen].sum(axis=1).mean()),
            answered=share(answered, chosen),
            accuracy=share(correct, chosen),
            accuracy_answered=share(correct, chosen & answered),
        )

    return Answers(
        rule=rule,
        answered=answered,
        sets=sets,
        overall=compute(np.ones(len(labels), bool)),
        in_set_by_patient=None
        if in_set is None or patients is None
        else float(np.average(in_set, weights=equal_weights(patients))),
        by_class={name: compute(labels == label) for label, name in enumerate(class_names) if (labels == label).any()},
        by={
            column: {name: compute(images) for name, images in of_column.items()}
            for column, of_column in (subgroups or {}).items()
        },
    )
