"""Generated parts of pages: architectures, tables of networks, results of experiments, and the command line.

A family without a handwritten page gets a generated one, so that a file in `keras_cnns/networks/families` is enough.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_cnns
from diagrams import diagram
from keras_cnns.cli import make_parser
from keras_cnns.lazy import keras
from keras_cnns.networks.description import DIFFERENCES, IDEA, describe_settings, find_paragraph
from keras_cnns.networks.family import Family
from keras_cnns.networks.registry import all_families, count, smallest_side
from keras_cnns.networks.settings import format_value
from keras_cnns.units import format_number
from published import published_plot

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

FOLDER, EXPERIMENTS = "architectures", "experiments"
NAVIGATION = "The networks"
EQUATION = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
RESULT = re.compile(r"\{\{(\w+)\}\}")
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def part(shape: tuple[int, int, int], block: Callable[..., Any], **options: Any) -> Callable[[], Any]:
    """Return a function that makes a model of one block for an input shape."""

    def make() -> Any:
        x = keras.Input(shape)
        return keras.Model(x, block(x, **options))

    return make


DRAWN: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "densenet": {
        "A dense block of three layers with bottlenecks, growth rate 12": part(
            (32, 32, 24), keras_cnns.dense_block, layers=3, growth_rate=12
        ),
    },
    "googlenet": {
        "Inception module 3a": part((28, 28, 192), keras_cnns.inception_module),
        "The naive module with the same widths": part((28, 28, 192), keras_cnns.inception_module, naive=True),
        "The first auxiliary classifier": part((14, 14, 512), keras_cnns.auxiliary_classifier, classes=1000),
    },
    "resnet": {
        "A residual unit of the first paper with stride 2": part(
            (56, 56, 64), keras_cnns.residual_unit, width=128, stride=2
        ),
        "A bottleneck unit of the first paper": part(
            (56, 56, 256), keras_cnns.residual_unit, width=64, kind="bottleneck"
        ),
        "A pre-activation bottleneck unit of the second paper": part(
            (56, 56, 256), keras_cnns.residual_unit, width=64, kind="bottleneck", pre_activation=True
        ),
    },
    "nin": {
        "An mlpconv block": part((32, 32, 3), keras_cnns.mlpconv, width=192, kernel_size=5, pointwise_widths=(160, 96)),
    },
    "vgg": {"Configuration A": lambda: keras_cnns.build("vgg11")},
    "alexnet": {"The paper's network": lambda: keras_cnns.build("alexnet")},
    "lenet": {"The modern variant, for 28×28 pixels": lambda: keras_cnns.build("lenet5")},
}
LAYERS_OF = {"densenet": "densenet-bc-40", "resnet": "resnet-cifar-20"}
"""The network whose layers are listed, if the family's first network has hundreds."""


def on_config(config: Any) -> Any:
    """Add a page for each family to the navigation."""
    pages = [f"{FOLDER}/{name}.md" for name in by_year()]
    config.nav = [{NAVIGATION: [*entry[NAVIGATION], *pages]} if NAVIGATION in entry else entry for entry in config.nav]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Generate a page for each family without a handwritten one."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the sections below need no mkdocs

    for name in by_year():
        uri = f"{FOLDER}/{name}.md"
        if uri not in files.src_uris:
            files.append(File.generated(config, uri, content=f"# {name}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Append the generated sections to a page, and convert its equations to MathML."""
    path = Path(page.file.src_uri)
    if path.parent.name == FOLDER:
        markdown = "\n\n".join([markdown.rstrip(), *sections(all_families()[path.stem])])
    if path.parent.name == EXPERIMENTS:
        markdown = with_results(markdown, Path(page.file.abs_src_path))
    if path.name == "networks.md":
        markdown = markdown.replace("PUBLISHED", f'<div class="picture">{published_plot()}</div>')
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
    (choices,) = (action.choices for action in make_parser()._actions if isinstance(action.choices, dict))  # noqa: SLF001
    return "\n\n".join(
        f"## keras-cnns {name}\n\n```text\n{parser.format_help().strip()}\n```" for name, parser in choices.items()
    )


def by_year() -> dict[str, Family]:
    """Return the families by year of publication."""
    return dict(sorted(all_families().items(), key=lambda item: item[1].papers[0].year))


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
    for caption, make in DRAWN.get(family.name, {"The network that a sweep starts from": whole(family)}).items():
        yield f'<figure markdown="0">\n{diagram(make(), caption)}\n<figcaption>{caption}</figcaption>\n</figure>'
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
    yield "## Layers\n\n" + layers_table(LAYERS_OF.get(family.name, next(iter(family.variants))))
    yield "## Settings\n\n" + settings_table(family)
    yield "## Examples\n\n" + examples(family)


def whole(family: Family) -> Callable[[], Any]:
    """Return a function that builds the network that a sweep starts from."""
    return lambda: keras_cnns.build(family.search.base)


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


def layers_table(name: str) -> str:
    """Return a table of the layers of a network with their costs, counted from its graph."""
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
