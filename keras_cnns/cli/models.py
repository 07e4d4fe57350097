"""`keras-cnns models`: list the networks."""

from __future__ import annotations

import fnmatch
import json
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_cnns.cli.printing import WIDTH, format_shape, make_console, make_table
from keras_cnns.errors import ModelNameError, nearest
from keras_cnns.networks.baselines.names import BASELINE, list_keras_networks
from keras_cnns.networks.registry import all_families, count, find_variant, list_models
from keras_cnns.units import format_number

if TYPE_CHECKING:
    import argparse

    from rich.console import Console
    from rich.table import Table


def run(arguments: argparse.Namespace) -> None:
    """Print the names of the networks; at a terminal, a table with their sizes."""
    filters = {name: getattr(arguments, name) for name in ("family", "min_parameters", "max_parameters", "year")}
    names = [] if arguments.family == BASELINE else list_models(arguments.pattern, **filters)
    are_listed = all(value in (None, BASELINE) for value in filters.values())
    baselines = fnmatch.filter(list_keras_networks(), arguments.pattern) if are_listed else []
    if not names and not baselines:
        raise ModelNameError(explain_empty_list(arguments.pattern))
    if arguments.json:
        print(json.dumps(names or baselines))
        return
    console = make_console()
    if names:
        print_networks(console, names)
    if baselines:
        print(format_baselines(baselines, after_networks=bool(names)))


def print_networks(console: Console, names: Sequence[str]) -> None:
    """Print the names of networks; at a terminal, a table with their sizes."""
    if console.is_terminal:
        console.print(models_table(names))
    else:
        print("\n".join(names))


def format_baselines(names: Sequence[str], *, after_networks: bool) -> str:
    """Return the section of baselines, or only their names, one per line."""
    if not after_networks:
        return "\n".join(names)
    listed = textwrap.fill(", ".join(names), WIDTH, break_on_hyphens=False)
    return (
        f"\nbaselines: the networks of keras.applications, and FILE.py:FUNCTION or MODULE:FUNCTION for your own\n"
        f"{listed}"
    )


def explain_empty_list(pattern: str) -> str:
    """Return why no network is listed, and what would match."""
    matching = list_models(pattern)
    if not matching:
        hint = nearest(re.sub(r"[*?\[\]!]", "", pattern), list_models())
        return f"no network name matches {pattern!r}.{hint} `keras-cnns models` lists all networks."
    sizes = [count(name).total_parameters for name in matching]
    years = {paper.year for family in all_families().values() for paper in family.papers}
    return (
        f"none of the {len(matching)} networks that match {pattern!r} has this family, size and year; they have "
        f"{format_number(min(sizes))} to {format_number(max(sizes))} parameters, and the families were published from "
        f"{min(years)} to {max(years)}."
    )


def models_table(names: Sequence[str]) -> Table:
    """Return a table of the networks and their sizes."""
    table = make_table(("network", "parameters", "MACs", "images", "year"), text_columns=1)
    for name in names:
        family, variant = find_variant(name)
        costs = count(name)
        sizes = (format_number(costs.total_parameters), format_number(costs.macs), format_shape(variant.input_shape))
        table.add_row(name, *sizes, str(family.papers[0].year))
    return table
