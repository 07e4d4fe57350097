"""`keras-cnns compare`: rank runs, list the differences of two runs, or test them on the same images."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from keras_cnns.cli.printing import make_console
from keras_cnns.cli.status import show_status
from keras_cnns.comparing.comparison import MARK, Comparison, group_by_data
from keras_cnns.comparing.filtering import filter_runs
from keras_cnns.comparing.formatting import format_count
from keras_cnns.errors import SettingError, StoreError, nearest
from keras_cnns.lazy import LazyModule
from keras_cnns.plotting import save
from keras_cnns.tracking import Store, Stores

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from keras_cnns.cli import compare_images, compare_two
    from keras_cnns.comparing import pareto_plots
    from keras_cnns.comparing.page import writing
    from keras_cnns.comparing.rows import Row
    from keras_cnns.tracking import Run
else:  # the table needs no plots, which take a second to import
    compare_images = LazyModule("keras_cnns.cli.compare_images")
    compare_two = LazyModule("keras_cnns.cli.compare_two")
    pareto_plots = LazyModule("keras_cnns.comparing.pareto_plots")
    writing = LazyModule("keras_cnns.comparing.page.writing")

HEADINGS = {"parameters": "params", "seconds": "training"}


def run(arguments: argparse.Namespace) -> None:
    """Print the comparison of runs, and write its plot and page."""
    if compare_images.applies(arguments):
        compare_images.compare_images(arguments)
        return
    stores = Stores([Store(uri, create=False) for uri in dict.fromkeys(arguments.tracking_uri or [None])])
    names = arguments.experiments
    if len(names) == 2 and not set(names) & set(stores.experiments()):
        compare_two.compare_two(stores, arguments)
        return
    runs = stores.runs(names)
    if not runs:
        experiments = ", ".join(map(repr, names or stores.experiments()))
        raise StoreError(
            f"no runs to compare in {experiments} of {stores.location}; start with `keras-cnns train`, or select "
            f"another store with --tracking-uri."
        )
    comparison = Comparison(
        filter_where(runs, arguments.where), sort=arguments.sort, cost=arguments.cost, per_run=arguments.per_run
    )
    columns = read_columns(arguments.columns, comparison)
    shown = comparison.head(arguments.limit) if arguments.limit else comparison
    if arguments.plot:
        save(pareto_plots.pareto_figure(comparison), arguments.plot)
    if arguments.html:
        title = f"Comparison: {', '.join(dict.fromkeys(run.experiment for run in runs))}"
        with show_status("computing hyperparameter importance and writing the page"):
            writing.write_page(comparison, stores, arguments.html, title=title)
    if arguments.json:
        print(json.dumps(shown.as_dicts(), allow_nan=False))
    elif arguments.csv:
        print(shown.to_csv(), end="")
    else:
        make_console().print(render(shown, columns))
    for kind, path in (("plot", arguments.plot), ("page", arguments.html)):
        if path:
            print(f"{kind}: {path}", file=sys.stderr)


def filter_where(runs: list[Run], condition: str | None) -> list[Run]:
    """Return the runs that satisfy the condition, or all runs if there is none.

    Raises:
        SettingError: The condition is not valid, or no run satisfies it.
    """
    if condition is None:
        return runs
    matching = filter_runs(runs, condition)
    if not matching:
        raise SettingError(f"--where {condition!r}: none of {len(runs)} runs satisfies it.")
    return matching


def read_columns(text: str | None, comparison: Comparison) -> tuple[str, ...]:
    """Return the names of `--columns`; empty for the default columns.

    Raises:
        SettingError: No run has a column of this name.
    """
    names = tuple(filter(None, map(str.strip, (text or "").split(","))))
    known = comparison.column_names() if names else set()
    for name in names:
        if name not in known:
            raise SettingError(f"--columns {name}: no run has this column.{nearest(name, known)}")
    return names


def render(comparison: Comparison, columns: Sequence[str] = ()) -> Group:
    """Return a table and the differences of the runs for each dataset, and footnotes.

    Args:
        comparison: The comparison.
        columns: The columns to print; scores and costs by default.
    """
    groups = group_by_data(comparison.rows)
    tables = [
        table
        for rows in groups
        for table in (runs_table(rows, columns or comparison.default_columns(rows)), differences_table(rows))
    ]
    return Group(*tables, *(Text(line) for line in footer(comparison)))


def runs_table(rows: list[Row], columns: Sequence[str]) -> Table:
    """Return a table of the runs on one dataset."""
    models = {row.run.model for row in rows}
    of_model = f" of {rows[0].run.model}" if len(models) == 1 else ""
    runs = sum(len(row.runs) for row in rows)
    table = Table(
        title=f"{format_count(runs)}{of_model} on {rows[0].data}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    table.add_column("run", overflow="fold", min_width=10)
    for column in columns:
        table.add_column(HEADINGS.get(column, column.replace("_", "\n")), justify="right", no_wrap=True)
    tested = any(row.p is not None for row in rows)
    if tested:
        table.add_column("p", justify="right", no_wrap=True)
    table.add_column("epochs", no_wrap=True)
    for row in rows:
        cells = [MARK if row.pareto else "", row.title]
        cells += [row.format(column) for column in columns]
        cells += [row.format_p()] if tested else []
        epochs = row.value("epochs")
        state = "" if row.status == "finished" else row.status
        cells.append(" ".join(filter(None, [f"{epochs:.0f}" if epochs else "", state])))
        style = "bold" if row.pareto else "dim" if row.run.status == "failed" else ""
        table.add_row(*map(Text, cells), style=style)
    return table


def differences_table(rows: list[Row]) -> Table:
    """Return the settings in which the runs differ, in the order of the rows."""
    several = len({row.run.model for row in rows}) > 1
    with_model = several and any(row.run.name != row.run.model for row in rows)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for row in rows:
        if settings := row.format_differences(with_model=with_model):
            grid.add_row(Text(f"  {row.run.name}"), Text(settings))
    if grid.rows:
        grid.add_row("", "")
    return grid


def footer(comparison: Comparison) -> list[str]:
    """Return the meaning of the marks, notes on the runs, and the reasons of failed runs."""
    names: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.run.reason:
            names.setdefault(" ".join(row.run.reason.split()), []).append(row.run.name)
    reasons = [f"  {', '.join(failed)}: {reason}" for reason, failed in names.items()]
    return [*comparison.footnotes(MARK), *reasons]
