"""Confidence intervals, over images, of the difference between the winner and the other finalists.

A test over seeds says whether the winner would win again if all finalists were trained again and scored on the same
validation images. Other images would change the scores too. Therefore the difference of the means over seeds gets a
bootstrap interval over images, or over patients if they are known, with the same resamples for all networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_cnns.data.dataset import Split
from keras_cnns.evaluation.intervals import bootstrap_intervals
from keras_cnns.evaluation.metrics import all_metrics, make_weighted_metrics
from tuning.finishing.finals import Finals


def add_lead_intervals(finals: Finals, split: Split, predictions: Mapping[int, Sequence[np.ndarray]]) -> Finals:
    """Return the finals with the interval of the winner's lead over each other finalist.

    Args:
        finals: The finals.
        split: The validation images.
        predictions: Probabilities predicted by each repeat of a finalist, shape (images, classes), by finalist.
    """
    metric = finals.monitor.removeprefix("val_")
    metrics = {
        number: [make_weighted_metrics(split.labels, repeat, metrics=[all_metrics()[metric]]) for repeat in repeats]
        for number, repeats in predictions.items()
        if all(np.isfinite(probabilities).all() for probabilities in repeats)
    }
    winner, *others = finals.finalists
    rivals = [other.number for other in others if {winner.number, other.number} <= metrics.keys()]
    if not rivals:
        return finals

    def leads(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = {
            number: np.mean([compute(weights)[metric] for compute in metrics[number]], axis=0)
            for number in (winner.number, *rivals)
        }
        return {str(number): means[winner.number] - means[number] for number in rivals}

    intervals = {
        name: (interval.low, interval.high)
        for name, interval in bootstrap_intervals(leads, len(split), groups=split.patients).items()
    }
    finalists = (winner, *(replace(other, lead=intervals.get(str(other.number))) for other in others))
    verdict = f"{finals.verdict} {state_lead(finals, intervals, 'images' if split.patients is None else 'patients')}"
    return replace(finals, finalists=finalists, verdict=verdict.rstrip())


def state_lead(finals: Finals, intervals: Mapping[str, tuple[float, float]], unit: str) -> str:
    """Return a sentence that says whether the winner's lead generalizes to other images."""
    if not intervals:
        return ""
    names = {str(finalist.number): finalist.name for finalist in finals.finalists}
    undecided = [names[number] for number, (low, _) in intervals.items() if low <= 0]
    if not undecided:
        return f"The lead of {finals.winner.name} also holds on other {unit} like these (95 % confidence intervals)."
    return f"On other {unit} like these, {' and '.join(undecided)} could be better (95 % confidence intervals)."
