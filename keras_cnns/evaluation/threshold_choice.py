"""Decision thresholds by other rules than the Youden index: at a sensitivity or specificity, or given by the user."""

from __future__ import annotations

from dataclasses import replace

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import (
    AT_SENSITIVITY,
    AT_SPECIFICITY,
    DEFAULT_THRESHOLD,
    FIXED,
    YOUDEN,
    OperatingPoint,
    Threshold,
    ThresholdRule,
    choose_threshold,
    scale_threshold,
)


def make_rule(
    *, threshold: float | None = None, at_sensitivity: float | None = None, at_specificity: float | None = None
) -> ThresholdRule:
    """Return the rule that the arguments of `evaluate` name.

    Raises:
        EvaluationError: More than one is given, or the value is not between 0 and 1.
    """
    named = {FIXED: threshold, AT_SENSITIVITY: at_sensitivity, AT_SPECIFICITY: at_specificity}
    given = {kind: value for kind, value in named.items() if value is not None}
    if len(given) > 1:
        raise EvaluationError(
            "--threshold, --at-sensitivity and --at-specificity (threshold, at_sensitivity, at_specificity) exclude "
            "each other; use one of them."
        )
    for kind, value in given.items():
        name = "threshold" if kind == FIXED else kind
        if not 0 < value < 1:
            raise EvaluationError(f"{name}={value} is not possible; use a number between 0 and 1, such as 0.95.")
        return ThresholdRule(kind, value)
    return ThresholdRule()


def check_rule(rule: ThresholdRule, ensemble: Ensemble, positive: str | None) -> None:
    """Raise an `EvaluationError` if a threshold cannot be chosen by a rule, because there is no positive class."""
    network = ensemble.first
    if rule.kind == YOUDEN or network.multi_label or positive is not None:
        return
    if len(network.class_names) != 2:
        raise EvaluationError(
            f"the network of run {network.run.id} has {len(network.class_names)} classes, and the most probable one is "
            f"predicted; leave out the threshold, which only two classes have."
        )
    raise EvaluationError(
        f"a threshold is one for the positive class, which is unknown; choose {' or '.join(network.class_names)} with "
        f"--positive NAME (positive=NAME)."
    )


def apply_rule(point: OperatingPoint, rule: ThresholdRule, validation: LabelledPredictions | None) -> OperatingPoint:
    """Return the operating point with the threshold that a rule chooses on validation images.

    Args:
        point: The operating point.
        rule: The rule; nothing is changed for the Youden index, which the stored threshold maximises.
        validation: The predictions for validation images; None if they are not known.

    Raises:
        EvaluationError: There are no validation images, or they do not determine the threshold.
    """
    if rule.kind == YOUDEN:
        return point
    if rule.kind == FIXED:
        several = len(point.threshold) if isinstance(point.threshold, tuple) else 0
        given: Threshold = (rule.value,) * several if several else rule.value
        threshold = given if point.temperature is None else scale_threshold(given, 1 / point.temperature)
        return replace(point, threshold=threshold, rule=rule)
    wanted = f"{rule.kind.removeprefix('at_')} {rule.value:g}"
    if validation is None:
        raise EvaluationError(
            f"a threshold at {wanted} is chosen on validation images, and the run has no predictions for them; "
            f"evaluate on the images of the run first, train again, or use --threshold (threshold)."
        )
    if validation.multi_label:
        labels = [validation.select_label(label) for label in range(validation.labels.shape[1])]
        chosen = [choose_threshold(label.labels, label.probabilities, rule) for label in labels]
        return replace(
            point, threshold=tuple(DEFAULT_THRESHOLD if value is None else value for value in chosen), rule=rule
        )
    found = choose_threshold(validation.labels, validation.probabilities, rule)
    if found is None:
        raise EvaluationError(
            f"no threshold at {wanted} can be chosen, because all validation images are of one class; use --threshold "
            f"(threshold)."
        )
    return replace(point, threshold=found, rule=rule)
