"""`keras-cnns inspect`: the contents and the problems of a dataset."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.markup import escape

from keras_cnns.cli.inputs import reading_options
from keras_cnns.cli.printing import format_shape, make_console, make_table, print_lines
from keras_cnns.cli.status import show_status
from keras_cnns.data.dataset import MAX_EXAMPLES
from keras_cnns.data.inspection import inspect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.table import Table

    from keras_cnns.data.inspection import Inspection

MAX_CLASSES = 40
MAX_SIZES = 5


def run(arguments: argparse.Namespace) -> None:
    """Inspect the dataset and print the findings."""
    with show_status("reading and comparing images", backend=bool(arguments.augmentation)):
        inspection = inspect(
            arguments.source,
            sheet=arguments.sheet,
            augmentation=arguments.augmentation,
            write=arguments.write,
            **reading_options(arguments),
        )
    if arguments.json:
        print(json.dumps(inspection.as_dict(), allow_nan=False))
    else:
        print_inspection(inspection)
    if arguments.sheet:
        print(f"contact sheet: {arguments.sheet}", file=sys.stderr)
    if arguments.write:
        print(f"clean table: {arguments.write}, without {len(inspection.left_out):,} images", file=sys.stderr)


def print_inspection(inspection: Inspection) -> None:
    """Print the contents of the splits, the findings and the notes."""
    console = make_console()
    print_lines(console, (f"{name:12}{value}" for name, value in facts(inspection)))
    console.print()
    console.print(contents_table(inspection))
    if len(inspection.class_names) > MAX_CLASSES:
        more = len(inspection.class_names) - MAX_CLASSES
        console.print(f"and {more:,} more classes (--json has all)", markup=False)
    console.print()
    if not inspection.findings:
        console.print("No problems found.")
    for finding in inspection.findings:
        print_lines(console, (f"- {finding.problem}", f"  -> {finding.advice}"))
    console.print()
    if len(inspection.broken) > MAX_EXAMPLES:
        print_lines(console, ("Files that cannot be read:", *(f"  {broken}" for broken in inspection.broken), ""))
    if inspection.left_out:
        print_lines(console, ("Left out of the clean table:", *(f"  {each}" for each in inspection.left_out), ""))
    print_lines(console, inspection.notes)


def facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each line above the table."""
    yield "images", f"{inspection.name}, fingerprint {inspection.fingerprint}"
    yield "size", f"{format_shape(inspection.image_shape)} (height, width, channels)"
    if len(inspection.file_sizes) > 1:
        sizes = [f"{count:,} of {width}x{height}" for (width, height), count in list(inspection.file_sizes.items())]
        more = f" and {len(sizes) - MAX_SIZES:,} more sizes" if len(sizes) > MAX_SIZES else ""
        yield "files", f"{', '.join(sizes[:MAX_SIZES])}{more} (width, height)"
    yield "task", f"{inspection.task}, {len(inspection.class_names):,} classes, imbalance {inspection.imbalance:.2f}"
    if inspection.positive is not None:
        yield "positive", f"{inspection.positive} is the positive class"


def contents_table(inspection: Inspection) -> Table:
    """Return a table of the classes, patients and pixel statistics of each split."""
    splits = inspection.splits
    table = make_table(("class", *(column for name in splits for column in (name, "share"))), text_columns=1)
    for label, name in enumerate(inspection.class_names[:MAX_CLASSES]):
        cells = [figure for contents in splits.values() for figure in share(contents.classes[label], contents.images)]
        table.add_row(escape(name), *cells)
    table.add_section()
    statistics = {
        "images": [f"{contents.images:,}" for contents in splits.values()],
        "patients": ["" if contents.patients is None else f"{contents.patients:,}" for contents in splits.values()],
        "pixel mean": [f"{contents.mean:.1f}" for contents in splits.values()],
        "pixel std": [f"{contents.std:.1f}" for contents in splits.values()],
    }
    for name, figures in statistics.items():
        if any(figures):
            table.add_row(name, *(cell for figure in figures for cell in (figure, "")))
    return table


def share(count: int, images: int) -> tuple[str, str]:
    """Format a number of images, absolute and as a share of all images."""
    return f"{count:,}", f"{count / images:.1%}"
