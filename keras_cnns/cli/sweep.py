"""`keras-cnns sweep`: search over what a family of networks leaves free."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
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

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from tuning.journal import TrialState
    from tuning.search import SweepResult

SHOWN_TRIALS = 12


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="search with Ray Tune",
        description="Train many candidates of a family, every one a run in MLflow, and compare them.",
    )
    parser.add_argument("model", help="a family (densenet, lenet, resnet), or one network to start from")
    add_data(parser)
    parser.add_argument("--trials", type=whole_number, default=16, help="candidates to try (default: 16)")
    add_recipe(parser, epochs=10)
    parser.add_argument("--seed", type=whole_number, help="draws the candidates; another one each time by default")
    parser.add_argument("--scheduler", default="asha", help="asha (default) stops early what falls behind; or none")
    parser.add_argument("--cores", type=whole_number, help="candidates at a time, one a core (default: all cores)")
    parser.add_argument("--plot", metavar="FILE.png", help="picture (default: comparison.png in the sweep's folder)")
    add_keeping(parser, experiment="sweep")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search, then print the comparison."""
    from rich.console import Console  # noqa: PLC0415 - `--help` waits for none of these
    from rich.live import Live  # noqa: PLC0415

    from tuning.space import find_base  # noqa: PLC0415

    _, family, variant = find_base(arguments.model)
    of_recipe, of_network = read_assignments(arguments, type(variant.settings))
    recipe = make_recipe(arguments.recipe, family.name, of_recipe)
    dataset = load_images(arguments)
    # What the command line names outright is fixed; epochs and batch size are only where candidates start.
    named = {name: value for name, value in of_recipe.items() if name not in ("epochs", "batch_size")}
    from keras_cnns.pictures import check_picture  # noqa: PLC0415
    from tuning.search import sweep  # noqa: PLC0415

    if arguments.plot:
        check_picture(arguments.plot)
    terminal = Console(stderr=True)
    if terminal.is_terminal:
        terminal.print(dataset.describe(), highlight=False)
    with Live(console=terminal, transient=True, auto_refresh=False, redirect_stdout=False) as live:
        result = sweep(
            arguments.model,
            dataset,
            trials=arguments.trials,
            recipe=recipe,
            fixed={**of_network, **named},
            seed=arguments.seed,
            scheduler=arguments.scheduler,
            cores=arguments.cores,
            resume=arguments.resume,
            experiment=arguments.experiment,
            tracking_uri=arguments.tracking_uri,
            folder=arguments.folder,
            observer=View(live, arguments.trials, recipe.monitor) if terminal.is_terminal else None,
        )
    report(result, arguments, recipe.monitor, dataset.describe())
    return 0


class View:
    """Shows a sweep as a table of its trials, the running and the best."""

    def __init__(self, live: Live, trials: int, monitor: str) -> None:
        self.live = live
        self.count = trials
        self.monitor = monitor
        self.begun = time.monotonic()
        self.live.update("starting Ray and TensorFlow ...", refresh=True)

    def trials(self, states: Mapping[int, TrialState]) -> None:
        """Show the table anew."""
        self.live.update(self.table(states), refresh=True)

    def table(self, states: Mapping[int, TrialState]) -> Table:
        """Lay out the trials: running ones first, then the best."""
        from rich.table import Table  # noqa: PLC0415

        ended = sum(state.ended for state in states.values())
        seconds = time.monotonic() - self.begun
        left = f", about {seconds / ended * (self.count - ended):.0f} s left" if ended else ""
        table = Table(title=f"{ended} of {self.count} trials, {seconds:.0f} s{left}", title_justify="left")
        for column in ("trial", "status", "epoch", self.monitor, "parameters", "seconds"):
            table.add_column(column, justify="left" if column == "status" else "right")
        order = sorted(states.values(), key=lambda state: (state.ended, -best_score(state, self.monitor)))
        for state in order[:SHOWN_TRIALS]:
            table.add_row(
                str(state.number),
                state.reason or state.status,
                str(len(state.curve)),
                f"{best_score(state, self.monitor):.4f}" if state.curve else "",
                f"{state.costs['parameters']:,.0f}" if state.costs else "",
                f"{state.curve[-1]['seconds']:.1f}" if state.curve else "",
            )
        return table


def best_score(state: TrialState, monitor: str) -> float:
    """Return the best validation score of a trial so far."""
    return max((metrics[monitor] for metrics in state.curve), default=-1.0)


def report(result: SweepResult, arguments: argparse.Namespace, monitor: str, images: str) -> None:
    """Print the comparison of a sweep's trials, and what to do next."""
    from rich.console import Console  # noqa: PLC0415

    from keras_cnns.cli.compare import show  # noqa: PLC0415
    from tuning.comparison import Comparison  # noqa: PLC0415
    from tuning.plots import accuracy_against  # noqa: PLC0415

    comparison = Comparison(result.runs, sort=monitor)
    picture = Path(arguments.plot) if arguments.plot else result.folder / "comparison.png"
    accuracy_against(comparison, picture, cost="parameters")
    if arguments.json:
        found = {
            "run_id": result.run_id,
            "folder": str(result.folder),
            "best_run_id": result.best.id if result.best else None,
            "seconds": result.seconds,
            "utilization": result.utilization,
            "picture": str(picture),
            "trials": comparison.as_dicts(),
        }
        print(json.dumps(found))
        return
    console = Console()
    console.print(images, highlight=False)
    show(comparison, console)
    uri = f" --tracking-uri {arguments.tracking_uri}" if arguments.tracking_uri else ""
    best = result.best
    lines = [
        f"{len(result.runs)} trials in {result.seconds:.0f} s; cores inside fit for {result.utilization:.0%} of that",
        f"picture: {picture}",
        f"runs: experiment {arguments.experiment!r} in {result.store}",
    ]
    if best is not None:
        lines += [
            "next:",
            f"  keras-cnns compare {arguments.experiment}{uri} --sort {monitor} --against macs --plot macs.png",
            f"  mlflow ui --backend-store-uri {result.store}    # the best network is in run {best.id}",
        ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
