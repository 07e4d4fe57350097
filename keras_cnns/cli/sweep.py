"""`keras-cnns sweep`: search over what a family of networks leaves free."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import (
    add_data,
    add_keeping,
    add_machines,
    add_recipe,
    add_space,
    large_number,
    load_images,
    make_recipe,
    read_space,
    whole_number,
)
from keras_cnns.cli.sweep_view import JsonLines, Progress, Together, View
from keras_cnns.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from keras_cnns.networks.recipe import Recipe
    from tuning.candidates.ranges import Base
    from tuning.finishing.result import SweepResult
    from tuning.running.delivery import SweepProgressCallback

EPOCHS = 10


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="search with Ray Tune",
        description="Train many candidates of a family, every one a run in MLflow, and compare them.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        help="a family (densenet, lenet, resnet), all of them (all), or a network to start from; not needed with "
        "--from-run",
    )
    add_data(parser)
    parser.add_argument("--trials", type=whole_number, help="candidates to try (default: 16, or the whole grid)")
    add_recipe(parser, epochs=EPOCHS)
    add_space(parser)
    parser.add_argument(
        "--search",
        default="tpe",
        help="tpe (default; like the better ones so far), random, or grid (all there are)",
    )
    parser.add_argument("--max-parameters", type=large_number, metavar="N", help="try nothing larger, such as 1M")
    parser.add_argument("--max-macs", type=large_number, metavar="N", help="try nothing slower, such as 300M")
    parser.add_argument(
        "--cost",
        metavar="COST",
        help="search for score and low cost together: parameters or macs; none by default",
    )
    parser.add_argument("--seed", type=whole_number, help="draws the candidates; another one each time by default")
    parser.add_argument(
        "--scheduler",
        help="early stopping of trials: asha (default), hyperband, median, or none (default with --cost)",
    )
    parser.add_argument(
        "--from-run", metavar="RUN", help="start from a run's network, settings and recipe; a sweep's: its best trial"
    )
    add_finals(parser)
    add_machines(parser)
    parser.add_argument(
        "--plot", metavar="FILE.png", help="also draw the comparison there; it is in the sweep's folder in any case"
    )
    add_keeping(parser, experiment="sweep")
    parser.set_defaults(run=run, epochs=None, recipe=None)


def add_finals(parser: argparse.ArgumentParser) -> None:
    """Add what says what is done once the search is over."""
    group = parser.add_argument_group("after the search")
    group.add_argument(
        "--repeats", type=whole_number, metavar="N", help="train the best three again with N other seeds, and test them"
    )
    group.add_argument(
        "--refit", action="store_true", help="train the best on training and validation images, and register it"
    )
    group.add_argument(
        "--register", metavar="NAME", help="register the refit as NAME (default: sweep-MODEL-DATA); implies --refit"
    )
    group.add_argument(
        "--extend", type=whole_number, metavar="N", help="go on with the newest finished sweep of these arguments"
    )


def run(arguments: argparse.Namespace) -> int:
    """Search, then print the comparison."""
    from rich.console import Console  # noqa: PLC0415 - `--help` waits for none of these
    from rich.live import Live  # noqa: PLC0415

    from tuning.candidates.space import fix_recipe  # noqa: PLC0415

    bases, recipe = read_start(arguments)
    space, choices = read_space(arguments, bases)
    shared = fix_recipe(recipe, choices)
    monitor = shared.monitor
    dataset = load_images(arguments)
    from keras_cnns.plotting import check_picture  # noqa: PLC0415
    from tuning.search import sweep  # noqa: PLC0415

    if arguments.plot:
        check_picture(arguments.plot)
    terminal = Console(stderr=True)
    if terminal.is_terminal:
        terminal.print(dataset.describe(), highlight=False)
    with Live(console=terminal, transient=True, refresh_per_second=2, redirect_stdout=False) as live:
        result = sweep(
            arguments.model,
            dataset,
            trials=arguments.trials,
            recipe=recipe,
            space=space,
            search=arguments.search,
            max_parameters=arguments.max_parameters,
            max_macs=arguments.max_macs,
            cost=arguments.cost,
            seed=arguments.seed,
            repeats=arguments.repeats,
            refit=arguments.refit,
            register=arguments.register,
            from_run=arguments.from_run,
            scheduler=arguments.scheduler,
            cores=arguments.cores,
            cores_per_trial=arguments.cores_per_trial,
            gpus_per_trial=arguments.gpus_per_trial,
            memory_per_trial=arguments.memory_per_trial,
            ray_address=arguments.ray_address,
            storage=arguments.storage,
            resume=arguments.resume,
            extend=arguments.extend,
            experiment=arguments.experiment,
            tracking_uri=arguments.tracking_uri,
            folder=arguments.folder,
            progress_callback=observers(terminal, live, shared, as_json=arguments.json),
        )
    report(result, arguments, monitor, dataset.describe())
    return 0


def read_start(arguments: argparse.Namespace) -> tuple[list[Base], Recipe]:
    """Return the variants and the recipe that candidates start from, those of a run where one is named.

    Raises:
        KerasCnnsError: There is no model, no such run, or the arguments contradict each other.
    """
    from tuning.candidates.ranges import find_bases  # noqa: PLC0415
    from tuning.running.start import find_start  # noqa: PLC0415

    # Epochs and batch size of their own arguments are only where candidates start.
    given = {"epochs": arguments.epochs, "batch_size": arguments.batch_size}
    started = {name: value for name, value in given.items() if value is not None}
    if arguments.from_run is not None:
        if arguments.recipe is not None:
            raise SettingError("--recipe and --from-run both say what training starts from: give one of them.")
        start = find_start(arguments.from_run, model=arguments.model, tracking_uri=arguments.tracking_uri)
        return find_bases(start.model), start.recipe.replace(started)
    if arguments.model is None:
        raise SettingError("there is no model: name a family, a network or all, or a run with --from-run.")
    bases, recipe = find_bases(arguments.model), arguments.recipe or "plain"
    if len(bases) > 1 and recipe == "paper":
        raise SettingError("--recipe paper: each family has its own; name one family, or use --recipe modern.")
    return bases, make_recipe(recipe, bases[0][1].name, {"epochs": EPOCHS, **started})


def observers(terminal: Console, live: Live, recipe: Recipe, *, as_json: bool) -> SweepProgressCallback | None:
    """Return who is told of the sweep: a view where there is a terminal, and who prints lines for programs.

    The two do not share one terminal.
    """
    told: list[SweepProgressCallback] = [JsonLines(Progress(recipe.monitor))] if as_json else []
    if terminal.is_terminal and not (as_json and sys.stdout.isatty()):
        told.append(View(live, Progress(recipe.monitor), recipe.epochs))
    return Together(told) if told else None


def report(result: SweepResult, arguments: argparse.Namespace, monitor: str, images: str) -> None:
    """Print the comparison of a sweep's trials, and what to do next."""
    from rich.console import Console  # noqa: PLC0415

    from keras_cnns.cli.compare import show  # noqa: PLC0415
    from keras_cnns.comparing.comparison import Comparison  # noqa: PLC0415
    from keras_cnns.comparing.plots import accuracy_against  # noqa: PLC0415
    from tuning.outcome.files import OUTCOME, brief_importance  # noqa: PLC0415

    cost = arguments.cost or "parameters"
    comparison = Comparison(result.runs, sort=monitor, cost=cost)
    outcome = result.folder / OUTCOME
    picture = Path(arguments.plot) if arguments.plot else outcome / "comparison.png"
    if arguments.plot:
        accuracy_against(comparison, picture)
    if arguments.json:
        found = {
            "event": "result",
            "run_id": result.run_id,
            "folder": str(result.folder),
            "best_run_id": result.best.id if result.best else None,
            "front": [run.id for run in result.front],
            "finals": result.finals.as_dict() if result.finals else None,
            "refit": refit_as_dict(result),
            "notes": result.notes,
            "seconds": result.seconds,
            "utilization": result.utilization,
            "picture": str(picture),
            "outcome": str(outcome),
            "trials": comparison.as_dicts(),
        }
        print(json.dumps(found))
        return
    console = Console()
    console.print(images, highlight=False)
    show(comparison, console)
    show_finals(result, console)
    uri = f" --tracking-uri {arguments.tracking_uri}" if arguments.tracking_uri else ""
    best, other = result.best, "parameters" if cost == "macs" else "macs"
    lines = [
        *result.notes,
        f"{len(result.runs)} trials in {result.seconds:.0f} s; cores inside fit for {result.utilization:.0%} of that",
        *brief_importance(outcome),
        f"pictures: {outcome}" + (f" and {picture}" if arguments.plot else ""),
        f"runs: experiment {arguments.experiment!r} in {result.store}",
    ]
    if (refit := result.refit) is not None:
        lines.append(
            f"refit: run {refit.run_id}, {refit.epochs} epochs on training and validation images, registered as "
            f"{refit.registered.name} version {refit.registered.version} ({refit.registered.alias})"
        )
    if best is not None:
        lines += [
            "next:",
            f"  keras-cnns compare {arguments.experiment}{uri} --sort {monitor} --cost {other} --plot {other}.png",
            f"  mlflow ui --backend-store-uri {result.store}    # the best network is in run {best.id}",
        ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def refit_as_dict(result: SweepResult) -> dict[str, Any] | None:
    """Return what came of the refit for programs."""
    if result.refit is None:
        return None
    return {"run_id": result.refit.run_id, "epochs": result.refit.epochs, **vars(result.refit.registered)}


def show_finals(result: SweepResult, console: Console) -> None:
    """Print what came of training the best again: a table, and what it says."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    if result.finals is None:
        return
    table = Table(title="finalists, with other seeds", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    mean, lead = f"mean\n{result.finals.monitor}", "95 % of the first's\nlead, over images"
    for column in ("trial", mean, "95 % of it,\nover seeds", "seeds", "p", lead):
        table.add_column(column, justify="left" if column == "trial" else "right", no_wrap=True)
    for finalist in result.finals.finalists:
        table.add_row(
            finalist.name,
            f"{finalist.mean:.4f}",
            "" if math.isnan(finalist.low) else f"{finalist.low:.4f} to {finalist.high:.4f}",
            str(len(finalist.scores)),
            "" if finalist.p is None else f"{finalist.p:.2g}",
            "" if finalist.lead is None else "{:+.4f} to {:+.4f}".format(*finalist.lead),
        )
    console.print(table)
    console.print(result.finals.verdict, highlight=False, soft_wrap=True)
