"""The calibration of an evaluation in its record, its report and its notes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from test_metrics import TASKS, draw_evaluation, evaluate_predictions

from keras_cnns.evaluation.calibration import binary_probabilities
from keras_cnns.evaluation.calibration_results import compute_decision_curve, describe_calibration
from keras_cnns.evaluation.caveats import note_temperature
from keras_cnns.evaluation.report.plots import draw_evaluation as draw_plots
from keras_cnns.evaluation.results import Evaluation


@pytest.mark.parametrize("task", TASKS)
def test_the_record_has_reliability_decomposition_and_decision_curve(task: str) -> None:
    evaluation = draw_evaluation(task)
    described = json.loads(json.dumps(describe_calibration(evaluation), allow_nan=False))
    for scaling, suffix in (("before_scaling", ""), ("after_scaling", "_scaled")):
        bins = described[scaling]["bins"]
        images = sum(row["images"] for row in bins)
        assert images == evaluation.labels.size
        gaps = sum(row["images"] * abs(row["probability"] - row["fraction"]) for row in bins)
        if task != "multi-label":  # the ECE of an evaluation is then the mean of those of the labels
            assert gaps / images == pytest.approx(evaluation.metrics[f"ece{suffix}"])
        assert all(row["low"] <= row["fraction"] <= row["high"] for row in bins)
        assert ("brier_decomposition" in described[scaling]) == (task == "binary")
        if task == "binary":
            parts = described[scaling]["brier_decomposition"]
            total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
            assert total == pytest.approx(evaluation.metrics[f"brier{suffix}"])
    assert (described["decision_curve"] is None) == (task != "binary")


def test_the_decision_curve_uses_the_probabilities_after_temperature_scaling() -> None:
    evaluation = draw_evaluation("binary")
    curve = compute_decision_curve(evaluation)
    assert curve is not None
    scaled = evaluation.operating_point.scale(evaluation.probabilities, multi_label=False)[:, 1]
    treated = scaled >= 0.3
    found = dict(zip(curve.thresholds, curve.model, strict=True))
    expected = (treated & (evaluation.labels == 1)).mean() - 3 / 7 * (treated & (evaluation.labels == 0)).mean()
    assert found[0.3] == pytest.approx(expected)
    assert compute_decision_curve(replace(evaluation, positive=None)) is None


def plotted_titles(evaluation: Evaluation) -> list[str]:
    return [axes.get_title(loc="left") for axes in draw_plots(evaluation).axes]


def test_the_report_has_a_decision_curve_if_a_class_is_positive() -> None:
    evaluation = draw_evaluation("binary")
    assert plotted_titles(evaluation)[-1] == "Decision curve"
    for other in (replace(evaluation, positive=None), draw_evaluation("multi-class"), draw_evaluation("multi-label")):
        assert "Decision curve" not in plotted_titles(other)
        assert "Reliability diagram" in plotted_titles(other)


def test_a_temperature_that_makes_probabilities_worse_is_noted() -> None:
    labels = np.array([0, 1] * 60)
    confident = binary_probabilities(np.where(labels, 0.97, 0.03))
    (note,) = note_temperature(evaluate_predictions(labels, confident, 0.5))
    assert note.startswith(
        "The temperature of 1.50 makes the probabilities of these images worse: Brier score 0.0009 → "
    )
    assert "log loss 0.0305 → " in note
    overconfident = binary_probabilities(np.where(np.arange(120) % 10 < 3, 1 - labels, labels) * 0.98 + 0.01)
    assert list(note_temperature(evaluate_predictions(labels, overconfident, 0.5))) == []
    without = evaluate_predictions(labels, confident, 0.5)
    without = replace(without, operating_point=replace(without.operating_point, temperature=None))
    assert list(note_temperature(without)) == []
