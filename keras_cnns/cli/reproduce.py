"""`keras-cnns reproduce`: repeat a run from its lock file."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from rich.markup import escape

import keras_cnns
from keras_cnns.cli.printing import make_console, make_table, print_lines
from keras_cnns.cli.status import show_status

if TYPE_CHECKING:
    import argparse

    from keras_cnns.writing.reproducing import Reproduction

NOT_EQUAL = 1


def run(arguments: argparse.Namespace) -> int:
    """Repeat the run, print the comparison, and return 0 if all results are equal, else 1."""
    with show_status() as progress:
        repeated = keras_cnns.reproduce(
            arguments.file,
            arguments.data,
            experiment=arguments.experiment,
            tracking_uri=arguments.tracking_uri,
            folder=arguments.folder,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(as_dict(repeated)))
    else:
        print_comparison(repeated)
    return 0 if repeated.equal else NOT_EQUAL


def as_dict(repeated: Reproduction) -> dict[str, Any]:
    """Return the result for `--json`."""
    return {
        "run_id": repeated.run_id,
        "recorded_run_id": repeated.recorded_run_id,
        "equal": repeated.equal,
        "results": {result.name: [result.recorded, result.repeated] for result in repeated.results},
        "notes": list(repeated.notes),
    }


def print_comparison(repeated: Reproduction) -> None:
    """Print the results of both runs, what is different now, and whether the results are equal."""
    from keras_cnns.writing.reproducing import TOLERANCE  # noqa: PLC0415 - imports the backend

    console = make_console()
    table = make_table(("result", "recorded", "now", "difference"), text_columns=1)
    for result in repeated.results:
        now = "not defined" if result.repeated is None else f"{result.repeated:.6f}"
        difference = "" if math.isinf(result.difference) else f"{result.difference:.1g}"
        table.add_row(escape(result.name), f"{result.recorded:.6f}", now, difference)
    console.print(table)
    verdict = f"All {len(repeated.results)} results are equal within {TOLERANCE:g}."
    if not repeated.equal:
        different = sum(result.difference > TOLERANCE for result in repeated.results)
        largest = (
            "a metric is not defined" if math.isinf(repeated.difference) else f"by up to {repeated.difference:.3g}"
        )
        verdict = f"{different} of {len(repeated.results)} results differ by more than {TOLERANCE:g}: {largest}."
    print_lines(console, ("", *repeated.notes, verdict, f"run {repeated.run_id}, recorded {repeated.recorded_run_id}"))
