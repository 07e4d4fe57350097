"""Generated parts of pages: architectures, tables of networks, results of experiments, and the command line.

A family without a handwritten page gets a generated one, so that a file in `keras_cnns/networks/families` is enough.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_cnns
from diagrams import diagram
from keras_cnns.cli import make_parser
from keras_cnns.data.sources import all_sources
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.lazy import keras
from keras_cnns.networks.augmentations import AUGMENTATIONS
from keras_cnns.networks.description import DIFFERENCES, IDEA, describe_settings, find_paragraph
from keras_cnns.networks.family import Block, Family
from keras_cnns.networks.pretrained import PREPROCESSINGS
from keras_cnns.networks.registry import all_families, count, smallest_side
from keras_cnns.networks.settings import format_value
from keras_cnns.testing.small_networks import without_random_weights
from keras_cnns.units import format_number
from published import published_plot

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

FOLDER, EXPERIMENTS = "architectures", "experiments"
NAVIGATION = "The networks"
EQUATION = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
RESULT = re.compile(r"\{\{(\w+)\}\}")
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


MAX_LAYERS = 200
"""Most layers of a network that are listed; the first network of some families has hundreds."""


def on_config(config: Any) -> Any:
    """Add a page for each family to the navigation."""
    pages = [f"{FOLDER}/{name}.md" for name in by_year()]
    config.nav = [{NAVIGATION: [*entry[NAVIGATION], *pages]} if NAVIGATION in entry else entry for entry in config.nav]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Generate a page for each family without a handwritten one."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the sections below need no mkdocs

    for name, family in by_year().items():
        uri = f"{FOLDER}/{name}.md"
        if uri not in files.src_uris:
            files.append(File.generated(config, uri, content=f"# {title(family)}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Append the generated sections to a page, and convert its equations to MathML."""
    path = Path(page.file.src_uri)
    if path.parent.name == FOLDER:
        markdown = "\n\n".join([markdown.rstrip(), *sections(all_families()[path.stem])])
    if path.parent.name == EXPERIMENTS:
        markdown = with_results(markdown, Path(page.file.abs_src_path))
    for marker, make in GENERATED.get(path.name, {}).items():
        markdown = markdown.replace(marker, make())
    if path.name == "networks.md":
        markdown = f"{markdown.rstrip()}\n\n{networks_table(by_year().values())}"
    if path.name == "commands.md":
        markdown = f"{markdown.rstrip()}\n\n{commands()}"
    pieces = CODE.split(markdown)
    pieces[::2] = [EQUATION.sub(equation, piece) for piece in pieces[::2]]
    return "".join(pieces)


def with_results(markdown: str, page: Path) -> str:
    """Insert the results of an experiment: numbers by name, and its figure."""
    numbers = json.loads(page.with_suffix(".json").read_text("utf-8"))
    picture = page.with_suffix(".svg").read_text("utf-8")
    found = {**numbers, "picture": f'<div class="picture">{picture}</div>'}
    return RESULT.sub(lambda name: found[name[1]], markdown)


def commands() -> str:
    """Return the help text of each command."""
    os.environ["COLUMNS"] = "82"
    return "\n\n".join(
        f"## keras-cnns {name}\n\n```text\n{parser.format_help().strip()}\n```"
        for name, parser in make_parser().commands().items()
    )


def by_year() -> dict[str, Family]:
    """Return the families by year of publication."""
    return dict(sorted(all_families().items(), key=lambda item: item[1].papers[0].year))


def title(family: Family) -> str:
    """Return the name of an architecture: what its docstring says before the paper in parentheses."""
    return family.about.partition(" (")[0]


def architecture_links() -> str:
    """Return links to the pages of all architectures."""
    *links, last = (f"[{title(family)}]({FOLDER}/{name}.md)" for name, family in by_year().items())
    return f"{', '.join(links)} and {last}"


def published_picture() -> str:
    """Return the plot of published results as HTML."""
    return f'<div class="picture">{published_plot()}</div>'


def equation(found: re.Match[str]) -> str:
    """Convert an equation to MathML, which browsers render without scripts."""
    import latex2mathml.converter  # noqa: PLC0415

    whole, within = found.groups()
    mathml = latex2mathml.converter.convert(whole or within, display="block" if whole else "inline")
    return f'<div class="equation">{mathml}</div>' if whole else f"<span>{mathml}</span>"


def sections(family: Family) -> Iterator[str]:
    """Yield the generated sections of a family's page."""
    yield "## The idea\n\n" + find_paragraph(family.about, IDEA)
    yield "\n".join(
        ["*Published in*", "", *(f"- {paper.authors}: “{paper.title}”, {paper.year}" for paper in family.papers)]
    )
    yield "## Diagrams"
    for caption, shown in (family.diagrams or {"The network that a sweep starts from": family.search.base}).items():
        figure = diagram(make_model(shown), caption)
        yield f'<figure markdown="0">\n{figure}\n<figcaption>{caption}</figcaption>\n</figure>'
    yield "## Differences between paper and popular implementations\n\n" + find_paragraph(family.about, DIFFERENCES)
    yield "## Networks\n\n" + networks_table([family])
    if family.results:
        yield "## Published results\n\n" + table(
            ("network", "dataset", "metric", "value", "source"),
            [
                (f"`{found.variant}`", found.dataset, found.metric, f"{found.value:g}", found.source)
                for found in family.results
            ],
        )
    yield "## Layers\n\n" + layers_table(family)
    yield "## Settings\n\n" + settings_table(family)
    yield "## Examples\n\n" + examples(family)
    if family.blocks:
        names = [f"{block.__module__}.{block.__name__}" for block in family.blocks]
        yield "\n\n".join(
            ["## Blocks", "For other networks, as attributes of `keras_cnns`.", *map("::: {}".format, names)]
        )


def make_model(shown: Block | str) -> Any:
    """Return a model of a block, or the network of a variant."""
    if isinstance(shown, str):
        with without_random_weights():
            return keras_cnns.build(shown)
    x = keras.Input(shown.input_shape)
    return keras.Model(x, shown.function(x, **shown.arguments))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Return a Markdown table."""
    lines = [head, ["---:" if name in right else "---" for name in head], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def networks_table(families: Any) -> str:
    """Return a table of networks with their costs, as counted by their builders."""
    rows = []
    for family in families:
        for name, variant in family.variants.items():
            costs, side = count(name), smallest_side(family, variant.settings)
            images = "×".join(map(str, variant.input_shape))
            sizes = (
                f"{costs.total_parameters:,}",
                format_number(costs.macs),
                images,
                f"{variant.classes:,}",
                str(side),
            )
            rows.append((f"`{name}`", *sizes))
    numbers = ("parameters", "MACs", "smallest images")
    return table(("network", "parameters", "MACs", "images", "classes", "smallest images"), rows, right=numbers)


def pretrained_table() -> str:
    """Return tables of the published weights of all networks, one for each licence and preprocessing."""
    kinds = {preprocessing: name for name, preprocessing in PREPROCESSINGS.items()}
    groups: dict[str, list[tuple[str, ...]]] = {}
    for family in all_families().values():
        for entry in family.pretrained:
            library = entry.name.partition(":")[0].replace("keras", "keras.applications")
            group = f"From {library}; licence: {entry.licence}; preprocessing: {kinds[entry.preprocessing]}"
            row = (f"`{entry.variant}`", f"`{entry.name}`", f"{entry.megabytes:.0f}", f"{entry.accuracy:.1f}")
            groups.setdefault(group, []).append(row)
    head = ("network", "weights", "MB", "top-1 accuracy, %")
    tables = (f"{group}:\n\n{table(head, rows, right=head[2:])}" for group, rows in groups.items())
    return "\n\n".join(tables)


def sources_table() -> str:
    """Return a table of the sources of images."""
    return table(("source", "format"), [(f"`{kind.usage}`", kind.description) for kind in all_sources()])


def augmentations_table() -> str:
    """Return a table of the presets of augmentation."""
    rows = [(f"`{name}`", augmentation.description) for name, augmentation in AUGMENTATIONS.items()]
    return table(("preset", "operations on each image"), rows)


def metrics_table() -> str:
    """Return a table of the metrics of an evaluation."""
    rows = [
        (
            metric.title,
            f"`{metric.name}`",
            metric.description.replace("{positive}", "the class"),
            metric.range,
            f"{metric.best:g}" if metric.best is not None else "higher" if metric.higher_is_better else "lower",
            "mean, each against the rest" if metric.one_versus_rest else "",
        )
        for metric in all_metrics().values()
    ]
    return table(("metric", "name", "meaning", "range", "better", "more than two classes"), rows)


def layers_table(family: Family) -> str:
    """Return a table of the layers of a network with their costs, counted from its graph.

    The network is the family's first one, or that which a sweep starts from if the first one is very deep.
    """
    name = next(iter(family.variants))
    with without_random_weights():
        costs = keras_cnns.profile(keras_cnns.build(name))
        if len(costs.layers) > MAX_LAYERS:
            name = family.search.base
            costs = keras_cnns.profile(keras_cnns.build(name))
    rows = [
        (
            f"`{layer.name}`",
            layer.kind,
            "×".join(map(str, layer.output_shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.macs:,}" if layer.macs else "",
        )
        for layer in costs.layers
    ]
    head = ("layer", "kind", "output", "parameters", "multiply-accumulates")
    total = f"`{name}`: {len(costs.layers)} layers, {costs.total_parameters:,} parameters, {costs.macs:,} " + head[-1]
    body = table(head, rows, right=head[3:]).replace("\n", "\n    ")
    return f'??? note "{total.replace("`", "")}"\n\n    {body}'


def settings_table(family: Family) -> str:
    """Return a table of the settings of a family, with the values that a sweep tries."""
    base = family.variants[family.search.base].settings
    rows = [
        (
            f"`{setting.name}`",
            f"{setting.meaning} Valid values: {setting.valid_values}.",
            f"`{format_value(setting.value)}`",
            str(family.search.domains.get(setting.name, "")),
        )
        for setting in describe_settings(base)
    ]
    return table(("setting", "meaning", f"value in {family.search.base}", "search space of a sweep"), rows)


def examples(family: Family) -> str:
    """Return examples of how to build, train and search networks of a family."""
    name, setting = family.search.base, next(iter(family.search.domains))
    value = getattr(family.variants[name].settings, setting)
    shape = family.variants[name].input_shape
    return f"""```python
import keras_cnns

model = keras_cnns.build("{name}", input_shape={shape}, classes=2, {setting}={value!r})
print(keras_cnns.profile(model))
```

```sh
keras-cnns describe {name}
keras-cnns train {name} --data photos/
keras-cnns sweep {family.name} --data photos/ --trials 20
```"""


GENERATED = {
    "evaluation.md": {"METRICS": metrics_table},
    "images.md": {"SOURCES": sources_table},
    "pretrained.md": {"PUBLISHED": pretrained_table},
    "networks.md": {"ARCHITECTURES": architecture_links, "PUBLISHED": published_picture},
    "training.md": {"AUGMENTATIONS": augmentations_table},
}
"""Parts of pages that are generated: what replaces each marker."""
