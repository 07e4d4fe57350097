"""The answers of an evaluation as a table, and the risk-coverage curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_cnns.evaluation.answer_results import AnswerResult, Answers
from keras_cnns.evaluation.plot_style import CURVES, frame_axes, label_axes
from keras_cnns.evaluation.proportion import Proportion
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.plotting import INK, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def format_answers(answers: Answers) -> dict[str, Any]:
    """Format the table of answers, in the form of `format_table`."""
    results = {"all": answers.overall, **{f"class {name}": found for name, found in answers.by_class.items()}}
    for column, subgroups in answers.by.items():
        results |= {f"{column} {name}": found for name, found in subgroups.items()}
    columns = ["answers", "images", "answered", "accuracy", "when answered"]
    if answers.sets is not None:
        columns += ["class in set", "set size"]
    rows = [
        {"name": name, "counts": [f"{result.images:,}"], "cells": format_result(result)}
        for name, result in results.items()
    ]
    return {"columns": columns, "rows": rows}


def format_result(result: AnswerResult) -> list[tuple[str, str]]:
    """Format the cells of a row."""
    cells = [format_proportion(share) for share in (result.answered, result.accuracy, result.accuracy_answered)]
    if result.set_size is not None:
        cells += [format_proportion(result.in_set), (f"{result.set_size:.2f}", "")]
    return cells


def format_proportion(share: Proportion | None) -> tuple[str, str]:
    """Format a proportion and its interval."""
    return ("none", "answered") if share is None else (f"{share.value:.3f}", f"{share.low:.3f} to {share.high:.3f}")


def draw_risk_coverage(evaluation: Evaluation, answers: Answers) -> Figure:
    """Draw the fraction of wrong answers at each coverage, and what was chosen."""
    figure = make_figure(11, 4, dpi=110)
    axes = figure.subplots()
    frame_axes(axes)
    curve = evaluation.risk_coverage
    if curve is not None:
        label = f"answers by confidence, area {curve.area:.4f}"
        axes.step(curve.coverage, curve.risk, where="post", color=CURVES[0], linewidth=1.6, label=label)
    answered, accuracy = answers.overall.answered, answers.overall.accuracy_answered
    if answered is not None and accuracy is not None:
        axes.plot(answered.value, 1 - accuracy.value, "o", color=INK, markersize=7, label="as chosen")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9, labelcolor=INK, frameon=False, loc="upper left")
    label_axes(axes, "Risk-coverage curve", "Coverage (fraction of images answered)", "Wrong answers")
    return figure
