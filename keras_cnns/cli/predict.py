"""`keras-cnns predict`: what a run's network says of images."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import add_run, add_views
from keras_cnns.cli.waiting import waiting
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from keras_cnns.evaluation import Predictions


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="say what images are, with probabilities",
        description="Let a run's network say what images are: a line of CSV each, with the probability of each class "
        "after temperature scaling where the run has a temperature. Classes are decided as evaluate decides them.",
    )
    add_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files, and folders to search for them")
    parser.add_argument(
        "--with", action="append", default=[], metavar="RUN", dest="others", help="let this run say too; repeatable"
    )
    add_views(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of CSV, with both probabilities")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print."""
    with waiting() as tell:
        load_backend()
        from keras_cnns.evaluation import predict  # noqa: PLC0415 - `--help` waits for none of these

        predictions = predict(
            [arguments.reference, *arguments.others],
            arguments.images,
            views=arguments.views,
            tracking_uri=arguments.tracking_uri,
            tell=tell,
        )
    if arguments.json:
        print(json.dumps(as_dicts(predictions), allow_nan=False))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("file", "predicted", *predictions.class_names))
        for file, names, row in zip(predictions.files, predictions.names, predictions.calibrated, strict=True):
            writer.writerow((file, ";".join(names), *(f"{probability:.6g}" for probability in row)))
    return 0


def as_dicts(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the predictions for programs; with any number of labels an image, `predicted` is a list."""
    several = predictions.classes.ndim == 2
    found = zip(predictions.files, predictions.names, predictions.probabilities, predictions.calibrated, strict=True)
    return [
        {
            "file": str(file),
            "predicted": list(names) if several else names[0],
            "probabilities": dict(zip(predictions.class_names, raw.tolist(), strict=True)),
            "calibrated": dict(zip(predictions.class_names, calibrated.tolist(), strict=True)),
        }
        for file, names, raw, calibrated in found
    ]
