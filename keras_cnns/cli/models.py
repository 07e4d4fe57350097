"""`keras-cnns models`: the networks that can be built."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import large_number, whole_number
from keras_cnns.cli.printing import by, make_console, make_table
from keras_cnns.errors import ModelNameError, nearest
from keras_cnns.units import human

if TYPE_CHECKING:
    from rich.table import Table


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("models", help="list the networks", description="List the networks by name.")
    parser.add_argument("pattern", nargs="?", default="*", help="wildcards, such as 'resnet*'")
    parser.add_argument("--family", help="only this family: densenet, lenet, resnet, ...")
    parser.add_argument("--min-parameters", type=large_number, metavar="N", help="as many at least, such as 100K")
    parser.add_argument("--max-parameters", type=large_number, metavar="N", help="as many at most, such as 1M")
    parser.add_argument("--year", type=whole_number, help="only what was published in this year")
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the names; at a terminal, with what the networks are."""
    from keras_cnns.networks.registry import list_models  # noqa: PLC0415 - `--help` does not wait for the families

    names = list_models(
        arguments.pattern,
        family=arguments.family,
        min_parameters=arguments.min_parameters,
        max_parameters=arguments.max_parameters,
        year=arguments.year,
    )
    if not names:
        raise ModelNameError(nothing_found(arguments.pattern))
    if arguments.json:
        print(json.dumps(names))
    elif (console := make_console()).is_terminal:
        console.print(lay_out(names))
    else:
        print("\n".join(names))
    return 0


def nothing_found(pattern: str) -> str:
    """Say why no network is listed, and what there is."""
    from keras_cnns.networks.registry import all_families, count, list_models  # noqa: PLC0415

    called = list_models(pattern)
    if not called:
        hint = nearest(re.sub(r"[*?\[\]!]", "", pattern), list_models())
        return f"no network is called {pattern!r}.{hint} `keras-cnns models` lists all."
    sizes = [count(name).total_parameters for name in called]
    years = {paper.year for family in all_families().values() for paper in family.papers}
    return (
        f"none of the {len(called)} networks called {pattern!r} is of that family, size and year; they have "
        f"{human(min(sizes))} to {human(max(sizes))} parameters, and families are of {min(years)} to {max(years)}."
    )


def lay_out(names: Sequence[str]) -> Table:
    """Return a table of the networks."""
    from keras_cnns.networks.registry import count, find_variant  # noqa: PLC0415

    table = make_table(("network", "parameters", "MACs", "images", "year"), words=1)
    for name in names:
        family, variant = find_variant(name)
        costs = count(name)
        sizes = (human(costs.total_parameters), human(costs.macs), by(variant.input_shape))
        table.add_row(name, *sizes, str(family.papers[0].year))
    return table
