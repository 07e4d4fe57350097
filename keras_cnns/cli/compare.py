"""`keras-cnns compare`: runs side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import whole_number
from keras_cnns.cli.waiting import waiting
from keras_cnns.errors import SettingError, StoreError, nearest

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from keras_cnns.comparing.comparison import Comparison, Row
    from keras_cnns.tracking import Run

COSTS = ("parameters", "macs", "seconds")
MARK = "*"
WIDTH = 100
HEADINGS = {"parameters": "params", "seconds": "training"}


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="compare runs",
        description="Rank the runs of experiments; mark those that no other beats in both score and cost. Runs that "
        "differ in nothing but the seed stand in one row. Two runs instead of experiments: what they differ in.",
    )
    parser.add_argument(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help="MLflow experiments (default: all), or the ids or names of two runs",
    )
    parser.add_argument(
        "--tracking-uri",
        action="append",
        metavar="URI",
        help="MLflow store (default: $MLFLOW_TRACKING_URI, else ./mlflow.db); repeatable, to compare what several hold",
    )
    parser.add_argument("--sort", default="val_accuracy", metavar="COLUMN", help="default: val_accuracy")
    parser.add_argument("--cost", default="parameters", choices=COSTS, help="cost to weigh (default: parameters)")
    parser.add_argument(
        "--where", metavar="CONDITION", help="only such runs: \"parameters < 1e6 and family == 'densenet'\""
    )
    parser.add_argument("--columns", metavar="NAME,...", help="metrics, settings and parts of the recipe to print")
    parser.add_argument("--each", action="store_true", help="a row for each run, also where only the seed differs")
    parser.add_argument("--limit", type=whole_number, metavar="N", help="print the first N runs on the same images")
    parser.add_argument("--plot", metavar="FILE.png", help="draw score against cost")
    parser.add_argument("--html", metavar="FILE.html", help="write a page of it: tables to sort, pictures, curves")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the runs for programs")
    form.add_argument("--csv", action="store_true", help="print the runs for spreadsheets")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    if arguments.limit is not None and arguments.limit < 1:
        raise SettingError(f"--limit {arguments.limit}: show 1 run or more.")
    from keras_cnns.comparing.comparison import Comparison  # noqa: PLC0415
    from keras_cnns.tracking import Store, Stores  # noqa: PLC0415 - `--help` waits for none of these

    stores = Stores([Store(uri, create=False) for uri in dict.fromkeys(arguments.tracking_uri or [None])])
    names = arguments.experiments
    if len(names) == 2 and not set(names) & set(stores.experiments()):
        from keras_cnns.cli.compare_two import compare_two  # noqa: PLC0415

        return compare_two(stores, arguments)
    runs = stores.runs(names)
    if not runs:
        looked_in = ", ".join(map(repr, names or stores.experiments()))
        raise StoreError(
            f"no runs to compare in {looked_in} of {stores.location}: `keras-cnns train` makes some, or name another "
            f"store with --tracking-uri."
        )
    comparison = Comparison(
        chosen(runs, arguments.where), sort=arguments.sort, cost=arguments.cost, by_seed=not arguments.each
    )
    columns = read_columns(arguments.columns, comparison)
    shown = comparison.first(arguments.limit) if arguments.limit else comparison
    if arguments.plot:
        from keras_cnns.comparing.plots import accuracy_against  # noqa: PLC0415

        accuracy_against(comparison, Path(arguments.plot))
    if arguments.html:
        from keras_cnns.comparing.page import write_page  # noqa: PLC0415

        title = f"Comparison: {', '.join(dict.fromkeys(run.experiment for run in runs))}"
        with waiting("weighing settings and writing the page"):
            write_page(comparison, stores, arguments.html, title=title)
    if arguments.json:
        print(json.dumps(shown.as_dicts(), allow_nan=False))
    elif arguments.csv:
        print(shown.to_csv(), end="")
    else:
        from rich.console import Console  # noqa: PLC0415

        show(shown, Console(), columns)
    for written_file, what in ((arguments.plot, "picture"), (arguments.html, "page")):
        if written_file:
            print(f"{what}: {written_file}", file=sys.stderr)
    return 0


def chosen(runs: list[Run], condition: str | None) -> list[Run]:
    """Return the runs that fulfil a condition, if there is one.

    Raises:
        SettingError: It is no condition, or none does.
    """
    if condition is None:
        return runs
    from keras_cnns.comparing.selecting import select  # noqa: PLC0415

    found = select(runs, condition)
    if not found:
        raise SettingError(f"--where {condition!r}: none of {len(runs)} runs is like that.")
    return found


def read_columns(text: str | None, comparison: Comparison) -> tuple[str, ...]:
    """Read the columns that are to be printed; none for the usual ones.

    Raises:
        SettingError: No run has such a thing.
    """
    names = tuple(filter(None, map(str.strip, (text or "").split(","))))
    known = comparison.columns() if names else set()
    for name in names:
        if name not in known:
            raise SettingError(f"--columns {name}: no run has it.{nearest(name, known)}")
    return names


def show(comparison: Comparison, console: Console, columns: Sequence[str] = ()) -> None:
    """Print a comparison; where the output goes to no terminal, at a fixed width."""
    if not console.is_terminal:
        console.width = WIDTH
    console.print(render(comparison, columns))


def render(comparison: Comparison, columns: Sequence[str] = ()) -> Group:
    """Lay out a comparison: for each set of images a table and what its runs differ in, then what the marks mean.

    Args:
        comparison: The comparison.
        columns: What to print of each row; scores and costs by default.
    """
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from keras_cnns.comparing.comparison import group_by_data  # noqa: PLC0415

    groups = group_by_data(comparison.rows)
    tables = [
        table
        for rows in groups
        for table in (make_table(rows, columns or usual_columns(comparison, rows)), list_differences(rows))
    ]
    return Group(*tables, *(Text(line) for line in footer(comparison)))


def usual_columns(comparison: Comparison, rows: list[Row]) -> list[str]:
    """Return what is printed of rows where nothing else was asked for: the scores and costs that any has."""
    from keras_cnns.comparing.comparison import SCORES  # noqa: PLC0415

    figures = [name for name in SCORES if any(row.value(name) is not None for row in rows)]
    if comparison.sort not in (*figures, *COSTS, "epochs"):
        figures.append(comparison.sort)
    return [*figures, *COSTS]


def make_table(rows: list[Row], figures: Sequence[str]) -> Table:
    """Lay out the runs on one set of images."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from keras_cnns.comparing.wording import counted  # noqa: PLC0415

    models = {row.run.model for row in rows}
    of_model = f" of {rows[0].run.model}" if len(models) == 1 else ""
    runs = sum(len(row.runs) for row in rows)
    table = Table(
        title=f"{counted(runs)}{of_model} on {rows[0].data}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    table.add_column("run", overflow="fold", min_width=10)
    for column in figures:
        table.add_column(HEADINGS.get(column, column.replace("_", "\n")), justify="right", no_wrap=True)
    tested = any(row.p is not None for row in rows)
    if tested:
        table.add_column("p", justify="right", no_wrap=True)
    table.add_column("epochs", no_wrap=True)
    for row in rows:
        cells = [MARK if row.pareto else "", row.title]
        cells += [in_cell(row, column) for column in figures]
        cells += ["" if row.p is None else f"{row.p:.2g}"] if tested else []
        epochs = row.value("epochs")
        state = "" if row.status == "finished" else row.status
        cells.append(" ".join(filter(None, [f"{epochs:.0f}" if epochs else "", state])))
        style = "bold" if row.pareto else "dim" if row.run.status == "failed" else ""
        table.add_row(*map(Text, cells), style=style)
    return table


def list_differences(rows: list[Row]) -> Table:
    """Lay out what each run differs in, in the order of the table above."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    several = len({row.run.model for row in rows}) > 1
    with_model = several and any(row.run.name != row.run.model for row in rows)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for row in rows:
        if words := describe(row, with_model=with_model):
            grid.add_row(Text(f"  {row.run.name}"), Text(words))
    if grid.rows:
        grid.add_row("", "")
    return grid


def footer(comparison: Comparison) -> list[str]:
    """Say what the marks mean, what is to be known of the runs, and why some failed."""
    names: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.run.reason:
            names.setdefault(" ".join(row.run.reason.split()), []).append(row.run.name)
    reasons = [f"  {', '.join(failed)}: {reason}" for reason, failed in names.items()]
    return [*comparison.meanings(MARK), *reasons]


def describe(row: Row, *, with_model: bool) -> str:
    """Write in what a run differs from others, long numbers to three digits."""
    from keras_cnns.comparing.wording import shortened  # noqa: PLC0415

    words = [row.run.model] if with_model else []
    return " ".join([*words, *(f"{name}={shortened(value)}" for name, value in row.differences.items())])


def in_cell(row: Row, column: str) -> str:
    """Write what stands in a column of the table: a number, with what its mean may be off by, or words."""
    from keras_cnns.comparing.wording import shortened, written  # noqa: PLC0415

    value = row.cell(column)
    if value is None:
        return ""
    return shortened(value) if isinstance(value, str) else written(column, value, row.reach(column))
