"""Evaluations as they were, from the record and the cases that a run stores, to draw their plots again."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.cases import CASES, PATIENT, PROBABILITY
from keras_cnns.evaluation.compatibility import separate_unknown
from keras_cnns.evaluation.intervals import Interval
from keras_cnns.evaluation.operating_point import OperatingPoint, Threshold, ThresholdRule, scale_threshold
from keras_cnns.evaluation.out_of_fold import OUT_OF_FOLD
from keras_cnns.evaluation.results import PATIENTS, Evaluation, MetricResult
from keras_cnns.evaluation.validation import read_validation
from keras_cnns.tracking import EvaluationCounts, Store


def restore_evaluation(store: Store, run_id: str, record: Mapping[str, Any]) -> Evaluation | None:
    """Return an evaluation with its labels and probabilities; None if the run does not have the cases.

    Args:
        store: The store.
        run_id: The ID of the run.
        record: The record of the evaluation, with its `folder` among the files of the run.
    """
    text = store.read_file(run_id, f"{record['folder']}/{CASES}.csv")
    if text is None:
        return None
    cases = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    names, multi_label = tuple(record["confusion"]["class_names"]), bool(record["labels"])
    scaled = cases[[f"{PROBABILITY}{name}" for name in names]].to_numpy().astype(np.float64)
    labels = restore_classes(cases, names, "true", multi_label=multi_label)
    point = restore_operating_point(record)
    probabilities = scaled
    if record["split"] == OUT_OF_FOLD:  # each fold has its own threshold and temperature
        stored = read_validation(store, run_id, names)
        if stored is None:
            return None
        point, probabilities = replace(point, threshold=None, temperature=None), stored.probabilities
    elif point.temperature is not None:
        probabilities = apply_temperature(scaled, 1 / point.temperature, multi_label=multi_label)
    counts = record["test_set_evaluations"]
    return Evaluation(
        runs=(),
        data_name=record["data"],
        data_fingerprint=record["data_fingerprint"],
        split=record["split"],
        external=record["external"],
        class_names=names,
        positive=record["positive"],
        class_map=record["class_map"],
        labels=labels,
        probabilities=probabilities,
        overall=restore_result(
            {**record, "images": len(labels), "positives": record["images"].get(record["positive"])}
        ),
        by_label={name: restore_result(part) for name, part in record["labels"].items()},
        by={
            column: {name: restore_result(part) for name, part in parts.items()}
            for column, parts in record["by"].items()
        },
        operating_point=point,
        grouped_by=record["grouped_by"] or "",
        groups=record["groups"],
        tta=record["tta"],
        tta_augmentation="",
        test_set_evaluations=None if counts is None else EvaluationCounts(**counts),
        cases=cases,
        decisions=restore_classes(cases, names, "predicted", multi_label=multi_label),
        created=record["created"],
        group_of_image=restore_groups(cases, record),
        notes=tuple(record["notes"]),
    )


def restore_classes(cases: pd.DataFrame, names: Sequence[str], kind: str, *, multi_label: bool) -> np.ndarray:
    """Return the "true" or "predicted" class of each case, or 0 or 1 for each label."""
    if multi_label:
        return np.asarray(cases[[f"{kind}_{name}" for name in names]].to_numpy().astype(np.int64))
    return np.asarray(pd.Index(names).get_indexer(cases[f"{kind}_class"]), np.int64)


def restore_groups(cases: pd.DataFrame, record: Mapping[str, Any]) -> np.ndarray | None:
    """Return the group of each image that the bootstrap resampled; None if images were, or if it is not stored."""
    column = PATIENT if record["grouped_by"] == PATIENTS else record["grouped_by"]
    return separate_unknown(cases[column].to_numpy()) if column in cases else None


def restore_operating_point(record: Mapping[str, Any]) -> OperatingPoint:
    """Return the operating point of a record, which has the threshold for probabilities after temperature scaling."""
    rule, temperature = record["threshold_rule"], record["temperature"]
    threshold: Threshold = record["threshold"]
    if isinstance(threshold, list):
        threshold = tuple(threshold)
    if temperature is not None:
        threshold = scale_threshold(threshold, 1 / temperature)
    return OperatingPoint(
        threshold=threshold,
        temperature=temperature,
        source=rule["source"],
        tta=record["tta"],
        rule=ThresholdRule(rule["kind"], rule["value"]),
    )


def restore_result(part: Mapping[str, Any]) -> MetricResult:
    """Return the metrics and intervals of a part of a record."""
    intervals = {name: Interval(low=low, high=high, dropped=0) for name, (low, high) in part["intervals"].items()}
    return MetricResult(
        images=part["images"], positives=part["positives"], metrics=part["metrics"], intervals=intervals
    )
