"""Youden's index, as a metric of evaluations."""

from keras_cnns.evaluation.metric import Metric

METRIC = Metric(
    name="youden",
    title="Youden's index",
    description="sensitivity + specificity - 1, 0 for chance",
    function=lambda outcomes: outcomes.sensitivity + outcomes.specificity - 1,
    minimum=-1.0,
    one_versus_rest=True,
)
