"""`keras-cnns evaluate`: evaluate runs on a split, with confidence intervals."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

import keras_cnns
from keras_cnns.cli.inputs import reading_options
from keras_cnns.cli.printing import make_console, make_table, print_lines
from keras_cnns.cli.status import show_status
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.report.formatting import (
    describe_setup,
    describe_test_set_evaluations,
    format_table,
    metric_rows,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from keras_cnns.evaluation import Evaluation
    from keras_cnns.evaluation.results import MetricResult


def run(arguments: argparse.Namespace) -> None:
    """Evaluate the runs and print the metrics."""
    class_map = parse_class_map(arguments.class_map)
    positive, arguments.positive = arguments.positive, None  # a class of the run, which the images need not have
    with show_status() as progress:
        evaluation = keras_cnns.evaluate(
            arguments.references,
            arguments.data,
            reading=reading_options(arguments),
            split=arguments.split,
            groups=arguments.groups,
            by=arguments.by,
            positive=positive,
            class_map=class_map,
            tta=arguments.tta,
            tracking_uri=arguments.tracking_uri,
            report=arguments.report,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(as_dict(evaluation), allow_nan=False))
        return
    print_evaluation(evaluation)
    if arguments.report:
        print(f"copy of the report: {arguments.report}")


def parse_class_map(texts: Sequence[str]) -> dict[str, str]:
    """Return the classes of `--class-map DATASET_CLASS=RUN_CLASS,...`, which can be repeated.

    Raises:
        EvaluationError: A part is not of this form, or a class is named twice.
    """
    class_map: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",")):
        name, _, target = (piece.strip() for piece in part.partition("="))
        if not name or not target:
            raise EvaluationError(
                f"--class-map {part}: write DATASET_CLASS=RUN_CLASS, with commas between several; names with commas or "
                f"= need class_map in Python."
            )
        if name in class_map:
            raise EvaluationError(f"--class-map {part}: {name!r} is mapped twice; name it once.")
        class_map[name] = target
    return class_map


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return the result for `--json`."""
    counts = evaluation.test_set_evaluations
    return {
        "run_id": evaluation.run_id,
        "runs": [run.id for run in evaluation.runs],
        "data": evaluation.data_name,
        "data_fingerprint": evaluation.data_fingerprint,
        "split": evaluation.split,
        "external": evaluation.external,
        "images": evaluation.images_by_class,
        "positive": evaluation.positive,
        "class_map": dict(evaluation.class_map),
        "threshold": evaluation.operating_point.threshold,
        "temperature": evaluation.operating_point.temperature,
        "tta": evaluation.tta,
        "grouped_by": evaluation.grouped_by or None,
        "groups": evaluation.groups,
        "test_set_evaluations": None if counts is None else asdict(counts),
        "metrics": dict(evaluation.metrics),
        "intervals": bounds(evaluation.overall),
        "labels": as_dicts(evaluation.by_label),
        "by": {name: as_dicts(parts) for name, parts in evaluation.by.items()},
        "notes": list(evaluation.notes),
        "report": evaluation.report_folder,
    }


def bounds(result: MetricResult) -> dict[str, list[float]]:
    """Return the lower and upper bound of each confidence interval."""
    return {name: [interval.low, interval.high] for name, interval in result.intervals.items()}


def as_dicts(parts: Mapping[str, MetricResult]) -> dict[str, dict[str, Any]]:
    """Return the results of subsets of the images for `--json`."""
    return {
        name: {
            "images": part.images,
            "positives": part.positives,
            "metrics": dict(part.metrics),
            "intervals": bounds(part),
        }
        for name, part in parts.items()
    }


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the contents of the report, without its plots."""
    console = make_console()
    print_lines(console, (f"{name:12}{value}" for name, value in describe_setup(evaluation)))
    table = make_table(("metric", "value", "95 % interval"), text_columns=1)
    for row in metric_rows(evaluation):
        table.add_row(escape(row["name"]), row["value"], row["interval"])
    console.print()
    console.print(table)
    if evaluation.by_label:
        print_subsets(console, "label", evaluation, evaluation.by_label)
    for name, parts in evaluation.by.items():
        print_subsets(console, name, evaluation, parts)
    console.print()
    lines = (describe_test_set_evaluations(evaluation), *evaluation.notes, f"report: {evaluation.report_folder}")
    print_lines(console, filter(None, lines))


def print_subsets(console: Console, name: str, evaluation: Evaluation, parts: Mapping[str, MetricResult]) -> None:
    """Print a table of the results of subsets of the images, with the intervals below the values."""
    contents = format_table(evaluation, parts)
    table = make_table((name, *contents["columns"][1:]), text_columns=1)
    for row in contents["rows"]:
        table.add_row(escape(row["name"]), *row["counts"], *("\n".join(cell) for cell in row["cells"]))
    console.print()
    console.print(table)
