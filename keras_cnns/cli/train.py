"""`keras-cnns train`: train one network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras_cnns
from keras_cnns.cli.config_file import apply_config
from keras_cnns.cli.inputs import load_images, read_assignments
from keras_cnns.cli.next_steps import command, show_in_mlflow, tracking_option
from keras_cnns.cli.status import show_status
from keras_cnns.data.inspection.shortcuts import shortcut_notes
from keras_cnns.errors import SettingError
from keras_cnns.lazy import LazyModule
from keras_cnns.networks.recipe import PROBE
from keras_cnns.networks.registry import find_variant
from keras_cnns.tracking import Store
from keras_cnns.training.presets import get_recipe

if TYPE_CHECKING:
    import argparse

    from keras_cnns.cli import train_folds
    from keras_cnns.training.run import TrainedRun
else:
    train_folds = LazyModule("keras_cnns.cli.train_folds")  # imports Ray

RESOURCES = ("cores", "cores_per_trial", "gpus_per_trial", "memory_per_trial", "ray_address")


def run(arguments: argparse.Namespace) -> None:
    """Train the network and print the result."""
    if arguments.probe and arguments.recipe not in (None, PROBE):
        raise SettingError(f"--probe is the recipe {PROBE}, --recipe {arguments.recipe} another one; omit one of them.")
    config = apply_config(arguments)
    family, variant = find_variant(arguments.model)
    recipe_changes, changes = read_assignments(arguments, type(variant.settings))
    settings = {**config.settings, **changes}
    name = PROBE if arguments.probe else arguments.recipe or "plain"
    recipe = get_recipe(name, family, with_weights=arguments.weights is not None)
    recipe = recipe.replace({**config.recipe, **recipe_changes})
    check_cross_validation(arguments)
    dataset = load_images(arguments)
    dataset = replace(dataset, notes=(*dataset.notes, *shortcut_notes(dataset)))
    if arguments.folds is not None or arguments.fold_by is not None:
        train_folds.run(arguments, dataset, settings, recipe)
        return
    with show_status() as progress:
        trained = keras_cnns.train(
            arguments.model,
            dataset,
            settings=settings,
            recipe=recipe,
            weights=arguments.weights,
            seed=arguments.seed,
            resume=arguments.resume,
            test=arguments.test,
            experiment=arguments.experiment,
            tracking_uri=arguments.tracking_uri,
            folder=arguments.folder,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps(as_dict(trained)))
    else:
        print(report(trained, dataset.describe(), arguments))


def check_cross_validation(arguments: argparse.Namespace) -> None:
    """Raise a `SettingError` if options of a cross-validation and of a single training are mixed."""
    if arguments.folds is None and arguments.fold_by is None:
        given = next((name for name in RESOURCES if getattr(arguments, name) is not None), None)
        if given is not None:
            option = f"--{given.replace('_', '-')}"
            raise SettingError(
                f"{option} is for a cross-validation; add --folds 5 or --fold-by COLUMN, or leave it out."
            )
        return
    option = "--folds" if arguments.folds is not None else "--fold-by"
    if arguments.fold is not None:
        raise SettingError(f"--fold trains one fold and {option} all of them; leave one of them out.")
    if arguments.test:
        raise SettingError(
            f"--test is not possible with {option}: evaluate the networks of all folds with `keras-cnns evaluate` and "
            f"the id of the cross-validation."
        )


def as_dict(trained: TrainedRun) -> dict[str, Any]:
    """Return the result for `--json`."""
    return {
        "run_id": trained.run_id,
        "folder": str(trained.folder),
        "model": str(trained.fitted.best_model),
        "parameters": trained.costs.total_parameters,
        "macs": trained.costs.macs,
        **trained.fitted.metrics,
        **trained.operating_point,
        **trained.test,
        **({} if trained.weights is None else trained.weights.to_tags()),
    }


def report(trained: TrainedRun, images: str, arguments: argparse.Namespace) -> str:
    """Format the result as text; `images` describes the dataset."""
    metrics = trained.fitted.metrics
    figures = [
        f"{name.removeprefix('best_')} {value:.4f}" for name, value in metrics.items() if name.startswith("best_val_")
    ]
    figures += [f"{name} {value:.4f}" for name, value in trained.test.items()]
    micro_batches = metrics.get("micro_batches", 1)
    split = f", each batch in {micro_batches:.0f} micro-batches to fit into memory" if micro_batches > 1 else ""
    return "\n".join((
        images,
        f"{arguments.model}: {trained.costs.total_parameters:,} parameters, {trained.costs.macs:,} MACs",
        *([] if trained.weights is None else [trained.weights.note()]),
        f"kept the weights of epoch {metrics['best_epoch']:.0f} of {len(trained.fitted.history)}: {', '.join(figures)}",
        f"{metrics['seconds']:.1f} s of training{split}; network: {trained.fitted.best_model}",
        f"run {trained.run_id}",
        "next:",
        f"  {command('compare', arguments.experiment, *tracking_option(arguments))}",
        f"  {show_in_mlflow(Store(arguments.tracking_uri).uri, trained.run_id, 'the network')}",
    ))  # fmt: skip
