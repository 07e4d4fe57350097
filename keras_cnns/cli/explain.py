"""`keras-cnns explain`: heatmaps of a run's predictions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

import keras_cnns
from keras_cnns.cli.printing import format_shape, make_console, make_table, print_lines
from keras_cnns.cli.status import show_status
from keras_cnns.plotting import check_output_folder

if TYPE_CHECKING:
    import argparse

    from keras_cnns.evaluation import Explanations


def run(arguments: argparse.Namespace) -> None:
    """Explain the images, save the heatmaps and print a summary."""
    check_output_folder(arguments.output)
    with show_status() as progress:
        explanations = keras_cnns.explain(
            arguments.reference,
            arguments.images,
            class_name=arguments.class_name,
            method=arguments.method,
            layer=arguments.layer,
            sanity_check=arguments.check,
            tracking_uri=arguments.tracking_uri,
            progress=progress,
        )
        progress.message("saving heatmaps")
        *heatmaps, overview = explanations.save(arguments.output)
    if arguments.json:
        print(json.dumps(as_dict(explanations, heatmaps, overview), allow_nan=False))
    else:
        print_explanations(explanations, heatmaps, overview)


def as_dict(explanations: Explanations, heatmaps: list[Path], overview: Path) -> dict[str, Any]:
    """Return the result for `--json`."""
    rows = zip(explanations.files, explanations.classes, explanations.probabilities, heatmaps, strict=True)
    check = explanations.sanity_check
    return {
        "run_id": explanations.run_id,
        "method": explanations.method,
        "layer": explanations.layer,
        "grid": list(explanations.grid),
        "images": [
            {"file": str(file), "class": name, "probability": float(probability), "heatmap": str(heatmap)}
            for file, name, probability, heatmap in rows
        ],
        "overview": str(overview),
        "sanity_check": None if check is None else [asdict(stage) for stage in check.stages],
        "notes": list(explanations.notes),
    }


def print_explanations(explanations: Explanations, heatmaps: list[Path], overview: Path) -> None:
    """Print a table of the heatmaps and of the sanity check."""
    console = make_console()
    grid = format_shape(explanations.grid)
    print_lines(console, [f"{explanations.method} at layer {explanations.layer}, {grid} positions"])
    table = make_table(("file", "class", "heatmap", "probability"), text_columns=3)
    for row in zip(explanations.files, explanations.classes, heatmaps, explanations.probabilities, strict=True):
        table.add_row(*(escape(str(text)) for text in row[:3]), f"{row[3]:.4f}")
    console.print(table)
    check = explanations.sanity_check
    if check is not None:
        table = make_table(("layers with random weights", "down to", "rank correlation"), text_columns=2)
        for stage in check.stages:
            correlation = "no heatmaps" if stage.correlation is None else f"{stage.correlation:.2f}"
            table.add_row(f"{stage.layers} of {check.stages[-1].layers}", stage.layer, correlation)
        console.print()
        console.print(table)
    console.print()
    print_lines(console, [*explanations.notes, f"overview: {overview}"])
