"""`keras-cnns train`: one network on one set of images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import (
    add_data,
    add_keeping,
    add_recipe,
    load_images,
    make_recipe,
    read_assignments,
    whole_number,
)
from keras_cnns.lazy import load_backend

if TYPE_CHECKING:
    from rich.progress import Progress

    from keras_cnns.training import TrainedRun


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train",
        help="train one network",
        description="Train one network on images in classes and record the run in MLflow.",
    )
    parser.add_argument("model", help="a network; `keras-cnns models` lists them")
    add_data(parser)
    add_recipe(parser)
    parser.add_argument("--seed", type=whole_number, default=0, help="default: 0")
    parser.add_argument("--test", action="store_true", help="at the end, measure on the test split too")
    add_keeping(parser, experiment="train")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train and print what came out."""
    from keras_cnns.networks.registry import find_variant  # noqa: PLC0415 - `--help` waits for none of these

    family, variant = find_variant(arguments.model)
    of_recipe, of_network = read_assignments(arguments, type(variant.settings))
    recipe = make_recipe(arguments.recipe, family.name, of_recipe)
    dataset = load_images(arguments)

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    terminal = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[metrics]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal, transient=True) as progress:
        bar = Bar(progress, recipe.epochs)
        load_backend()
        from keras_cnns.training import train  # noqa: PLC0415

        trained = train(
            arguments.model,
            dataset,
            settings=of_network,
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
    return 0


class Bar:
    """Shows a training as a progress bar over all its epochs."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self.progress = progress
        self.epochs = epochs
        self.done = 0
        self.task = progress.add_task("loading TensorFlow", total=None, metrics="")

    def step(self, done: int, total: int) -> None:
        """Move the bar."""
        self.progress.update(
            self.task,
            completed=self.done + done / total,
            total=self.epochs,
            description=f"epoch {self.done + 1}/{self.epochs}",
        )

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Show the epoch's metrics."""
        self.done = number
        shown = " ".join(
            f"{name} {metrics[name]:.4f}" for name in ("loss", "val_accuracy", "val_auc") if name in metrics
        )
        self.progress.update(self.task, completed=number, metrics=shown)


def as_dict(trained: TrainedRun) -> dict[str, Any]:
    """Return the result for programs."""
    return {
        "run_id": trained.run_id,
        "folder": str(trained.folder),
        "model": str(trained.fitted.best_model),
        "parameters": trained.costs.total_parameters,
        "macs": trained.costs.macs,
        **trained.fitted.kept,
        **trained.settled,
        **trained.test,
    }


def report(trained: TrainedRun, images: str, arguments: argparse.Namespace) -> str:
    """Write the result for a person."""
    kept = trained.fitted.kept
    figures = [
        f"{name.removeprefix('best_')} {value:.4f}" for name, value in kept.items() if name.startswith("best_val_")
    ]
    figures += [f"{name} {value:.4f}" for name, value in trained.test.items()]
    uri = f" --tracking-uri {arguments.tracking_uri}" if arguments.tracking_uri else ""
    parts = kept.get("batch_parts", 1)
    short = f", each batch in {parts:.0f} parts, because memory does not hold it whole" if parts > 1 else ""
    return "\n".join((
        images,
        f"{arguments.model}: {trained.costs.total_parameters:,} parameters, {trained.costs.macs:,} MACs",
        f"kept epoch {kept['best_epoch']:.0f} of {len(trained.fitted.history)}: {', '.join(figures)}",
        f"{kept['seconds']:.1f} s of training{short}; network: {trained.fitted.best_model}",
        f"run {trained.run_id}; compare it: keras-cnns compare {arguments.experiment}{uri}",
    ))  # fmt: skip
