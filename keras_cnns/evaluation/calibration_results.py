"""Calibration and decision curve of an evaluation, as data for plots and records."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from keras_cnns.evaluation.calibration import (
    ReliabilityDiagram,
    bin_predictions,
    binary_probabilities,
    reliability_diagram,
)
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.evaluation.statistics.brier_decomposition import decompose_brier_score
from keras_cnns.evaluation.statistics.net_benefit import DecisionCurve, decision_curve


def probabilities_by_scaling(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return the probabilities before temperature scaling and, if there is a temperature, after it."""
    found = {"before_scaling": evaluation.probabilities}
    point = evaluation.operating_point
    if point.temperature is not None:
        found["after_scaling"] = point.scale(evaluation.probabilities, multi_label=evaluation.multi_label)
    return found


def compute_reliability(evaluation: Evaluation, probabilities: np.ndarray) -> ReliabilityDiagram:
    """Compute the reliability diagram of these probabilities; in multi-label classification, over all labels.

    The intervals consider the groups of the evaluation, or that all labels of an image belong together.
    """
    labels, groups = evaluation.labels, evaluation.group_of_image
    if evaluation.multi_label:
        groups = np.repeat(np.arange(len(labels)) if groups is None else groups, labels.shape[1])
        labels, probabilities = labels.ravel(), binary_probabilities(probabilities.ravel())
    return reliability_diagram(labels, probabilities, groups)


def compute_decision_curve(evaluation: Evaluation) -> DecisionCurve | None:
    """Compute the decision curve of the probabilities after temperature scaling, or as they are without a temperature.

    There is none unless there are two classes, one of which is known to be positive.
    """
    if evaluation.positive is None or not len(evaluation.labels):
        return None
    *_, probabilities = probabilities_by_scaling(evaluation).values()
    return decision_curve(evaluation.labels == 1, probabilities[:, 1])


def describe_calibration(evaluation: Evaluation) -> dict[str, Any]:
    """Return the reliability diagrams, the decompositions of the Brier score and the decision curve for a record.

    The values are JSON-compatible. A decomposition needs two classes, a decision curve a positive one.
    """
    described: dict[str, Any] = {}
    for name, probabilities in probabilities_by_scaling(evaluation).items():
        diagram = asdict(compute_reliability(evaluation, probabilities))
        columns = [values[diagram["images"] > 0].tolist() for values in diagram.values()]
        described[name] = {"bins": [dict(zip(diagram, row, strict=True)) for row in zip(*columns, strict=True)]}
        if evaluation.is_binary:
            probability, occurred, bins = bin_predictions(evaluation.labels, probabilities)
            described[name]["brier_decomposition"] = asdict(decompose_brier_score(occurred, probability, bins))
    curve = compute_decision_curve(evaluation)
    described["decision_curve"] = None if curve is None else {
        name: values.tolist() for name, values in asdict(curve).items()
    }  # fmt: skip
    return described
