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
    add_space,
    large_number,
    load_images,
    make_recipe,
    read_space,
    whole_number,
)
from keras_cnns.errors import SettingError

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
    parser.add_argument(
        "model", help="a family (densenet, lenet, resnet), all of them (all), or a network to start from"
    )
    add_data(parser)
    parser.add_argument("--trials", type=whole_number, help="candidates to try (default: 16, or the whole grid)")
    add_recipe(parser, epochs=10)
    add_space(parser)
    parser.add_argument(
        "--search",
        default="random",
        help="random (default), grid (all there are), or tpe (like the better ones so far)",
    )
    parser.add_argument("--max-parameters", type=large_number, metavar="N", help="try nothing larger, such as 1M")
    parser.add_argument("--max-macs", type=large_number, metavar="N", help="try nothing slower, such as 300M")
    parser.add_argument(
        "--against", metavar="COST", help="search for score and low cost together: parameters or macs; none by default"
    )
    parser.add_argument("--seed", type=whole_number, help="draws the candidates; another one each time by default")
    parser.add_argument(
        "--scheduler", help="asha (default) stops early what falls behind; none (default with --against) nothing"
    )
    parser.add_argument("--cores", type=whole_number, help="candidates at a time, one a core (default: all cores)")
    parser.add_argument("--plot", metavar="FILE.png", help="picture (default: comparison.png in the sweep's folder)")
    add_keeping(parser, experiment="sweep")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search, then print the comparison."""
    from rich.console import Console  # noqa: PLC0415 - `--help` waits for none of these
    from rich.live import Live  # noqa: PLC0415

    from tuning.ranges import find_bases  # noqa: PLC0415
    from tuning.space import fix_recipe  # noqa: PLC0415

    bases = find_bases(arguments.model)
    space, choices = read_space(arguments, bases)
    # Epochs and batch size of their own arguments are only where candidates start.
    given = {"epochs": arguments.epochs, "batch_size": arguments.batch_size}
    started = {name: value for name, value in given.items() if value is not None}
    if len(bases) > 1 and arguments.recipe == "paper":
        raise SettingError("--recipe paper: each family has its own; name one family, or use --recipe modern.")
    recipe = make_recipe(arguments.recipe, bases[0][1].name, started)
    monitor = fix_recipe(recipe, choices).monitor
    dataset = load_images(arguments)
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
            space=space,
            search=arguments.search,
            max_parameters=arguments.max_parameters,
            max_macs=arguments.max_macs,
            against=arguments.against,
            seed=arguments.seed,
            scheduler=arguments.scheduler,
            cores=arguments.cores,
            resume=arguments.resume,
            experiment=arguments.experiment,
            tracking_uri=arguments.tracking_uri,
            folder=arguments.folder,
            observer=View(live, monitor) if terminal.is_terminal else None,
        )
    report(result, arguments, monitor, dataset.describe())
    return 0


class View:
    """Shows a sweep as a table of its trials, the running and the best."""

    def __init__(self, live: Live, monitor: str) -> None:
        self.live = live
        self.monitor = monitor
        self.begun = time.monotonic()
        self.live.update("starting Ray and TensorFlow ...", refresh=True)

    def trials(self, states: Mapping[int, TrialState], count: int) -> None:
        """Show the table anew."""
        self.live.update(self.table(states, count), refresh=True)

    def table(self, states: Mapping[int, TrialState], count: int) -> Table:
        """Lay out the trials: running ones first, then the best."""
        from rich.table import Table  # noqa: PLC0415

        ended = sum(state.ended for state in states.values())
        seconds = time.monotonic() - self.begun
        left = f", about {seconds / ended * (count - ended):.0f} s left" if ended else ""
        table = Table(title=f"{ended} of {count} trials, {seconds:.0f} s{left}", title_justify="left")
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

    cost = arguments.against or "parameters"
    comparison = Comparison(result.runs, sort=monitor, against=cost)
    picture = Path(arguments.plot) if arguments.plot else result.folder / "comparison.png"
    accuracy_against(comparison, picture)
    if arguments.json:
        found = {
            "run_id": result.run_id,
            "folder": str(result.folder),
            "best_run_id": result.best.id if result.best else None,
            "front": [run.id for run in result.front],
            "notes": result.notes,
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
    best, other = result.best, "parameters" if cost == "macs" else "macs"
    lines = [
        *result.notes,
        f"{len(result.runs)} trials in {result.seconds:.0f} s; cores inside fit for {result.utilization:.0%} of that",
        f"picture: {picture}",
        f"runs: experiment {arguments.experiment!r} in {result.store}",
    ]
    if best is not None:
        lines += [
            "next:",
            f"  keras-cnns compare {arguments.experiment}{uri} --sort {monitor} --against {other} --plot {other}.png",
            f"  mlflow ui --backend-store-uri {result.store}    # the best network is in run {best.id}",
        ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
