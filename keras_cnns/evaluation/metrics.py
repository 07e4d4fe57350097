"""Measures of predicted probabilities against labels."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Measure predictions.

    Args:
        labels: The true class of each image, shape (images,).
        probabilities: The probability of each class, shape (images, classes).

    Returns:
        `loss` (mean cross-entropy, nats), `accuracy` and, where the images are of all classes, `auc`: the area
        under the ROC curve, for more than two classes the mean over one class against the rest.
    """
    rows = np.arange(len(labels))
    chosen = np.clip(probabilities[rows, labels].astype(np.float64), 1e-7, 1.0)
    measured = {
        "loss": float(-np.log(chosen).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
    }
    classes = probabilities.shape[1]
    if len(np.unique(labels)) == classes >= 2 and np.isfinite(probabilities).all():
        one_against_rest = [roc_auc_score(labels == index, probabilities[:, index]) for index in range(classes)]
        measured["auc"] = float(np.mean(one_against_rest))
    return measured
