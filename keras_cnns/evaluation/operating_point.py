"""Operating points: the decision threshold and the temperature at which the probabilities of a network are used.

`labels` are class indices of shape (images,), or 0 or 1 for each label, shape (images, labels). `probabilities` have
shape (images, classes), or (images, labels).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from sklearn.metrics import roc_curve

from keras_cnns.evaluation.calibration import apply_temperature, binary_probabilities, fit_temperature

DEFAULT_THRESHOLD = 0.5
# Two classes: the threshold for class 1. Multi-label: one per label. None: the most probable class is predicted.
Threshold: TypeAlias = float | tuple[float, ...] | None
TOLERANCE = 1e-12
YOUDEN, AT_SENSITIVITY, AT_SPECIFICITY, FIXED = "youden", "at_sensitivity", "at_specificity", "fixed"


@dataclass(frozen=True)
class ThresholdRule:
    """A rule that chooses a decision threshold.

    Attributes:
        kind: "youden" for the highest Youden index, "at_sensitivity" for the highest specificity at a sensitivity,
            "at_specificity" for the highest sensitivity at a specificity, or "fixed" for a given threshold.
        value: The sensitivity or specificity to attain, or the threshold, for probabilities after temperature scaling.
    """

    kind: str = YOUDEN
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A decision threshold and a temperature, fitted on validation images.

    Attributes:
        threshold: The minimum probability before temperature scaling at which class 1 of two classes, or each of
            several labels, is predicted. None for more than two classes, or if validation images gave no threshold.
        temperature: Divisor of the logits; None if validation images gave no temperature.
        source: Describes the images that both were fitted on.
        tta: The `tta` of the predictions that both were fitted on, see `evaluate`.
        rule: How the threshold was chosen.
    """

    threshold: Threshold
    temperature: float | None
    source: str
    tta: int = 1
    rule: ThresholdRule = ThresholdRule()

    @property
    def scaled_threshold(self) -> Threshold:
        """The threshold for probabilities after temperature scaling, which are those that users read."""
        return self.threshold if self.temperature is None else scale_threshold(self.threshold, self.temperature)

    def scale(self, probabilities: np.ndarray, *, multi_label: bool) -> np.ndarray:
        """Return probabilities after temperature scaling, or as they are without a temperature."""
        if self.temperature is None:
            return probabilities
        return apply_temperature(probabilities, self.temperature, multi_label=multi_label)

    @property
    def applied_temperature(self) -> float | np.ndarray | None:
        """The temperature for all images or, in a cross-validation, that of each image, shape (images, 1)."""
        return self.temperature

    def take(self, indices: np.ndarray) -> OperatingPoint:  # noqa: ARG002 - it is the same for all images
        """Return the operating point for the images at these indices."""
        return self

    def swap_classes(self) -> OperatingPoint:
        """Return the operating point of two classes for their reverse order."""
        return replace(self, threshold=1 - self.threshold if isinstance(self.threshold, float) else None)

    def select_label(self, label: int) -> OperatingPoint:
        """Return the operating point of one of several labels."""
        return replace(self, threshold=self.threshold[label] if isinstance(self.threshold, tuple) else self.threshold)


def predict_classes(probabilities: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return the predicted class of each image, shape (images,).

    A float predicts class 1 of two classes at or above this probability; None predicts the most probable class. A
    tuple has the threshold of each label and returns 0 or 1 for each, shape (images, labels).
    """
    if isinstance(threshold, tuple):
        return (probabilities >= np.array(threshold)).astype(np.int64)
    if threshold is None or probabilities.shape[1] != 2:
        return np.asarray(probabilities.argmax(axis=1))
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def scale_threshold(threshold: Threshold, temperature: float) -> Threshold:
    """Return a threshold for probabilities after temperature scaling."""
    if threshold is None:
        return None
    values = binary_probabilities(np.atleast_1d(np.array(threshold, np.float64)))
    scaled = apply_temperature(values, temperature)[:, 1].tolist()
    return tuple(scaled) if isinstance(threshold, tuple) else scaled[0]


def choose_threshold(
    labels: np.ndarray, probabilities: np.ndarray, rule: ThresholdRule = ThresholdRule()
) -> float | None:
    """Return the threshold for class 1 of two classes that a rule chooses on these images.

    By default it has the highest Youden index, which is sensitivity + specificity - 1. The threshold is the midpoint
    of two neighbouring probabilities and, among several with the same Youden index, the one nearest to 0.5. It is None
    for more than two classes, if only one class has images, if a probability is not finite, or if no threshold is
    better than chance by the Youden index.

    Args:
        labels: The class of each image.
        probabilities: Shape (images, 2).
        rule: The rule, which is not that of a fixed threshold.
    """
    if probabilities.shape[1] != 2 or not np.isfinite(probabilities).all() or len(np.unique(labels)) < 2:
        return None
    positive = probabilities[:, 1].astype(np.float64)
    false_positive_rate, true_positive_rate, thresholds = roc_curve(labels, positive, drop_intermediate=False)
    if rule.kind != YOUDEN:
        # Each threshold predicts class 1 at or above it. The first predicts no image as class 1.
        ends = np.concatenate(([np.nextafter(1.0, 2.0)], thresholds[1:], [0.0]))
        if rule.kind == AT_SENSITIVITY:
            index = int(np.argmax(true_positive_rate >= rule.value - TOLERANCE))
        else:
            index = int(np.flatnonzero(1 - false_positive_rate >= rule.value - TOLERANCE)[-1])
        above, below = float(ends[index]), float(ends[index + 1])
        middle = (above + below) / 2
        return middle if middle > below else above
    # The first threshold predicts no image as class 1, and the last one all images.
    youden = (true_positive_rate - false_positive_rate)[1:-1]
    if not len(youden) or youden.max() <= 0:
        return None
    midpoints = (thresholds[1:-1] + thresholds[2:]) / 2
    best = midpoints[youden >= youden.max() - TOLERANCE][::-1]
    return float(best[np.abs(best - 0.5).argmin()])


def fit_operating_point(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Fit the decision threshold and the temperature on validation images.

    Returns:
        `threshold` and `temperature` or, for several labels, `threshold_0`, `threshold_1`, ... and one `temperature`
        for all labels. Values that these images do not determine are left out.
    """
    if labels.ndim == 2:
        fitted = {
            f"threshold_{label}": choose_threshold(labels[:, label], binary_probabilities(probabilities[:, label]))
            for label in range(labels.shape[1])
        }
        fitted["temperature"] = fit_temperature(labels.ravel(), binary_probabilities(probabilities.ravel()))
    else:
        fitted = {
            "threshold": choose_threshold(labels, probabilities),
            "temperature": fit_temperature(labels, probabilities),
        }
    return {name: value for name, value in fitted.items() if value is not None}
