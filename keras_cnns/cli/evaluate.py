"""`keras-cnns evaluate`: a run's network on images that did not choose it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import RUN, add_data, add_store, add_views, load_images
from keras_cnns.cli.printing import make_console, make_table
from keras_cnns.cli.waiting import waiting
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from keras_cnns.evaluation import Evaluation
    from keras_cnns.evaluation.measured import Measured


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a run on a test split, with intervals",
        description="Measure a run's network on a split, with intervals and calibration, and keep the report with the "
        "run. Every look at a test split is counted. Of several runs the mean of their probabilities counts.",
    )
    parser.add_argument("references", nargs="+", metavar="RUN", help=RUN)
    add_store(parser)
    add_data(parser)
    parser.add_argument(
        "--split", default="test", help="test (default), validation, or all of a source that no run was trained on"
    )
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="measure each value of it apart; repeatable"
    )
    parser.add_argument(
        "--groups", metavar="COLUMN", help="what intervals draw as a whole (default: patients, where they are known)"
    )
    add_views(parser)
    parser.add_argument("--report", metavar="FILE.html", help="write the report here too, its picture beside it")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print."""
    dataset = load_images(arguments)
    with waiting() as tell:
        load_backend()
        from keras_cnns.evaluation import evaluate  # noqa: PLC0415 - `--help` waits for none of these

        evaluation = evaluate(
            arguments.references,
            dataset,
            split=arguments.split,
            groups=arguments.groups,
            by=arguments.by,
            views=arguments.views,
            tracking_uri=arguments.tracking_uri,
            report=arguments.report,
            tell=tell,
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
        "runs": [member.run_id for member in evaluation.members],
        "data": evaluation.data_name,
        "data_fingerprint": evaluation.data_fingerprint,
        "split": evaluation.split,
        "external": evaluation.external,
        "images": evaluation.images_by_class,
        "threshold": evaluation.threshold,
        "temperature": evaluation.temperature,
        "views": evaluation.views,
        "grouped": evaluation.grouped or None,
        "groups": evaluation.groups,
        "looks": None if looks is None else {"by_run": looks.by_run, "by_all": looks.by_all, "runs": looks.runs},
        "metrics": dict(evaluation.metrics),
        "intervals": ends(evaluation.measured),
        "labels": as_dicts(evaluation.by_label),
        "by": {name: as_dicts(parts) for name, parts in evaluation.by.items()},
        "notes": list(evaluation.notes),
        "report": evaluation.kept,
    }


def ends(measured: Measured) -> dict[str, list[float]]:
    """Return intervals for programs."""
    return {name: [found.low, found.high] for name, found in measured.intervals.items()}


def as_dicts(parts: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """Return parts of the images for programs."""
    return {
        name: {
            "images": part.images,
            "positives": part.positives,
            "metrics": dict(part.metrics),
            "intervals": ends(part),
        }
        for name, part in parts.items()
    }


def show(evaluation: Evaluation) -> None:
    """Print the result for a person: the report's words without its pictures."""
    from keras_cnns.evaluation.wording import all_notes, facts, looks_in_words, rows  # noqa: PLC0415

    console = make_console()
    for name, value in facts(evaluation):
        console.print(f"{name:12}{value}", markup=False, soft_wrap=True)
    table = make_table(("metric", "value", "95 % interval"), words=1)
    for row in rows(evaluation):
        table.add_row(row["name"], row["value"], row["interval"])
    console.print()
    console.print(table)
    if evaluation.by_label:
        show_parts(console, "label", evaluation, evaluation.by_label)
    for name, parts in evaluation.by.items():
        show_parts(console, name, evaluation, parts)
    console.print()
    for line in filter(None, (looks_in_words(evaluation), *all_notes(evaluation))):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"report: {evaluation.kept}", markup=False, soft_wrap=True)


def show_parts(console: Console, name: str, evaluation: Evaluation, parts: Mapping[str, Measured]) -> None:
    """Print the table of parts of the images, intervals below values."""
    from rich.markup import escape  # noqa: PLC0415

    from keras_cnns.evaluation.wording import part_table  # noqa: PLC0415

    found = part_table(evaluation, parts)
    table = make_table((name, *found["heads"][1:]), words=1)
    for line in found["lines"]:
        table.add_row(escape(line["name"]), *line["numbers"], *("\n".join(cell) for cell in line["cells"]))
    console.print()
    console.print(table)
