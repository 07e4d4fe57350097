"""`keras-cnns describe`: a network's papers, published results, settings and costs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from keras_cnns.cli.inputs import read_network
from keras_cnns.cli.printing import format_shape, make_console, make_table
from keras_cnns.networks.description import describe
from keras_cnns.networks.settings import format_value
from keras_cnns.units import format_number

if TYPE_CHECKING:
    import argparse

    from rich.console import RenderableType

    from keras_cnns.networks.description import Description


def run(arguments: argparse.Namespace) -> None:
    """Print the description of a network."""
    changes = read_network(arguments)
    description = describe(arguments.model, **changes)
    if arguments.json:
        print(json.dumps(description.as_dict()))
        return
    console = make_console()
    for section in sections(description, changes):
        console.print(section)


def sections(description: Description, changes: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the headings and sections of a description."""

    def heading(text: str) -> Text:
        return Text(f"\n{text}", style="bold")

    def body(content: str | Table) -> Padding:
        return Padding(content if isinstance(content, Table) else Text(content), (0, 0, 0, 2), expand=False)

    yield Text.assemble((description.name, "bold"), f", family {description.family}")
    for paper in description.papers:
        yield body(f"{paper.title}\n{paper.authors}, {paper.year}")
    yield heading("Idea")
    yield body(description.idea)
    if description.papers:
        yield heading("Paper and popular code")
        yield body(description.differences)
        yield heading(f"Published results of {description.name} with its default settings")
        yield body(results_table(description) if description.results else f"none for {description.name}")
    if description.settings:
        yield heading("Settings")
        yield body(settings_table(description))
    yield heading("Costs")
    counts = description.counts
    yield body(
        f"{counts.total_parameters:,} parameters ({counts.trainable_parameters:,} trainable)\n"
        f"{format_number(counts.macs)} multiply-accumulates for one image of {format_shape(description.input_shape)}, "
        f"{description.classes:,} classes\n"
        f"smallest image size: {description.smallest_side}x{description.smallest_side} pixels"
    )
    yield heading("Build it")
    arguments = [repr(description.name), *(f"{name}={value!r}" for name, value in changes.items())]
    yield body(f"keras_cnns.build({', '.join(arguments)})")


def results_table(description: Description) -> Table:
    """Return a table of the published results."""
    table = make_table(("dataset", "metric", "source", "value"), text_columns=3)
    for result in description.results:
        table.add_row(result.dataset, result.metric, result.source, f"{result.value:g}")
    return table


def settings_table(description: Description) -> Table:
    """Return a table of the settings, with the valid values below each meaning."""
    table = make_table(("setting", "value", "meaning"), text_columns=3)
    table.columns[0].no_wrap = True
    for setting in description.settings:
        meaning = Text.assemble(setting.meaning, "\n", (f"valid: {setting.valid_values}", "dim"))
        table.add_row(setting.name, format_value(setting.value), meaning)
    return table
