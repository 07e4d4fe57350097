"""`keras-cnns describe`: what is known of a network before it is built."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from keras_cnns.cli.arguments import add_network, read_network
from keras_cnns.cli.printing import by, make_console, make_table
from keras_cnns.networks.settings import format_value
from keras_cnns.units import human

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from keras_cnns.networks.description import Description


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "describe",
        help="tell what is known of a network",
        description="Tell where a network comes from, what it leaves free and what it costs; nothing is built.",
    )
    add_network(parser)
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Describe the network."""
    from keras_cnns.networks.description import describe  # noqa: PLC0415 - `--help` does not wait for the families

    changes = read_network(arguments)
    description = describe(arguments.model, **changes)
    if arguments.json:
        print(json.dumps(description.as_dict()))
        return 0
    console = make_console()
    for part in lay_out(description, changes):
        console.print(part)
    return 0


def lay_out(description: Description, changes: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Lay out all that is known, part by part."""
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def heading(text: str) -> Text:
        return Text(f"\n{text}", style="bold")

    def body(content: str | Table) -> Padding:
        return Padding(content if isinstance(content, Table) else Text(content), (0, 0, 0, 2), expand=False)

    yield Text.assemble((description.name, "bold"), f", family {description.family}")
    for paper in description.papers:
        yield body(f"{paper.title}\n{paper.authors}, {paper.year}")
    yield heading("Idea")
    yield body(description.idea)
    yield heading("Paper and popular code")
    yield body(description.differences)
    yield heading(f"Published for {description.name} with its own settings")
    yield body(results_table(description) if description.results else f"none for {description.name}")
    yield heading("Settings")
    yield body(settings_table(description))
    yield heading("Costs")
    counts = description.counts
    yield body(
        f"{counts.total_parameters:,} parameters, {counts.trainable_parameters:,} of them trainable\n"
        f"{human(counts.macs)} multiply-accumulates for one image of {by(description.input_shape)}, "
        f"{description.classes:,} classes\n"
        f"smallest images: {description.smallest_side}x{description.smallest_side} pixels"
    )
    yield heading("Build it")
    arguments = [repr(description.name), *(f"{name}={value!r}" for name, value in changes.items())]
    yield body(f"keras_cnns.build({', '.join(arguments)})")


def results_table(description: Description) -> Table:
    """Lay out what was published."""
    table = make_table(("data", "measure", "source", "value"), words=3)
    for result in description.results:
        table.add_row(result.data, result.measure, result.source, f"{result.value:g}")
    return table


def settings_table(description: Description) -> Table:
    """Lay out the settings: value and meaning and, below it, what is legal."""
    from rich.text import Text  # noqa: PLC0415

    table = make_table(("setting", "value", "meaning"), words=3)
    table.columns[0].no_wrap = True
    for setting in description.settings:
        words = Text.assemble(setting.meaning, "\n", (f"legal: {setting.legal}", "dim"))
        table.add_row(setting.name, format_value(setting.value), words)
    return table
