"""`keras-cnns compare RUN RUN --split test`: test the differences of runs, and of readers, on the same images."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING

from rich.markup import escape

import keras_cnns
from keras_cnns.cli.evaluate import parse_class_map
from keras_cnns.cli.inputs import reading_options
from keras_cnns.cli.printing import make_console, make_table, print_lines
from keras_cnns.cli.status import show_status
from keras_cnns.comparing.paired_differences import format_columns
from keras_cnns.errors import SettingError
from keras_cnns.evaluation.report.formatting import describe_test_set_evaluations

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.console import Console

    from keras_cnns.comparing.model_comparison import ModelComparison, Pair

TABLES = (".csv", ".parquet")
OPTIONS_OF_EXPERIMENTS = ("where", "columns", "per_run", "limit", "html", "plot")
CSV_COLUMNS = (
    "first", "second", "images", "metric", "first_value", "second_value", "difference", "low", "high", "test", "p",
    "corrected_p",
)  # fmt: skip


def applies(arguments: argparse.Namespace) -> bool:
    """Return whether runs are to be compared on images.

    Raises:
        SettingError: Only options for this are given that do not select it.
    """
    if arguments.split or arguments.data or any(name.endswith(TABLES) for name in arguments.experiments):
        return True
    given = [*reading_options(arguments), *(name for name in ("groups", "class_map") if getattr(arguments, name))]
    if given:
        option = "split-seed" if given[0] == "seed" else given[0].replace("_", "-")
        raise SettingError(f"--{option} applies to a comparison on images; add --split test, or omit it.")
    return False


def compare_images(arguments: argparse.Namespace) -> None:
    """Evaluate the runs on the same images, and print the differences of each pair."""
    for name in OPTIONS_OF_EXPERIMENTS:
        if getattr(arguments, name):
            raise SettingError(
                f"--{name.replace('_', '-')} applies to experiments, not to a comparison on images; omit it."
            )
    if len(arguments.tracking_uri or ()) > 1:
        raise SettingError("--tracking-uri: a comparison on images needs all runs in one store; name it once.")
    tables = [name for name in arguments.experiments if name.endswith(TABLES)]
    if len(tables) > 1:
        raise SettingError(f"{' '.join(tables)}: name one table, with a column for each reader.")
    class_map = parse_class_map(arguments.class_map)
    positive, arguments.positive = arguments.positive, None  # a class of the runs, which the images need not have
    with show_status() as progress:
        comparison = keras_cnns.compare_models(
            [name for name in arguments.experiments if name not in tables],
            arguments.data,
            readers=tables[0] if tables else None,
            reading=reading_options(arguments),
            split=arguments.split or "test",
            groups=arguments.groups,
            positive=positive,
            class_map=class_map,
            tracking_uri=arguments.tracking_uri[0] if arguments.tracking_uri else None,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(comparison.as_dict(), allow_nan=False))
    elif arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(csv_rows(comparison))
    else:
        print_comparison(comparison)


def csv_rows(comparison: ModelComparison) -> Iterator[tuple[object, ...]]:
    """Yield a row for each metric of each pair."""
    for pair in comparison.pairs:
        for name, found in pair.differences.items():
            ends = found.interval or ("", "")
            yield (
                *pair.names, pair.images, name, *found.values, found.difference, *ends, found.test,
                "" if found.p is None else found.p, "" if found.corrected_p is None else found.corrected_p,
            )  # fmt: skip


def print_comparison(comparison: ModelComparison) -> None:
    """Print a table for each pair, and what its columns mean."""
    console = make_console()
    first = comparison.evaluations[0]
    images = f"{first.split}: {len(first.labels):,} images of {first.data_name}"
    positive = [] if first.positive is None else [f"positive class: {first.positive}"]
    print_lines(console, [images, *positive])
    for pair in comparison.pairs:
        print_pair(console, pair, corrected=len(comparison.pairs) > 1)
    console.print()
    counts = (f"{each.runs[0].label}: {describe_test_set_evaluations(each)}" for each in comparison.evaluations
              if each.test_set_evaluations is not None)  # fmt: skip
    print_lines(console, [*comparison.explanations(), *comparison.notes, *counts])


def print_pair(console: Console, pair: Pair, *, corrected: bool) -> None:
    """Print the differences of a pair."""
    groups = "" if pair.groups is None else f" in {pair.groups:,} groups"
    console.print(f"\n{escape(pair.names[1])} minus {escape(pair.names[0])}, {pair.images:,} images{groups}\n")
    table = make_table(format_columns(corrected=corrected), text_columns=1)
    for found in pair.differences.values():
        table.add_row(*map(escape, found.format(corrected=corrected)))
    console.print(table)
