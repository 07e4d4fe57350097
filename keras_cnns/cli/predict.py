"""`keras-cnns predict`: what a run's network says of images."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import add_run
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from keras_cnns.evaluation import Predictions


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="say what images are, with probabilities",
        description="Let a run's network say what images are: a line of CSV each, with the probability of each class.",
    )
    add_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files, and folders to search for them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of CSV")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print."""
    load_backend()
    from keras_cnns.evaluation import predict  # noqa: PLC0415 - `--help` waits for none of these

    predictions = predict(arguments.reference, arguments.images, tracking_uri=arguments.tracking_uri)
    if arguments.json:
        print(json.dumps(as_dicts(predictions), allow_nan=False))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("file", "predicted", *predictions.class_names))
        for row in as_dicts(predictions):
            shown = (f"{probability:.6g}" for probability in row["probabilities"].values())
            writer.writerow((row["file"], row["predicted"], *shown))
    return 0


def as_dicts(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the predictions for programs."""
    names = predictions.class_names
    found = zip(predictions.files, predictions.classes, predictions.probabilities, strict=True)
    return [
        {
            "file": str(file),
            "predicted": names[index],
            "probabilities": dict(zip(names, probabilities.tolist(), strict=True)),
        }
        for file, index, probabilities in found
    ]
