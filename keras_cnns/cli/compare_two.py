"""`keras-cnns compare RUN RUN`: list the differences of two runs."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from keras_cnns.cli.printing import make_console, make_table
from keras_cnns.comparing.curve_plots import curves_figure
from keras_cnns.comparing.formatting import format_metric
from keras_cnns.comparing.run_differences import find_differences
from keras_cnns.errors import SettingError
from keras_cnns.plotting import save

if TYPE_CHECKING:
    import argparse

    from keras_cnns.comparing.run_differences import Difference
    from keras_cnns.tracking import Run, Stores

OPTIONS_OF_EXPERIMENTS = ("where", "columns", "per_run", "limit", "html")
HEADINGS = {"run": "Runs", "setting": "Settings", "recipe": "Recipe", "metric": "Metrics", "curve": "Best epochs"}


def compare_two(stores: Stores, arguments: argparse.Namespace) -> None:
    """Print the differences of two runs, and plot their learning curves with `--plot`."""
    for name in OPTIONS_OF_EXPERIMENTS:
        if getattr(arguments, name):
            raise SettingError(f"--{name.replace('_', '-')} applies to experiments, not to two runs; omit it.")
    first, second = stores.find_runs(arguments.experiments)
    curves = [stores.store_of(run).curves(run.id) for run in (first, second)]
    found = find_differences((first, second), curves)
    if arguments.plot:
        labels = (first.label, second.label)
        save(curves_figure(dict(zip(labels, curves, strict=True))), arguments.plot)
    if arguments.json:
        print(json.dumps([asdict(difference) for difference in found]))
    elif arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("section", "name", first.id, second.id))
        writer.writerows((each.section, each.name, *each.values) for each in found)
    else:
        print_differences(first, second, found)
    if arguments.plot:
        print(f"plot: {arguments.plot}", file=sys.stderr)


def print_differences(first: Run, second: Run, found: list[Difference]) -> None:
    """Print a table of the differences in each section."""
    console = make_console()
    if first.data_fingerprint != second.data_fingerprint:
        console.print("The runs used different images, so their scores cannot be compared.")
    for section, differences in itertools.groupby(found, key=lambda difference: difference.section):
        table = make_table((HEADINGS[section], first.name, second.name), text_columns=3)
        for difference in differences:
            table.add_row(difference.name, *(format_value(difference.name, value) for value in difference.values))
        console.print(table)
        console.print()
    if not found:
        console.print("The two runs do not differ.")


def format_value(name: str, value: str | float | None) -> str:
    """Format a value of a run; empty if the run does not have it."""
    return value if isinstance(value, str) else "" if value is None else format_metric(name, value)
