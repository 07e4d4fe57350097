"""`keras-cnns train`: train one network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import keras_cnns
from keras_cnns.cli.inputs import load_images, read_assignments
from keras_cnns.data.inspection.shortcuts import shortcut_notes
from keras_cnns.lazy import load_backend
from keras_cnns.networks.registry import find_variant
from keras_cnns.training.presets import get_recipe

if TYPE_CHECKING:
    import argparse

    from keras_cnns.training.run import TrainedRun


def run(arguments: argparse.Namespace) -> None:
    """Train the network and print the result."""
    family, variant = find_variant(arguments.model)
    recipe_changes, settings = read_assignments(arguments, type(variant.settings))
    recipe = get_recipe(arguments.recipe or "plain", family).replace(recipe_changes)
    dataset = load_images(arguments)
    dataset = replace(dataset, notes=(*dataset.notes, *shortcut_notes(dataset)))
    terminal = Console(stderr=True)
    metrics = TextColumn("{task.fields[metrics]}")
    columns = (TextColumn("{task.description}"), BarColumn(), metrics, TimeRemainingColumn())
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal, transient=True) as progress:
        bar = ProgressBar(progress, recipe.epochs)
        load_backend()
        trained = keras_cnns.train(
            arguments.model,
            dataset,
            settings=settings,
            recipe=recipe,
            seed=arguments.seed,
            resume=arguments.resume,
            test=arguments.test,
            experiment=arguments.experiment,
            tracking_uri=arguments.tracking_uri,
            folder=arguments.folder,
            progress_callback=bar,
        )
    if arguments.json:
        print(json.dumps(as_dict(trained)))
    else:
        print(report(trained, dataset.describe(), arguments))


class ProgressBar:
    """Progress callback that shows a bar over all epochs at a terminal."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self.progress = progress
        self.epochs = epochs
        self.done = 0
        self.task = progress.add_task("loading TensorFlow", total=None, metrics="")

    def step(self, done: int, total: int) -> None:
        """Show the progress within an epoch."""
        self.progress.update(
            self.task,
            completed=self.done + done / total,
            total=self.epochs,
            description=f"epoch {self.done + 1}/{self.epochs}",
        )

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of an epoch."""
        self.done = number
        shown = " ".join(
            f"{name} {metrics[name]:.4f}" for name in ("loss", "val_accuracy", "val_auc") if name in metrics
        )
        self.progress.update(self.task, completed=number, metrics=shown)


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
    }


def report(trained: TrainedRun, images: str, arguments: argparse.Namespace) -> str:
    """Format the result as text; `images` describes the dataset."""
    metrics = trained.fitted.metrics
    figures = [
        f"{name.removeprefix('best_')} {value:.4f}" for name, value in metrics.items() if name.startswith("best_val_")
    ]
    figures += [f"{name} {value:.4f}" for name, value in trained.test.items()]
    uri = f" --tracking-uri {arguments.tracking_uri}" if arguments.tracking_uri else ""
    micro_batches = metrics.get("micro_batches", 1)
    split = f", each batch in {micro_batches:.0f} micro-batches to fit into memory" if micro_batches > 1 else ""
    return "\n".join((
        images,
        f"{arguments.model}: {trained.costs.total_parameters:,} parameters, {trained.costs.macs:,} MACs",
        f"kept the weights of epoch {metrics['best_epoch']:.0f} of {len(trained.fitted.history)}: {', '.join(figures)}",
        f"{metrics['seconds']:.1f} s of training{split}; network: {trained.fitted.best_model}",
        f"run {trained.run_id}; to compare it: keras-cnns compare {arguments.experiment}{uri}",
    ))  # fmt: skip
