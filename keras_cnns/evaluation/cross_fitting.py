"""Cross-fitting: the predictions of each fold are used at the threshold and the temperature of the other folds.

A threshold that is fitted and evaluated on the same predictions is optimistic, also if these are out-of-fold
predictions. For the metrics of a cross-validation, those of each fold are therefore fitted on the other folds
(Chernozhukov et al., "Double/debiased machine learning", 2018, describe this use of folds). For new images, both are
fitted on the out-of-fold predictions of all folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from keras_cnns.data.folds import Folds
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.operating_point import (
    DEFAULT_THRESHOLD,
    OperatingPoint,
    Threshold,
    fit_operating_point,
    predict_classes,
)

SOURCE = "the out-of-fold predictions (for the metrics of each fold, on those of the other folds)"


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossFittedPoint(OperatingPoint):
    """An operating point whose temperature for each image comes from the other folds.

    `threshold` and `temperature` are those for new images, from all folds.

    Attributes:
        temperatures: The temperature of each image, shape (images, 1); None if a fold does not have one.
    """

    temperatures: np.ndarray | None

    @property
    def applied_temperature(self) -> np.ndarray | None:
        """The temperature of each image."""
        return self.temperatures

    def scale(self, probabilities: np.ndarray, *, multi_label: bool) -> np.ndarray:
        """Return the probabilities after division of the logits by the temperature of each image."""
        if self.temperatures is None:
            return probabilities
        if not multi_label:
            return apply_temperature(probabilities, self.temperatures)
        repeated = np.repeat(self.temperatures, probabilities.shape[1], axis=0)
        return apply_temperature(probabilities, repeated, multi_label=True)

    def take(self, indices: np.ndarray) -> CrossFittedPoint:
        """Return the operating point for the images at these indices."""
        return replace(self, temperatures=None if self.temperatures is None else self.temperatures[indices])


def fit_folds(labels: np.ndarray, probabilities: np.ndarray, folds: Folds) -> list[dict[str, float]]:
    """Return the operating point for each fold, fitted on the out-of-fold predictions of the other folds.

    Images of a group with images in the fold are left out, see `Folds.others`.

    Args:
        labels: The class of each image, or 0 or 1 for each label.
        probabilities: The probabilities of each image by the network that was not trained on its fold.
        folds: The folds.

    Returns:
        What `fit_operating_point` returns, for each fold.
    """
    return [
        fit_operating_point(labels[others], probabilities[others])
        for others in (folds.others(fold) for fold in range(len(folds)))
    ]


def cross_fit(labels: np.ndarray, probabilities: np.ndarray, folds: Folds) -> tuple[CrossFittedPoint, np.ndarray]:
    """Return the operating point of out-of-fold predictions, and the predicted class of each image, see `fit_folds`.

    Returns:
        The operating point, and the predicted class of each image at the threshold of its fold, or 0 or 1 for each
        label, in the shape of `labels`.
    """
    by_fold, delivered = fit_folds(labels, probabilities, folds), fit_operating_point(labels, probabilities)
    decisions = np.empty(labels.shape, np.int64)
    for fold, of_others in enumerate(by_fold):
        own = folds.held_out(fold)
        threshold = read_threshold(of_others, labels, probabilities.shape[1])
        decisions[own] = predict_classes(probabilities[own], threshold)
    temperatures = None
    if all("temperature" in point for point in by_fold):
        temperatures = np.array([[point["temperature"]] for point in by_fold])[folds.assigned]
    point = CrossFittedPoint(
        threshold=read_threshold(delivered, labels, probabilities.shape[1]),
        temperature=None if temperatures is None else delivered.get("temperature"),
        source=SOURCE,
        temperatures=temperatures,
    )
    return point, decisions


def read_threshold(point: Mapping[str, float], labels: np.ndarray, classes: int) -> Threshold:
    """Return the threshold of what `fit_operating_point` returns; a label without one gets 0.5."""
    if labels.ndim == 1:
        return point.get("threshold")
    return tuple(point.get(f"threshold_{label}", DEFAULT_THRESHOLD) for label in range(classes))
