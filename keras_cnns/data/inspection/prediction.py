"""How well features predict labels: cross-validated predictions, AUC and its interval."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

MAX_LEAVES = 32
TREES = 30
MIN_LEAF_SHARE = 100
AUC_GRID = np.linspace(0, 1, 2001)


def predict_out_of_fold(features: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, forest: bool) -> np.ndarray:
    """Predict each image by a decision tree, or a random forest, that was trained on the other folds.

    Trees need no scaling, find windows as well as thresholds, and accept missing values.

    Args:
        features: Shape (images, features).
        labels: The class of each image, shape (images,), or 0 or 1 for each label, shape (images, labels).
        folds: The fold of each image.
        forest: Use a forest, which combines many features better.

    Returns:
        A score for each class or label, shape (images, classes).
    """
    if labels.ndim == 2:
        columns = [predict_out_of_fold(features, column, folds, forest=forest)[:, -1] for column in labels.T]
        return np.stack(columns, axis=1)
    classes = np.unique(labels)
    scores = np.zeros((len(labels), int(classes[-1]) + 1))
    for fold in np.unique(folds):
        held_out = folds == fold
        options = {
            "max_leaf_nodes": MAX_LEAVES + len(classes),
            "min_samples_leaf": max(2, int((~held_out).sum()) // (MIN_LEAF_SHARE * len(classes))),
            "class_weight": "balanced",
            "random_state": 0,
        }
        tree = RandomForestClassifier(TREES, **options) if forest else DecisionTreeClassifier(**options)
        tree.fit(features[~held_out], labels[~held_out])
        scores[np.ix_(held_out, tree.classes_)] = tree.predict_proba(features[held_out])
    return scores


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve: the probability that a positive image has the higher score."""
    positives = int(positive.sum())
    ranks = float(rankdata(scores)[positive].sum()) - positives * (positives + 1) / 2
    return ranks / (positives * (len(positive) - positives))


def auc_interval(auc: float, positives: int, negatives: int, z: float) -> tuple[float, float]:
    """Return the interval of an AUC: the values from which it differs by at most `z` standard errors.

    The standard error is that of Hanley and McNeil (1982) at the assumed value, as in method 5 of Newcombe (2006). It
    is not 0 at an AUC of 1, so that a perfect prediction of few images has a wide interval.

    Args:
        auc: The AUC.
        positives: The number of independent positive images, or of patients with one.
        negatives: The number of independent negative images, or of patients with one.
        z: 1.96 for 95 %.
    """
    other = (positives + negatives) / 2 - 1
    spread = 1 + other * (1 - AUC_GRID) / (2 - AUC_GRID) + other * AUC_GRID / (1 + AUC_GRID)
    error = np.sqrt(AUC_GRID * (1 - AUC_GRID) * spread / (positives * negatives))
    accepted = AUC_GRID[np.abs(auc - AUC_GRID) <= z * error]
    return min([auc, *accepted.tolist()]), max([auc, *accepted.tolist()])
