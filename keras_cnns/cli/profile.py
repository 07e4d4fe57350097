"""`keras-cnns profile`: what each part of a network costs, and how far it sees."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import add_network, read_network
from keras_cnns.cli.printing import by, make_console, make_table
from keras_cnns.lazy import load_backend
from keras_cnns.units import human

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from keras_cnns.networks.profiling import Part, Profile

UNBOUNDED = 1000
FIGURES = ("output", "params", "MACs", "memory", "sees")
LEGEND = """
memory: of what all layers give for one image; where each value is dropped
        after its last use, at most {peak} values are alive at one time
sees:   pixels of the image, to a side, that one value depends on; with zeros
        around the image it may be more than the image has"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "profile",
        help="count what each part of a network costs",
        description="Count parameters, multiply-accumulates and activations of each part of a network for one image, "
        "and how many pixels it sees.",
    )
    add_network(parser)
    parser.add_argument("--by", choices=("block", "layer"), default="block", help="default: block")
    parser.add_argument("--plot", metavar="FILE.png", help="draw what the blocks cost")
    parser.add_argument("--json", action="store_true", help="print blocks and layers for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the network, count, and print."""
    from keras_cnns.networks.profile_plots import blocks_picture  # noqa: PLC0415 - `--help` waits for none of these
    from keras_cnns.networks.registry import build, count  # noqa: PLC0415
    from keras_cnns.plotting import check_picture  # noqa: PLC0415

    if arguments.plot:
        check_picture(arguments.plot)
    changes = read_network(arguments)
    count(arguments.model, **changes)  # tells any mistake before the backend is waited for
    load_backend()
    from keras_cnns.networks.profiling import profile  # noqa: PLC0415

    model = build(arguments.model, **changes)
    costs = profile(model)
    shape = model.input_shape[1:]
    title = f"{arguments.model}: {by(shape)} images, {model.output_shape[-1]:,} classes"
    if arguments.plot:
        blocks_picture(costs, arguments.plot, title=title)
    if arguments.json:
        print(json.dumps({"model": arguments.model, "input_shape": shape, **costs.as_dict()}))
    else:
        console = make_console()
        console.print(title, style="bold")
        console.print(blocks_table(costs) if arguments.by == "block" else layers_table(costs, console))
        console.print(LEGEND.format(peak=human(costs.peak_activations)))
    if arguments.plot:
        print(f"picture: {arguments.plot}", file=sys.stderr)
    return 0


def blocks_table(costs: Profile) -> Table:
    """Lay out what each block costs."""
    totals = ("total", str(len(costs.layers)), *total_figures(costs))
    table = make_table(("block", "layers", *FIGURES), words=1, totals=totals)
    for block in costs.blocks:
        table.add_row(block.name, str(block.layers), *figures(block))
    return table


def layers_table(costs: Profile, console: Console, words: Sequence[str] = ("layer", "kind")) -> Table:
    """Lay out what each layer costs, without its kind where there is no room."""
    totals = ("total", "")[: len(words)]
    table = make_table((*words, *FIGURES), words=len(words), totals=(*totals, *total_figures(costs)))
    for layer in costs.layers:
        table.add_row(*(layer.name, layer.kind)[: len(words)], *figures(layer))
    wanted = console.measure(table, options=console.options.update(width=UNBOUNDED)).maximum
    return layers_table(costs, console, words[:1]) if wanted > console.width and len(words) > 1 else table


def figures(part: Part) -> tuple[str, ...]:
    """Write what a part of a network costs."""
    field = part.receptive_field
    seen = "all" if field is None else str(field[0]) if len(set(field)) == 1 else by(field)
    counts = (human(count) if count else "" for count in (part.parameters, part.macs))
    return by(part.output_shape), *counts, f"{human(part.activation_bytes)}B", seen


def total_figures(costs: Profile) -> tuple[str, ...]:
    """Write what a network costs, below the figures of its parts."""
    return "", human(costs.total_parameters), human(costs.macs), f"{human(costs.activation_bytes)}B", ""
