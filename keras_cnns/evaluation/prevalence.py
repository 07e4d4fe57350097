"""Predictive values for another prevalence than that of the evaluated images.

PPV and NPV depend on how frequent the finding is. Test sets are often enriched with it, so their predictive values are
not those of the patients that a network would be used for. Sensitivity and specificity are assumed to stay the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.outcomes import WeightedOutcomes
from keras_cnns.evaluation.results import MetricResult


def compute_at_prevalence(predictions: LabelledPredictions, prevalence: float) -> MetricResult:
    """Return PPV and NPV at a prevalence, by Bayes' theorem, with intervals.

    They are undefined, and left out, for more than two classes or if the positive class is unknown.
    """

    def positive_value(outcomes: WeightedOutcomes) -> np.ndarray:
        found = outcomes.sensitivity * prevalence
        return np.asarray(found / (found + (1 - outcomes.specificity) * (1 - prevalence)))

    def negative_value(outcomes: WeightedOutcomes) -> np.ndarray:
        right = outcomes.specificity * (1 - prevalence)
        return np.asarray(right / (right + (1 - outcomes.sensitivity) * prevalence))

    known = all_metrics()
    return predictions.compute([
        replace(known["ppv"], function=positive_value, proportion=None),
        replace(known["npv"], function=negative_value, proportion=None),
    ])  # fmt: skip
