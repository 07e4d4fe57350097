"""`keras-cnns train --folds`: cross-validate a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tuning
from keras_cnns.cli.evaluate import print_evaluation
from keras_cnns.cli.next_steps import command, tracking_option
from keras_cnns.cli.printing import make_console, print_lines
from keras_cnns.cli.status import show_status
from keras_cnns.evaluation.record import to_record

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from keras_cnns.data import Dataset
    from keras_cnns.networks.recipe import Recipe
    from keras_cnns.training.cross_validation import CrossValidation

SAME_NAMES = (
    "fold_by", "weights", "seed", "cores", "cores_per_trial", "gpus_per_trial", "memory_per_trial", "ray_address",
    "resume", "experiment", "tracking_uri", "folder",
)  # fmt: skip
"""Options that are arguments of `tuning.cross_validate` with the same name."""


def run(arguments: argparse.Namespace, dataset: Dataset, settings: Mapping[str, Any], recipe: Recipe) -> None:
    """Cross-validate the network and print the result."""
    options: dict[str, Any] = {name: getattr(arguments, name) for name in SAME_NAMES}
    if arguments.folds is not None:
        options["folds"] = arguments.folds
    with show_status() as progress:
        result = tuning.cross_validate(
            arguments.model, dataset, settings=settings, recipe=recipe, progress=progress, **options
        )
    if arguments.json:
        print(json.dumps(to_json(result), allow_nan=False))
    else:
        print_result(result, dataset, arguments)


def to_json(result: CrossValidation) -> dict[str, Any]:
    """Return the result for `--json`."""
    return {
        "run_id": result.run_id,
        "folder": str(result.folder),
        "folds": [vars(fold) for fold in result.folds],
        "parameters": result.costs.total_parameters,
        "macs": result.costs.macs,
        **result.operating_point,
        "out_of_fold": to_record(result.evaluation),
    }


def print_result(result: CrossValidation, dataset: Dataset, arguments: argparse.Namespace) -> None:
    """Print the metrics of the out-of-fold predictions, and how the networks can be used."""
    console = make_console()
    costs = f"{result.costs.total_parameters:,} parameters, {result.costs.macs:,} MACs"
    weights = [] if result.weights is None else [result.weights.note()]
    print_lines(console, [*dataset.describe().splitlines()[:1], f"{arguments.model}: {costs}", *weights])
    print_evaluation(result.evaluation)
    run_id, store = result.run_id[:8], tracking_option(arguments)
    use = ["evaluate", run_id, *store] if "test" in dataset.splits else ["predict", run_id, *store, "IMAGES"]
    lines = [
        f"run {result.run_id}, with a run for each of {len(result.folds)} folds",
        f"their networks as one ensemble: {command(*use)}",
    ]
    print_lines(console, lines)
