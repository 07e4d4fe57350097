"""`keras-cnns evaluate`: a run's network on images that did not choose it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import add_data, add_run, load_images
from keras_cnns.cli.printing import make_console, make_table
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from keras_cnns.evaluation import Evaluation


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a run on a test split, with intervals",
        description="Measure a run's network on a split, with intervals and calibration, and keep the report with the "
        "run. Every look at a test split is counted.",
    )
    add_run(parser)
    add_data(parser)
    parser.add_argument("--split", default="test", help="test (default) or validation")
    parser.add_argument("--report", metavar="FILE.html", help="write the report here too, its picture beside it")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print."""
    dataset = load_images(arguments)
    load_backend()
    from keras_cnns.evaluation import evaluate  # noqa: PLC0415 - `--help` waits for none of these

    evaluation = evaluate(
        arguments.reference,
        dataset,
        split=arguments.split,
        tracking_uri=arguments.tracking_uri,
        report=arguments.report,
    )
    if arguments.json:
        print(json.dumps(as_dict(evaluation), allow_nan=False))
    else:
        show(evaluation)
        if arguments.report:
            print(f"also written: {arguments.report}")
    return 0


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return the result for programs."""
    looks = evaluation.looks
    return {
        "run_id": evaluation.run_id,
        "data": evaluation.data_name,
        "data_fingerprint": evaluation.data_fingerprint,
        "split": evaluation.split,
        "external": evaluation.external,
        "images": evaluation.images_by_class,
        "threshold": evaluation.threshold,
        "temperature": evaluation.temperature,
        "looks": None if looks is None else {"by_run": looks.by_run, "by_all": looks.by_all, "runs": looks.runs},
        "metrics": dict(evaluation.metrics),
        "intervals": {name: [found.low, found.high] for name, found in evaluation.intervals.items()},
        "notes": list(evaluation.notes),
        "report": evaluation.kept,
    }


def show(evaluation: Evaluation) -> None:
    """Print the result for a person: the report's words without its pictures."""
    from keras_cnns.evaluation.report import all_notes, facts, looks_in_words, rows  # noqa: PLC0415

    console = make_console()
    for name, value in facts(evaluation):
        console.print(f"{name:12}{value}", markup=False, soft_wrap=True)
    table = make_table(("metric", "value", "95 % interval"), words=1)
    for row in rows(evaluation):
        table.add_row(row["name"], row["value"], row["interval"])
    console.print()
    console.print(table)
    console.print()
    for line in filter(None, (looks_in_words(evaluation), *all_notes(evaluation))):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"report: {evaluation.kept}", markup=False, soft_wrap=True)
