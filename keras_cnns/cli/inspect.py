"""`keras-cnns inspect`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import fold_of, whole_number
from keras_cnns.cli.printing import by, make_console, make_table
from keras_cnns.cli.waiting import waiting
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from keras_cnns.data.inspection import Inspection

MOST_CLASSES = 40
MOST_SIZES = 5


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="look at what is in a data set, and for what is wrong with it",
        description="Look at what is in a data set, and for what is wrong with it: broken files, leaks between splits, "
        "images that are there twice or nearly, labels that contradict each other. What is found is listed and is no "
        "error.",
    )
    parser.add_argument("source", metavar="SOURCE", help="what --data of the other commands takes")
    parser.add_argument("--image-size", type=whole_number, metavar="PIXELS", help="resize the images to this side")
    parser.add_argument("--channels", type=whole_number, choices=(1, 3), help="make the images grey (1) or colour (3)")
    parser.add_argument("--split-seed", type=whole_number, default=0, metavar="N", help="chooses who is held out (0)")
    parser.add_argument("--fold", type=fold_of, metavar="I/K", help="validate on part I of K, as in training")
    parser.add_argument("--stream", action="store_true", default=None, help="keep decoded images in a file")
    parser.add_argument("--sheet", metavar="FILE.png", help="draw images of each class, and those that are there twice")
    parser.add_argument(
        "--augmented",
        metavar="PRESET",
        help="show in the sheet how this preset of augmentation changes images: "
        "light, standard, medical or randaugment",
    )
    parser.add_argument("--json", action="store_true", help="print all that was found for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Inspect and print."""
    with waiting("reading and comparing images"):
        if arguments.augmented:
            load_backend()
        from keras_cnns.data.inspection import inspect  # noqa: PLC0415 - `--help` does not wait for numpy

        inspection = inspect(
            arguments.source,
            image_size=arguments.image_size,
            channels=arguments.channels,
            seed=arguments.split_seed,
            fold=arguments.fold,
            stream=arguments.stream,
            sheet=arguments.sheet,
            augmented=arguments.augmented,
        )
    if arguments.json:
        print(json.dumps(inspection.as_dict(), allow_nan=False))
    else:
        show(inspection)
    if arguments.sheet:
        print(f"sheet: {arguments.sheet}", file=sys.stderr)
    return 0


def show(inspection: Inspection) -> None:
    """Print the result for a person."""
    from keras_cnns.data.inspection import EXAMPLES  # noqa: PLC0415 - `--help` does not wait for numpy

    console = make_console()
    for name, value in facts(inspection):
        console.print(f"{name:12}{value}", markup=False, soft_wrap=True)
    console.print()
    console.print(contents_table(inspection))
    if len(inspection.class_names) > MOST_CLASSES:
        more = len(inspection.class_names) - MOST_CLASSES
        console.print(f"and {more:,} more classes (--json has all)", markup=False)
    console.print()
    if not inspection.findings:
        console.print("Nothing was found that is wrong.")
    for finding in inspection.findings:
        console.print(f"- {finding.what}", markup=False, soft_wrap=True)
        console.print(f"  -> {finding.advice}", markup=False, soft_wrap=True)
    console.print()
    if len(inspection.broken) > EXAMPLES:
        console.print("Files that cannot be read:")
        for broken in inspection.broken:
            console.print(f"  {broken}", markup=False, soft_wrap=True)
        console.print()
    for line in inspection.notes:
        console.print(line, markup=False, soft_wrap=True)


def facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """Yield what there is, as words."""
    yield "images", f"{inspection.name}, fingerprint {inspection.fingerprint}"
    yield "size", f"{by(inspection.image_shape)} (height, width, channels)"
    if inspection.sizes:
        most = [f"{count:,} of {width}x{height}" for (width, height), count in list(inspection.sizes.items())]
        more = f" and {len(most) - MOST_SIZES:,} sizes more" if len(most) > MOST_SIZES else ""
        yield "files", f"{', '.join(most[:MOST_SIZES])}{more} (width, height)"
    yield "task", f"{inspection.task}, {len(inspection.class_names):,} classes, imbalance {inspection.imbalance:.2f}"
    if all(contents.patients is None for contents in inspection.splits.values()):
        yield "patients", "not known, so images of one patient may be in two splits; a table can name them"


def contents_table(inspection: Inspection) -> Table:
    """Lay out images of each class, patients and pixels of each split."""
    splits = inspection.splits
    table = make_table(("class", *(column for name in splits for column in (name, "share"))), words=1)
    for label, name in enumerate(inspection.class_names[:MOST_CLASSES]):
        cells = [figure for contents in splits.values() for figure in share(contents.classes[label], contents.images)]
        table.add_row(escaped(name), *cells)
    table.add_section()
    of_splits = {
        "images": [f"{contents.images:,}" for contents in splits.values()],
        "patients": ["" if contents.patients is None else f"{contents.patients:,}" for contents in splits.values()],
        "pixel mean": [f"{contents.mean:.1f}" for contents in splits.values()],
        "pixel deviation": [f"{contents.std:.1f}" for contents in splits.values()],
    }
    for name, figures in of_splits.items():
        if any(figures):
            table.add_row(name, *(cell for figure in figures for cell in (figure, "")))
    return table


def share(count: int, images: int) -> tuple[str, str]:
    """Write a number of images and what share of all it is."""
    return f"{count:,}", f"{count / images:.1%}"


def escaped(name: str) -> str:
    """Return a class's name so that no brackets in it are taken for markup."""
    from rich.markup import escape  # noqa: PLC0415

    return escape(name)
