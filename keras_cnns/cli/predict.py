"""`keras-cnns predict`: predict the classes of images."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING

import keras_cnns
from keras_cnns.cli.status import show_status
from keras_cnns.errors import DataError

if TYPE_CHECKING:
    import argparse

    from keras_cnns.evaluation import Predictions


def run(arguments: argparse.Namespace) -> None:
    """Predict the classes and print them as CSV or JSON."""
    with show_status() as progress:
        predictions = keras_cnns.predict(
            [arguments.reference, *arguments.others],
            arguments.images,
            confidence_level=arguments.confidence_level,
            coverage=arguments.coverage,
            tta=arguments.tta,
            tracking_uri=arguments.tracking_uri,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(predictions.to_dicts(), allow_nan=False))
    else:
        write_csv(predictions)
    for note in predictions.notes:
        print(note, file=sys.stderr)
    if predictions.broken and not arguments.skip_broken:
        sys.stdout.flush()
        count = f"{len(predictions.broken):,} of {len(predictions.files) + len(predictions.broken):,} files"
        raise DataError(
            f"{count} cannot be read and have no prediction: {'; '.join(map(str, predictions.broken))}; fix or remove "
            f"them, or accept this with --skip-broken."
        )
    for broken in predictions.broken:
        print(f"skipped {broken}", file=sys.stderr)


def write_csv(predictions: Predictions) -> None:
    """Print a row for each image, with the threshold of each class that has one."""
    thresholds = predictions.threshold_by_class
    writer = csv.writer(sys.stdout, lineterminator="\n")
    more = predictions.more_columns
    names = (*predictions.class_names, *(f"threshold {name}" for name in thresholds), *more)
    writer.writerow(("file", "predicted", *names))
    limits = [f"{threshold:.9g}" for threshold in thresholds.values()]
    others = list(zip(*more.values(), strict=True)) or [()] * len(predictions.files)
    columns = (predictions.files, predictions.predicted_names, predictions.probabilities, others)
    for file, predicted, row, values in zip(*columns, strict=True):
        writer.writerow((
            file, ";".join(predicted), *(f"{probability:.9g}" for probability in row), *limits,
            *(";".join(value) if isinstance(value, list) else str(value).lower() for value in values),
        ))  # fmt: skip
