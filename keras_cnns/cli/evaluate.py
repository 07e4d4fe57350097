"""`keras-cnns evaluate`: evaluate runs on a split, with confidence intervals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.markup import escape

import keras_cnns
from keras_cnns.cli.inputs import reading_options
from keras_cnns.cli.printing import make_console, make_table, print_lines
from keras_cnns.cli.status import show_status
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.record import to_record
from keras_cnns.evaluation.report.answers import format_answers
from keras_cnns.evaluation.report.formatting import (
    describe_setup,
    describe_test_set_evaluations,
    format_table,
    metric_rows,
    result_tables,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from keras_cnns.evaluation import Evaluation


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
            threshold=arguments.threshold,
            at_sensitivity=arguments.at_sensitivity,
            at_specificity=arguments.at_specificity,
            prevalence=arguments.prevalence,
            confidence_level=arguments.confidence_level,
            coverage=arguments.coverage,
            tta=arguments.tta,
            tracking_uri=arguments.tracking_uri,
            report=arguments.report,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(to_record(evaluation), allow_nan=False))
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


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the contents of the report, without its plots."""
    console = make_console()
    print_lines(console, (f"{name:12}{value}" for name, value in describe_setup(evaluation)))
    table = make_table(("metric", "value", "95 % interval"), text_columns=1)
    for row in metric_rows(evaluation):
        table.add_row(escape(row["name"]), row["value"], row["interval"])
    console.print()
    console.print(table)
    for table_of_results in result_tables(evaluation):
        print_table(console, format_table(table_of_results))
    if evaluation.answers is not None:
        print_table(console, format_answers(evaluation.answers))
    console.print()
    lines = (describe_test_set_evaluations(evaluation), *evaluation.notes, f"report: {evaluation.report_folder}")
    print_lines(console, filter(None, lines))


def print_table(console: Console, contents: Mapping[str, Any]) -> None:
    """Print a table as `format_table` returns it, with the intervals below the values."""
    table = make_table(contents["columns"], text_columns=1)
    for row in contents["rows"]:
        table.add_row(escape(row["name"]), *row["counts"], *("\n".join(cell) for cell in row["cells"]))
    console.print()
    console.print(table)
