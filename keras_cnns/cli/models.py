"""`keras-cnns models`: list the networks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_cnns.cli.printing import format_shape, make_console, make_table
from keras_cnns.errors import ModelNameError, nearest
from keras_cnns.networks.registry import all_families, count, find_variant, list_models
from keras_cnns.units import format_number

if TYPE_CHECKING:
    import argparse

    from rich.table import Table


def run(arguments: argparse.Namespace) -> None:
    """Print the names of the networks; at a terminal, a table with their sizes."""
    names = list_models(
        arguments.pattern,
        family=arguments.family,
        min_parameters=arguments.min_parameters,
        max_parameters=arguments.max_parameters,
        year=arguments.year,
    )
    if not names:
        raise ModelNameError(explain_empty_list(arguments.pattern))
    if arguments.json:
        print(json.dumps(names))
    elif (console := make_console()).is_terminal:
        console.print(models_table(names))
    else:
        print("\n".join(names))


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
