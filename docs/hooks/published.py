"""The classic plot: published error on ImageNet against the number of parameters that the builders count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from keras_cnns.comparing.formatting import format_tick
from keras_cnns.comparing.pareto_plots import add_label, point_box
from keras_cnns.networks.registry import all_families, count
from keras_cnns.plotting import COLOURS, INK, make_figure, style_axes, to_svg

MARKERS = {"10 crops": "o", "1 crop": "D", "several scales": "s"}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published result.

    Attributes:
        family: Family of the network.
        network: Name of the network.
        parameters: Number of parameters that its builder counts.
        error: Top-1 error on the ImageNet validation images, in percent.
        protocol: Evaluation protocol, a key of `MARKERS`.
    """

    family: str
    network: str
    parameters: int
    error: float
    protocol: str


def published_results() -> Iterator[Published]:
    """Yield the published top-1 results on ImageNet; accuracies are converted to errors."""
    for family in all_families().values():
        for found in family.results:
            metric, _, protocol = found.metric.partition(", %")
            if found.dataset == "ImageNet" and metric.startswith("top-1"):
                yield Published(
                    family=family.name,
                    network=found.variant,
                    parameters=count(found.variant).total_parameters,
                    error=100 - found.value if metric.endswith("accuracy") else found.value,
                    protocol=protocol.strip(", ") or "several scales",
                )


def published_plot() -> str:
    """Return the plot as SVG that follows the page's theme."""
    results = [*published_results()]
    figure = make_figure(9.6, 6.2)
    panel = figure.add_subplot()
    panel.set_xscale("log")
    families = list(dict.fromkeys(found.family for found in results))
    for colour, family in zip(COLOURS, families, strict=False):
        own = sorted((found for found in results if found.family == family), key=lambda found: found.parameters)
        for protocol, marker in MARKERS.items():
            points = [(found.parameters, found.error) for found in own if found.protocol == protocol]
            if points:
                panel.scatter(*zip(*points, strict=True), color=colour, marker=marker, s=42, zorder=3)
        panel.scatter([], [], color=colour, s=42, label=family)
    for protocol, marker in MARKERS.items():
        panel.scatter([], [], facecolors="none", edgecolors=INK, marker=marker, s=42, label=protocol)
    panel.set_xlim(4e6, 2.6e8)
    panel.set_ylim(20.5, 45)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    style_axes(panel)
    panel.set_xlabel("parameters, counted by the builder", color=INK)
    panel.set_ylabel("top-1 error on ImageNet as published, %", color=INK)
    panel.legend(frameon=False, labelcolor=INK, ncols=2)
    figure.draw_without_rendering()
    taken = [point_box(*panel.transData.transform((found.parameters, found.error))) for found in results]
    for found in results:
        point = (found.parameters, found.error)
        box = add_label(panel, found.network, point, taken, panel.get_window_extent())
        taken += [box] if box is not None else []
    return to_svg(figure)
