"""`keras-cnns predict`: predict the classes of images."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import keras_cnns
from keras_cnns.cli.status import show_status

if TYPE_CHECKING:
    import argparse

    from keras_cnns.evaluation import Predictions


def run(arguments: argparse.Namespace) -> None:
    """Predict the classes and print them as CSV or JSON."""
    with show_status() as progress:
        predictions = keras_cnns.predict(
            [arguments.reference, *arguments.others],
            arguments.images,
            tta=arguments.tta,
            tracking_uri=arguments.tracking_uri,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(as_dicts(predictions), allow_nan=False))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("file", "predicted", *predictions.class_names))
        for file, names, row in zip(
            predictions.files, predictions.predicted_names, predictions.calibrated, strict=True
        ):
            writer.writerow((file, ";".join(names), *(f"{probability:.6g}" for probability in row)))


def as_dicts(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the predictions for `--json`; for multi-label tasks, `predicted` is a list."""
    multi_label = predictions.classes.ndim == 2
    rows = zip(
        predictions.files, predictions.predicted_names, predictions.probabilities, predictions.calibrated, strict=True
    )
    return [
        {
            "file": str(file),
            "predicted": list(names) if multi_label else names[0],
            "probabilities": dict(zip(predictions.class_names, raw.tolist(), strict=True)),
            "calibrated": dict(zip(predictions.class_names, calibrated.tolist(), strict=True)),
        }
        for file, names, raw, calibrated in rows
    ]
