"""`keras-cnns profile`: the costs and the receptive field of each block or layer of a network."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_cnns.cli.inputs import read_network
from keras_cnns.cli.printing import format_shape, make_console, make_table
from keras_cnns.cli.status import show_status
from keras_cnns.networks.profile_plots import plot_blocks
from keras_cnns.networks.profiling import profile
from keras_cnns.networks.registry import build, count
from keras_cnns.plotting import check_plot_path
from keras_cnns.units import format_number

if TYPE_CHECKING:
    import argparse

    from rich.console import Console
    from rich.table import Table

    from keras_cnns.networks.profiling import ComponentProfile, Profile

UNBOUNDED = 1000
COLUMNS = ("output", "params", "MACs", "memory", "receptive\nfield")
LEGEND = """
memory:          activations of all layers for one image; if each tensor is freed
                 after its last use, at most {peak} values are held at a time
receptive field: height and width, in pixels, of the image region that an output
                 value depends on; zero padding can make it exceed the image"""


def run(arguments: argparse.Namespace) -> None:
    """Build the network, count its costs and print them."""
    if arguments.plot:
        check_plot_path(arguments.plot)
    changes = read_network(arguments)
    count(arguments.model, **changes)  # reports mistakes before the backend is loaded
    with show_status():
        model = build(arguments.model, **changes)
        costs = profile(model)
    shape = model.input_shape[1:]
    title = f"{arguments.model}: {format_shape(shape)} images, {model.output_shape[-1]:,} classes"
    if arguments.plot:
        plot_blocks(costs, arguments.plot, title=title)
    if arguments.json:
        print(json.dumps({"model": arguments.model, "input_shape": shape, **costs.as_dict()}))
    else:
        console = make_console()
        console.print(title, style="bold")
        console.print(blocks_table(costs) if arguments.by == "block" else layers_table(costs, console))
        console.print(LEGEND.format(peak=format_number(costs.peak_activations)))
    if arguments.plot:
        print(f"plot: {arguments.plot}", file=sys.stderr)


def blocks_table(costs: Profile) -> Table:
    """Return a table of the costs of each block."""
    totals = ("total", str(len(costs.layers)), *total_cells(costs))
    table = make_table(("block", "layers", *COLUMNS), text_columns=1, totals=totals)
    for block in costs.blocks:
        table.add_row(block.name, str(block.layers), *cells(block))
    return table


def layers_table(costs: Profile, console: Console, labels: Sequence[str] = ("layer", "kind")) -> Table:
    """Return a table of the costs of each layer, without the kind of the layers if it does not fit."""
    totals = ("total", "")[: len(labels)]
    table = make_table((*labels, *COLUMNS), text_columns=len(labels), totals=(*totals, *total_cells(costs)))
    for layer in costs.layers:
        table.add_row(*(layer.name, layer.kind)[: len(labels)], *cells(layer))
    width = console.measure(table, options=console.options.update(width=UNBOUNDED)).maximum
    return layers_table(costs, console, labels[:1]) if width > console.width and len(labels) > 1 else table


def cells(part: ComponentProfile) -> tuple[str, ...]:
    """Format the costs of a block or layer."""
    field = part.receptive_field
    region = "all" if field is None else str(field[0]) if len(set(field)) == 1 else format_shape(field)
    counts = (format_number(count) if count else "" for count in (part.parameters, part.macs))
    return format_shape(part.output_shape), *counts, f"{format_number(part.activation_bytes)}B", region


def total_cells(costs: Profile) -> tuple[str, ...]:
    """Format the costs of the whole network."""
    totals = (costs.total_parameters, costs.macs, costs.activation_bytes)
    parameters, macs, memory = map(format_number, totals)
    return "", parameters, macs, f"{memory}B", ""
