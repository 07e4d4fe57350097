"""`keras-cnns explain`: where a run's network sees what it says of images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import add_run
from keras_cnns.cli.printing import by, make_console, make_table
from keras_cnns.cli.waiting import waiting
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from keras_cnns.evaluation import Explanations


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="show where in images a run sees a class",
        description="Show where in images a run's network sees a class, by Grad-CAM or Grad-CAM++: a picture of each "
        "image, and one of all.",
    )
    add_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files, and folders to search for them")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the pictures go")
    parser.add_argument(
        "--class",
        metavar="NAME",
        dest="class_name",
        help="the class to explain (default: what each image is taken for)",
    )
    parser.add_argument("--method", default="grad-cam", help="grad-cam (default) or grad-cam++")
    parser.add_argument("--layer", metavar="NAME", help="whose maps are weighed (default: the last of several places)")
    parser.add_argument("--check", action="store_true", help="compare with the maps of random weights")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain, write pictures and print."""
    with waiting() as tell:
        load_backend()
        from keras_cnns.evaluation import explain  # noqa: PLC0415 - `--help` waits for none of these
        from keras_cnns.evaluation.heatmaps import check_folder  # noqa: PLC0415

        check_folder(Path(arguments.output))
        explanations = explain(
            arguments.reference,
            arguments.images,
            class_name=arguments.class_name,
            method=arguments.method,
            layer=arguments.layer,
            check=arguments.check,
            tracking_uri=arguments.tracking_uri,
            tell=tell,
        )
        tell("pictures")
        *pictures, overview = explanations.save(arguments.output)
    if arguments.json:
        print(json.dumps(as_dict(explanations, pictures, overview), allow_nan=False))
    else:
        show(explanations, pictures, overview)
    return 0


def as_dict(explanations: Explanations, pictures: list[Path], overview: Path) -> dict[str, Any]:
    """Return the result for programs."""
    found = zip(explanations.files, explanations.classes, explanations.probabilities, pictures, strict=True)
    check = explanations.check
    return {
        "run_id": explanations.run_id,
        "method": explanations.method,
        "layer": explanations.layer,
        "grid": list(explanations.grid),
        "images": [
            {"file": str(file), "class": name, "probability": float(probability), "picture": str(picture)}
            for file, name, probability, picture in found
        ],
        "overview": str(overview),
        "check": None
        if check is None
        else [
            {"layers": stage.layers, "layer": stage.layer, "correlation": stage.correlation} for stage in check.stages
        ],
        "notes": list(explanations.notes),
    }


def show(explanations: Explanations, pictures: list[Path], overview: Path) -> None:
    """Print the result for a person."""
    from rich.markup import escape  # noqa: PLC0415 - `--help` does not wait for it

    console = make_console()
    grid = by(explanations.grid)
    console.print(f"{explanations.method} at layer {explanations.layer}, {grid} places", markup=False, soft_wrap=True)
    table = make_table(("file", "class", "picture", "probability"), words=3)
    for row in zip(explanations.files, explanations.classes, pictures, explanations.probabilities, strict=True):
        table.add_row(*(escape(str(words)) for words in row[:3]), f"{row[3]:.4f}")
    console.print(table)
    if explanations.check is not None:
        table = make_table(("layers with random weights", "down to", "rank correlation"), words=2)
        for stage in explanations.check.stages:
            likeness = "no maps" if stage.correlation is None else f"{stage.correlation:.2f}"
            table.add_row(f"{stage.layers} of {explanations.check.all_layers}", stage.layer, likeness)
        console.print()
        console.print(table)
    console.print()
    for note in explanations.notes:
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"all of them: {overview}", markup=False, soft_wrap=True)
