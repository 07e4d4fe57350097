"""An evaluation as text, for the report and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.evaluation.answer_results import Answers
from keras_cnns.evaluation.intervals import RESAMPLES
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.operating_point import AT_SENSITIVITY, FIXED, YOUDEN
from keras_cnns.evaluation.out_of_distribution import UnusualImages
from keras_cnns.evaluation.results import GROUPS, PATIENTS, Evaluation, MetricResult
from keras_cnns.tracking.runs import WEIGHTS, strip_prefix

# The metrics in the tables of labels and subgroups, of which forest plots show the first ones.
BINARY_TABLE = ("auc", "sensitivity", "specificity", "accuracy")
UNKNOWN_POSITIVE_TABLE = ("auc", "balanced_accuracy", "accuracy")
MULTI_CLASS_TABLE = ("accuracy", "balanced_accuracy", "auc", "f1")
PREDICTIVE_VALUES = ("ppv", "npv")


def metric_rows(evaluation: Evaluation) -> Iterator[dict[str, str]]:
    """Yield the rows of the table of metrics."""
    several = "labels" if evaluation.multi_label else "classes, each against the rest"
    positive = "the label" if evaluation.multi_label else "the class"
    if evaluation.is_binary:
        positive = f"class {evaluation.class_names[1]}"
    for name in evaluation.metrics:
        metric = all_metrics()[name]
        meaning = metric.description.replace("{positive}", positive)
        if not metric.higher_is_better:
            meaning += "; lower is better"
        if metric.best is not None:
            meaning += f"; the best value is {metric.best:g}"
        if evaluation.multi_label or (not evaluation.is_binary and metric.one_versus_rest):
            meaning += f"; mean over {several}"
        shown, interval = evaluation.overall.format(name)
        of_positive = metric.needs_positive and evaluation.positive is not None
        yield {
            "name": f"{metric.title} ({evaluation.positive})" if of_positive else metric.title,
            "value": shown,
            "interval": interval,
            "meaning": meaning,
        }


def describe_test_set_evaluations(evaluation: Evaluation) -> str:
    """Describe how often the test set has been evaluated; "" for validation images."""
    counts = evaluation.test_set_evaluations
    if counts is None:
        return ""
    if counts.total == 1:
        return "First evaluation on this test set by any run in this store."
    others = f"{counts.total} by all {counts.runs} runs" if counts.runs > 1 else "none by other runs"
    return (
        f"Evaluations on this test set so far: {counts.by_run} by this run, {others} in this store. Choosing the "
        f"best of several test-set evaluations overfits the test set: the more there are, the more optimistic the best."
    )


def describe_decision(evaluation: Evaluation) -> str:
    """Describe how classes are predicted from probabilities."""
    point = evaluation.operating_point
    threshold, origin = point.scaled_threshold, describe_rule(evaluation)
    if isinstance(threshold, tuple):
        thresholds = zip(evaluation.class_names, threshold, strict=True)
        listed = ", ".join(f"{name} {of_label:.4f}" for name, of_label in thresholds)
        return f"each label at or above its threshold, {origin}: {listed}"
    if len(evaluation.class_names) > 2:
        return "the most probable class"
    if threshold is None:
        return "the more probable class; there is no threshold from validation images"
    return f"class {evaluation.class_names[1]} at or above a probability of {threshold:.4f}, {origin}"


def describe_rule(evaluation: Evaluation) -> str:
    """Describe how the threshold was chosen, and what it attains on validation images."""
    rule, source = evaluation.operating_point.rule, evaluation.operating_point.source
    if rule.kind == FIXED:
        return "as given"
    if rule.kind == YOUDEN:
        return f"which maximises balanced accuracy on {source}"
    name, other = ("sensitivity", "specificity") if rule.kind == AT_SENSITIVITY else ("specificity", "sensitivity")
    known = evaluation.overall if evaluation.split == "validation" else evaluation.validation
    attained = ""
    if known is not None and name in known.metrics and not evaluation.multi_label:
        attained = f"; the {name} there is {' ('.join(format_cell(known, name))})"
    return f"with the highest {other} at a {name} of {rule.value:g} on {source}{attained}"


def describe_choice(answers: Answers) -> str:
    """Describe which images are answered."""
    choice, rule = answers.rule.choice, answers.rule
    if choice.confidence_level is not None:
        return (
            f"images whose prediction set is only the predicted class; the sets contain the true class with a "
            f"probability of {choice.confidence_level:g}"
        )
    return (
        f"images with a confidence of at least {rule.min_confidence:.4f}, which are {choice.coverage:g} of the "
        f"validation images"
    )


def describe_networks(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield the name and the description of the runs, the networks, the ensemble and test-time augmentation."""
    for run in evaluation.runs:
        yield "run", f"{run.name} {run.id}"
    yield "network", ", ".join(dict.fromkeys(run.model for run in evaluation.runs))
    if evaluation.ensemble_key:
        yield "ensemble", f"mean of the probabilities of {len(evaluation.runs)} networks"
    if evaluation.tta > 1:
        augmentation = f"the image and {evaluation.tta - 1} copies with augmentation {evaluation.tta_augmentation!r}"
        yield "tta", f"mean of the probabilities of {evaluation.tta} versions: {augmentation}"


def describe_unusual(unusual: UnusualImages) -> str:
    """Describe how many images are out of distribution."""
    share = unusual.share
    return (
        f"{unusual.images:,} images are out of distribution: {share.value:.1%} ({share.low:.1%} to {share.high:.1%}), "
        f"{unusual.expected:.1%} expected of images like those of training"
    )


def describe_setup(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield the name and the description of each part of the setup: runs, images, threshold and so on."""
    yield from describe_networks(evaluation)
    counts = ", ".join(f"{count:,} of {name}" for name, count in evaluation.images_by_class.items())
    yield "images", f"{evaluation.data_name}, fingerprint {evaluation.data_fingerprint}"
    pairs = [f"{name} = {target}" for name, target in evaluation.class_map.items() if name != target]
    if pairs:
        yield "classes", f"of the dataset = of the run: {', '.join(pairs)}"
    yield "split", f"{evaluation.split}: {len(evaluation.labels):,} images, {counts}"
    if evaluation.positive is not None:
        yield "positive", f"{evaluation.positive}, which sensitivity and specificity refer to"
    elif evaluation.is_binary:
        yield "positive", "unknown, so there is no sensitivity or specificity"
    yield "decision", describe_decision(evaluation)
    if evaluation.operating_point.temperature is not None:
        yield (
            "temperature",
            f"{evaluation.operating_point.temperature:.4f}, fitted on {evaluation.operating_point.source}",
        )
    if evaluation.answers is not None:
        yield "answered", describe_choice(evaluation.answers)
    if evaluation.unusual is not None:
        yield "unusual", describe_unusual(evaluation.unusual)
    unit = "single images"
    if evaluation.groups is not None:
        names = {PATIENTS: "patients", GROUPS: "groups"}
        grouped_by = names.get(evaluation.grouped_by, f"groups by {evaluation.grouped_by}")
        unit = f"{evaluation.groups:,} whole {grouped_by}"
    yield "input", evaluation.conversion
    exact = "Clopper-Pearson" if evaluation.groups is None else f"Korn-Graubard, for {unit}"
    bootstrap = f"bias-corrected and accelerated bootstrap, {RESAMPLES:,} resamples of {unit}"
    yield "intervals", f"95 %; proportions: {exact}; others: {bootstrap}"


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """Results that are compared in a table and a forest plot.

    Attributes:
        name: What the rows differ in.
        results: The result of each row; the first one is the reference.
        metrics: The metrics in the columns; the run and `--json` have all of them.
        unit: What the rows count.
    """

    name: str
    results: Mapping[str, MetricResult]
    metrics: tuple[str, ...]
    unit: str = "images"


def result_tables(evaluation: Evaluation) -> Iterator[ResultTable]:
    """Yield the tables of an evaluation: labels, validation, prevalence, patients, recalibration and subgroups."""
    metrics: tuple[str, ...] = BINARY_TABLE if evaluation.is_binary or evaluation.multi_label else MULTI_CLASS_TABLE
    if evaluation.is_binary and evaluation.positive is None:
        metrics = UNKNOWN_POSITIVE_TABLE
    overall = evaluation.overall
    if evaluation.by_label:
        yield ResultTable(name="label", results=evaluation.by_label, metrics=metrics)
    if evaluation.validation is not None:
        results = {evaluation.split: overall, "validation": evaluation.validation}
        yield ResultTable(name="split", results=results, metrics=metrics)
    if evaluation.at_prevalence is not None and evaluation.at_prevalence.metrics:
        results = {"of these images": overall, f"{evaluation.prevalence:g}": evaluation.at_prevalence}
        yield ResultTable(name="prevalence", results=results, metrics=PREDICTIVE_VALUES)
    if evaluation.patient_level is not None:
        yield ResultTable(name="patient", results=evaluation.patient_level.results, metrics=metrics, unit="patients")
    if evaluation.recalibrated is not None:
        results = {"as transported": overall, "recalibrated here": evaluation.recalibrated}
        yield ResultTable(name="threshold", results=results, metrics=(*metrics, "brier"))
    for column, subgroups in evaluation.by.items():
        yield ResultTable(name=column, results={"all": overall, **subgroups}, metrics=metrics)


def format_table(table: ResultTable) -> dict[str, Any]:
    """Format a table.

    Returns:
        `columns`, the column names, and `rows`. Each row has a `name`, `counts`, and `cells` of a value and its
        interval.
    """
    has_positives = any(result.positives is not None for result in table.results.values())
    titles = [all_metrics()[metric].title for metric in table.metrics]
    columns = [table.name, table.unit, *(["positive"] if has_positives else []), *titles]
    rows = []
    for name, result in table.results.items():
        counts = [f"{result.images:,}", *([f"{result.positives or 0:,}"] if has_positives else [])]
        rows.append({"name": name, "counts": counts, "cells": [format_cell(result, name) for name in table.metrics]})
    return {"columns": columns, "rows": rows}


def format_cell(result: MetricResult, metric: str) -> tuple[str, str]:
    """Format a metric and its interval."""
    if not result.metrics:
        return "too few", "images"
    if metric not in result.metrics:
        return "not defined", ""
    interval = result.intervals.get(metric)
    return f"{result.metrics[metric]:.3f}", f"{interval.low:.3f} to {interval.high:.3f}" if interval else "no interval"


def describe_training(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield the name and the description of each part of the training of the networks, and of this evaluation."""
    run = evaluation.runs[0]
    yield "training set", f"{run.data_name}, fingerprint {run.data_fingerprint or 'unknown'}"
    if WEIGHTS in run.tags:
        known = strip_prefix(run.tags, f"{WEIGHTS}.")
        details = [f"{name.replace('_', ' ')} {text}" for name, text in known.items() if text]
        yield "initial weights", ", ".join((run.tags[WEIGHTS], *details))
    for title, values in (("settings", run.settings), ("recipe", run.recipe)):
        if values:
            yield title, ", ".join(f"{name} {value}" for name, value in values.items())
    seeds = [str(run.seed) for run in evaluation.runs if run.seed is not None]
    if seeds:
        yield "seed" if len(seeds) == 1 else "seeds", ", ".join(seeds)
    for title, prefix in (("versions", "versions."), ("hardware", "hardware.")):
        found = strip_prefix(run.tags, prefix)
        if found:
            yield title, ", ".join(f"{name} {value}" for name, value in found.items())
    yield "trained", run.started.isoformat(timespec="minutes")
    yield "evaluated", evaluation.created
