"""`keras-cnns sweep`: search for the best settings of networks and of the training recipe."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

import tuning
from keras_cnns.cli.compare import render
from keras_cnns.cli.inputs import load_images, read_toml, split_assignment
from keras_cnns.cli.json_lines import JsonLines
from keras_cnns.cli.next_steps import command, show_in_mlflow, tracking_option
from keras_cnns.cli.printing import make_console, print_lines
from keras_cnns.comparing.formatting import format_count
from keras_cnns.comparing.pareto_plots import pareto_figure
from keras_cnns.display.showing import show_progress
from keras_cnns.errors import SettingError
from keras_cnns.networks.registry import all_families
from keras_cnns.plotting import check_plot_path, save
from tuning.candidates.ranges import RECIPE, UserInput
from tuning.outcome.files import summarize_importance

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from keras_cnns.data import Dataset
    from tuning.finishing.finals import Finals
    from tuning.finishing.result import SweepResult

SAME_NAMES = (
    "model", "trials", "recipe", "weights", "search", "max_parameters", "max_macs", "cost", "seed", "repeats", "folds",
    "refit", "register", "from_run", "scheduler", "cores", "cores_per_trial", "gpus_per_trial", "memory_per_trial",
    "ray_address", "storage", "resume", "extend", "experiment", "tracking_uri", "folder",
)  # fmt: skip
"""Options that are arguments of `tuning.sweep` with the same name."""


def run(arguments: argparse.Namespace) -> None:
    """Run a sweep and print its result."""
    if arguments.recipe is not None and arguments.from_run is not None:
        raise SettingError("--recipe and --from-run both set the recipe that candidates start from: give one of them.")
    if arguments.plot:
        check_plot_path(arguments.plot)

    def load() -> Dataset:
        dataset = load_images(arguments)
        if sys.stderr.isatty():
            print(dataset.describe(), file=sys.stderr)
        return dataset

    options: dict[str, Any] = {name: getattr(arguments, name) for name in SAME_NAMES}
    shares_terminal = arguments.json and sys.stdout.isatty()
    with show_progress(not shares_terminal, "starting Ray and TensorFlow") as shown:
        progress = JsonLines(shown) if arguments.json else shown
        result = tuning.sweep(data=load, space=read_space(arguments), progress=progress, **options)
    outcome = result.outcome
    if arguments.plot:
        save(pareto_figure(result.comparison), arguments.plot)
    if arguments.json:
        plot = arguments.plot or outcome / "comparison.png"
        print(json.dumps({"event": "result", **as_dict(result), "plot": str(plot), "outcome": str(outcome)}))
    else:
        print_result(result, arguments, outcome)


def read_space(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the search space of `--epochs`, `--batch-size`, `--space` and `--set`; later ones override earlier ones.

    Raises:
        SettingError: The file cannot be read, or an assignment has no value.
    """
    numbers = {"epochs": ("--epochs", arguments.epochs), "batch_size": ("--batch-size", arguments.batch_size)}
    entries: dict[str, object] = {
        name: UserInput(value, f"{option} {value}") for name, (option, value) in numbers.items() if value is not None
    }
    entries |= read_space_file(arguments.space) if arguments.space else {}
    for assignment in arguments.assignments:
        name, text = split_assignment(assignment)
        entries[name] = UserInput(text, f"--set {assignment}")
    return entries


def read_space_file(path: str | Path) -> dict[str, object]:
    """Read the entries of a search space from a TOML file.

    Names of settings are top-level keys, or keys of the tables "settings", "recipe" and of families.

    Raises:
        SettingError: The file cannot be read, is not TOML, or sets a name twice.
    """
    content = read_toml(path)
    entries: dict[str, object] = {}
    for name, value in content.items():
        table: Mapping[str, object] = {name: value}
        if isinstance(value, dict) and name in ("settings", RECIPE):
            table = value
        elif isinstance(value, dict) and name in all_families():
            table = {f"{name}.{setting}": part for setting, part in value.items()}
        for setting in table:
            if setting in entries:
                raise SettingError(f"{path} sets {setting} twice.")
        entries |= {setting: UserInput(part, str(path)) for setting, part in table.items()}
    return entries


def as_dict(result: SweepResult) -> dict[str, Any]:
    """Return the result for JSON."""
    refit = result.refit
    return {
        "run_id": result.run_id,
        "folder": str(result.folder),
        "best_run_id": result.best.id if result.best else None,
        "front": [run.id for run in result.front],
        "finals": result.finals.as_dict() if result.finals else None,
        "refit": refit and {"run_id": refit.run_id, "epochs": refit.epochs, **vars(refit.registered)},
        "notes": result.notes,
        "seconds": result.seconds,
        "utilization": result.utilization,
        "trials": result.comparison.as_dicts(),
    }


def print_result(result: SweepResult, arguments: argparse.Namespace, outcome: Path) -> None:
    """Print the comparison of the trials, the finalists, and the next steps."""
    console = make_console()
    weights = result.config.space.weights
    print_lines(console, [result.config.dataset.describe(), *([] if weights is None else [weights.note()])])
    console.print(render(result.comparison))
    if result.finals is not None:
        console.print(make_finals_table(result.finals))
        print_lines(console, [result.finals.verdict])
    trials = format_count(len(result.runs), "trial")
    lines = [
        *result.notes,
        f"{trials} in {result.seconds:.0f} s; core utilisation {result.utilization:.0%}",
        *summarize_importance(outcome),
        f"plots: {outcome}" + (f" and {arguments.plot}" if arguments.plot else ""),
        f"runs: experiment {arguments.experiment!r} in {result.store}",
    ]
    if (refit := result.refit) is not None:
        epochs, version = format_count(refit.epochs, "epoch"), refit.registered
        lines.append(
            f"refit: run {refit.run_id}, {epochs} on training and validation images, registered as {version.name} "
            f"version {version.version} ({version.alias})"
        )
    if result.best is not None:
        monitor, other = result.config.monitor, "parameters" if result.comparison.cost == "macs" else "macs"
        options = ("--sort", monitor, "--cost", other, "--plot", f"{other}.png")
        lines += [
            "next:",
            f"  {command('compare', arguments.experiment, *tracking_option(arguments), *options)}",
            f"  {show_in_mlflow(result.store, result.best.id, 'the best network')}",
        ]
    print_lines(console, lines)


def make_finals_table(finals: Finals) -> Table:
    """Return a table of the finalists."""
    how = "trained with other seeds" if finals.folds is None else f"cross-validated with {finals.folds} folds"
    table = Table(title=f"finalists, {how}", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    lead = "lead of the first,\n95 % CI over images"
    if finals.folds is not None:
        for column in ("trial", f"out-of-fold\n{finals.monitor.removeprefix('val_')}", "cross-validation", lead):
            table.add_column(column, justify="left" if column == "trial" else "right", no_wrap=True)
        for finalist in finals.finalists:
            lead = "" if finalist.lead is None else "{:+.4f} to {:+.4f}".format(*finalist.lead)
            table.add_row(finalist.name, f"{finalist.mean:.4f}", finalist.cross_validation[:8], lead)
        return table
    for column in ("trial", f"mean\n{finals.monitor}", "95 % CI\nover seeds", "seeds", "p", lead):
        table.add_column(column, justify="left" if column == "trial" else "right", no_wrap=True)
    for finalist in finals.finalists:
        low, high = finalist.interval
        table.add_row(
            finalist.name,
            f"{finalist.mean:.4f}",
            "" if math.isnan(low) else f"{low:.4f} to {high:.4f}",
            str(len(finalist.scores)),
            "" if finalist.p is None else f"{finalist.p:.2g}",
            "" if finalist.lead is None else "{:+.4f} to {:+.4f}".format(*finalist.lead),
        )
    return table
