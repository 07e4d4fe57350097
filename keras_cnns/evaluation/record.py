"""The record of an evaluation: all of its results and its setup as JSON-compatible values."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from keras_cnns.evaluation.calibration_results import describe_calibration
from keras_cnns.evaluation.results import Evaluation, MetricResult
from keras_cnns.tracking.runs import VERSIONED_PACKAGES, installed_version

RECORD_FILE = "evaluation.json"


def to_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return all of an evaluation but its cases, as `evaluate --json` prints it and the run stores it."""
    counts, level = evaluation.test_set_evaluations, evaluation.patient_level
    return {
        "created": evaluation.created,
        "run_id": evaluation.run_id,
        "runs": [run.id for run in evaluation.runs],
        "data": evaluation.data_name,
        "data_fingerprint": evaluation.data_fingerprint,
        "split": evaluation.split,
        "external": evaluation.external,
        "images": evaluation.images_by_class,
        "positive": evaluation.positive,
        "class_map": dict(evaluation.class_map),
        "threshold": evaluation.operating_point.scaled_threshold,
        "threshold_rule": {
            **asdict(evaluation.operating_point.rule), "source": evaluation.operating_point.source
        },
        "temperature": evaluation.operating_point.temperature,
        "tta": evaluation.tta,
        "grouped_by": evaluation.grouped_by or None,
        "groups": evaluation.groups,
        "seed": evaluation.seed,
        "test_set_evaluations": None if counts is None else asdict(counts),
        **describe_result(evaluation.overall),
        "confusion": evaluation.confusion_matrix.as_dict(),
        "labels": describe_results(evaluation.by_label),
        "by": {name: describe_results(parts) for name, parts in evaluation.by.items()},
        "calibration": describe_calibration(evaluation),
        "validation": describe_optional(evaluation.validation),
        "patient_level": None if level is None else {
            "thresholds": dict(level.thresholds),
            "thresholds_from_patients": level.thresholds_from_patients,
            "left_out": level.left_out,
            "results": describe_results(level.results),
        },
        "recalibrated": describe_optional(evaluation.recalibrated),
        "prevalence": evaluation.prevalence,
        "at_prevalence": describe_optional(evaluation.at_prevalence),
        "answers": None if evaluation.answers is None else evaluation.answers.as_dict(),
        "risk_coverage": None if evaluation.risk_coverage is None else evaluation.risk_coverage.as_dict(),
        "out_of_distribution": None if evaluation.unusual is None else asdict(evaluation.unusual),
        "training_copies": None if evaluation.copies is None else len(evaluation.copies.indices),
        "notes": list(evaluation.notes),
        "warnings": list(evaluation.notes[: evaluation.warning_count]),
        "versions": {
            "python": platform.python_version(),
            **{name: installed_version(name) for name in VERSIONED_PACKAGES},
        },
        "mistakes": evaluation.mistake_count,
        "report": evaluation.report_folder,
    }  # fmt: skip


def describe_result(result: MetricResult) -> dict[str, Any]:
    """Return the metrics and the ends of their intervals."""
    return {
        "metrics": dict(result.metrics),
        "intervals": {name: [interval.low, interval.high] for name, interval in result.intervals.items()},
    }


def describe_results(parts: Mapping[str, MetricResult]) -> dict[str, dict[str, Any]]:
    """Return the results of subsets of the images."""
    return {
        name: {"images": part.images, "positives": part.positives, **describe_result(part)}
        for name, part in parts.items()
    }


def describe_optional(result: MetricResult | None) -> dict[str, Any] | None:
    """Return a result with the number of its images; None if there is none."""
    return None if result is None else describe_results({"": result})[""]
