"""Local recalibration: what threshold and probabilities would be worth if they were adapted to a new site.

At a new site, the prevalence and the images differ, so that a transported threshold has another sensitivity and
specificity than where it was chosen. Here the probabilities are recalibrated by logistic regression on their logits
(slope and intercept), and the threshold is chosen by the rule of the evaluation, on the images of this site. Both are
cross-fitted: those of a fifth of the patients come from the other four fifths, so that no image is evaluated with a
threshold that it helped to choose.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from keras_cnns.data.partition import assign_folds
from keras_cnns.evaluation.calibration import binary_probabilities, to_logits
from keras_cnns.evaluation.intervals import number_groups
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import (
    DEFAULT_THRESHOLD,
    FIXED,
    OperatingPoint,
    ThresholdRule,
    choose_threshold,
    predict_classes,
)
from keras_cnns.evaluation.results import MetricResult

FOLDS = 5
MIN_GROUPS_PER_CLASS = 20


def recalibrate(predictions: LabelledPredictions) -> MetricResult | None:
    """Return the metrics after cross-fitted recalibration; None if a class has fewer than 20 images or patients.

    Args:
        predictions: Predictions for two classes, of which the positive one is known.
    """
    labels, probabilities, rule = predictions.labels, predictions.probabilities, predictions.operating_point.rule
    groups = number_groups(predictions.groups, len(labels))
    if min(len(np.unique(groups[labels == label])) for label in (0, 1)) < MIN_GROUPS_PER_CLASS:
        return None
    logits = np.diff(to_logits(probabilities), axis=1)
    recalibrated, decisions = np.empty(len(labels)), np.empty(len(labels), np.int64)
    folds = assign_folds(labels, groups, FOLDS, predictions.seed)
    for fold in range(FOLDS):
        held_out = folds == fold
        model = LogisticRegression(C=np.inf).fit(logits[~held_out], labels[~held_out])
        others, own = (expit(model.decision_function(logits[part])) for part in (~held_out, held_out))
        threshold = choose(labels[~held_out], others, rule)
        recalibrated[held_out] = own
        decisions[held_out] = predict_classes(binary_probabilities(own), threshold)
    point = OperatingPoint(threshold=None, temperature=None, source="the other images of this site", rule=rule)
    adapted = replace(
        predictions, probabilities=binary_probabilities(recalibrated), decisions=decisions, operating_point=point
    )
    return adapted.compute()


def choose(labels: np.ndarray, probability: np.ndarray, rule: ThresholdRule) -> float:
    """Return the threshold that a rule chooses, or 0.5 if no threshold is better than chance."""
    if rule.kind == FIXED:
        return rule.value
    threshold = choose_threshold(labels, binary_probabilities(probability), rule)
    return DEFAULT_THRESHOLD if threshold is None else threshold
