"""`keras-cnns compare RUN RUN`: what two runs differ in."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from keras_cnns.cli.compare import WIDTH
from keras_cnns.cli.printing import make_console, make_table
from keras_cnns.errors import SettingError

if TYPE_CHECKING:
    from keras_cnns.comparing.two_runs import Difference
    from keras_cnns.tracking import Run, Stores

FOR_MANY = ("where", "columns", "each", "limit", "html")
HEADINGS = {
    "run": "The runs",
    "setting": "Settings",
    "recipe": "Recipe",
    "metric": "Metrics",
    "curve": "Best of the curves",
}


def compare_two(stores: Stores, arguments: argparse.Namespace) -> int:
    """Print what two runs differ in, and draw their curves where that was asked for."""
    from keras_cnns.comparing.two_runs import find_differences  # noqa: PLC0415

    for name in FOR_MANY:
        if getattr(arguments, name):
            raise SettingError(f"--{name} is for runs of experiments, and two runs were named; leave it out.")
    first, second = stores.named(arguments.experiments)
    curves = [stores.of(run).curves(run.id) for run in (first, second)]
    found = find_differences((first, second), curves)
    if arguments.plot:
        from keras_cnns.comparing.curve_plots import draw_curves  # noqa: PLC0415

        draw_curves(dict(zip((first.label, second.label), curves, strict=True)), Path(arguments.plot))
    if arguments.json:
        print(json.dumps([asdict(difference) for difference in found]))
    elif arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("part", "name", first.id, second.id))
        writer.writerows((each.part, each.name, *each.values) for each in found)
    else:
        show(first, second, found)
    if arguments.plot:
        print(f"picture: {arguments.plot}", file=sys.stderr)
    return 0


def show(first: Run, second: Run, found: list[Difference]) -> None:
    """Print the differences, part by part."""
    console = make_console()
    if not console.is_terminal:
        console.width = WIDTH
    if first.data_fingerprint != second.data_fingerprint:
        console.print("Not the same images: what the two reached cannot be ranked.")
    for part, differences in itertools.groupby(found, key=lambda difference: difference.part):
        table = make_table((HEADINGS[part], first.name, second.name), words=3)
        for difference in differences:
            table.add_row(difference.name, *(in_words(difference.name, value) for value in difference.values))
        console.print(table)
        console.print()
    if not found:
        console.print("The two runs differ in nothing.")


def in_words(name: str, value: str | float | None) -> str:
    """Write what a run has."""
    from keras_cnns.comparing.wording import written  # noqa: PLC0415

    return value if isinstance(value, str) else "" if value is None else written(name, value)
