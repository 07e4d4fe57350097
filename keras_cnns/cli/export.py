"""`keras-cnns export`: export the network of a run to other formats."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import keras_cnns
from keras_cnns.cli.status import show_status

if TYPE_CHECKING:
    import argparse

    from keras_cnns.evaluation.proportion import Proportion
    from keras_cnns.exporting.export import Export, Exports
    from keras_cnns.exporting.latency import Latency

MEBIBYTE = 2**20


def run(arguments: argparse.Namespace) -> None:
    """Export the network and print the certificates as a table or as JSON."""
    wanted = arguments.format or ["keras"]
    with show_status() as progress:
        exported = keras_cnns.export(
            arguments.reference,
            "all" if "all" in wanted else wanted,
            folder=arguments.folder,
            fold_batch_norm=arguments.fold_batch_norm,
            quantize=arguments.quantize,
            check=arguments.check,
            tolerance=arguments.tolerance,
            benchmark=arguments.benchmark,
            tracking_uri=arguments.tracking_uri,
            progress=progress,
        )
    for note in exported.notes:
        print(note, file=sys.stderr)
    if arguments.json:
        print(json.dumps([as_dict(made) for made in exported.exports], allow_nan=False))
    else:
        print_table(exported)


def as_dict(made: Export) -> dict[str, Any]:
    """Return an export for `--json`."""
    latency = None if made.latency is None else vars(made.latency)
    return {"path": str(made.path), "certificate": made.certificate.as_dict(), "latency": latency}


def print_table(exported: Exports) -> None:
    """Print a row for each file, and what they were checked on."""
    first = exported.exports[0].certificate
    with_latency = exported.latency_of_run is not None
    with_accuracy = any(made.certificate.form == "int8" for made in exported.exports)
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("format", no_wrap=True)
    names = ["MiB", "difference", "changed"]
    names += ["accuracy", "95 % interval"] if with_accuracy else []
    names += ["ms", "images/s"] if with_latency else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    of_run = accuracy_cells(first.accuracy_of_run) if with_accuracy else ()
    if with_accuracy or with_latency:
        table.add_row("run, Keras", "", "", "", *of_run, *latency_cells(exported.latency_of_run))
    for made in exported.exports:
        found = made.certificate
        table.add_row(
            found.format if found.form == "float32" else f"{found.format}, {found.form}",
            f"{found.bytes / MEBIBYTE:.2f}", f"{found.largest_difference:.1e}", f"{found.changed_decisions}",
            *(accuracy_cells(found.accuracy) if with_accuracy else ()), *latency_cells(made.latency),
        )  # fmt: skip
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(
        f"difference: the largest of a probability from run {first.run} on {first.images:,} {first.checked_on}; "
        f"changed: the number of other decisions" + ("; ms: for one image" if with_latency else ""),
        soft_wrap=True,
    )
    for made in exported.exports:
        console.print(f"{made.path}  ({made.certificate.runtime})", soft_wrap=True)


def accuracy_cells(accuracy: Proportion) -> tuple[str, str]:
    """Return the cells of an accuracy and its interval."""
    return f"{accuracy.value:.3f}", f"{accuracy.low:.3f} to {accuracy.high:.3f}"


def latency_cells(latency: Latency | None) -> tuple[str, ...]:
    """Return the cells of the measured times."""
    return () if latency is None else (f"{latency.milliseconds:.2f}", f"{latency.images_per_second:,.0f}")
