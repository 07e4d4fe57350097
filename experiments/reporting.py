"""Writes the results of an experiment for its page of the site: numbers by name, and a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.comparing.significance import confidence_interval, paired_t_test
from keras_cnns.plotting import COLOURS, INK, make_figure, style_axes, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGES = Path(__file__).resolve().parents[1] / "docs" / "experiments"
SIGNIFICANT = 0.05
BySeed = Mapping[int, float]


def report(name: str, numbers: Mapping[str, str], figure: Figure) -> None:
    """Write formatted numbers and the figure next to the page of this name."""
    (PAGES / f"{name}.json").write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (PAGES / f"{name}.svg").write_text(to_svg(figure), "utf-8")


def mean(found: BySeed) -> float:
    """Return the mean over seeds."""
    return float(np.mean([*found.values()]))


def share(found: BySeed) -> str:
    """Format the mean of proportions over seeds and its 95 % confidence interval: 1.4% (0.9% to 1.9%)."""
    low, high = confidence_interval([*found.values()])
    return f"{mean(found):.1%} ({low:.1%} to {high:.1%})"


def amount(found: BySeed) -> str:
    """Format the mean of amounts over seeds and its 95 % confidence interval: 12.4 (9.1 to 15.7)."""
    low, high = confidence_interval([*found.values()], maximum=np.inf)
    return f"{mean(found):.3g} ({low:.3g} to {high:.3g})"


def verdict(better: BySeed, worse: BySeed, suffix: str = "") -> dict[str, str]:
    """Test the claim that one network has lower numbers than another.

    Args:
        better: Numbers by seed of the network that should have the lower ones.
        worse: Numbers by seed of the other network.
        suffix: Appended to both names of the result.

    Returns:
        `verdict`, which ends a sentence that states the claim, and `p`, the p-value of a paired t-test.
    """
    p = paired_t_test(better, worse)
    if p is None or p >= SIGNIFICANT:
        words = "is not confirmed at this scale"
    else:
        words = f"is {'confirmed' if mean(better) < mean(worse) else 'contradicted'} at this scale"
    return {f"verdict{suffix}": words, f"p{suffix}": f"{1.0 if p is None else p:.2g}"}


def draw_seeds(errors: Mapping[str, BySeed], colours: Sequence[str], label: str) -> Figure:
    """Draw one row per network: the error with each seed, and the mean with its 95 % confidence interval."""
    figure = make_figure(8, 1.0 + 0.62 * len(errors))
    panel = figure.add_subplot()
    for row, (found, colour) in enumerate(zip(errors.values(), colours, strict=True)):
        values = [*found.values()]
        low, high = confidence_interval(values)
        panel.plot(values, [row + 0.2] * len(values), "o", color=colour, alpha=0.45, markersize=5)
        margins = [[mean(found) - low], [high - mean(found)]]
        panel.errorbar(mean(found), row, xerr=margins, fmt="D", color=colour, capsize=4)
    panel.set_yticks(range(len(errors)), [*errors])
    panel.set_ylim(len(errors) - 0.5, -0.5)
    panel.set_xlim(left=0)
    panel.set_xlabel(f"{label}: single seeds, and the mean with its 95 % confidence interval", color=INK)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    style_axes(panel)
    panel.grid(visible=False, axis="y")
    return figure


def draw_bands(panel: Axes, positions: Sequence[float], curves: Mapping[str, Sequence[BySeed]]) -> None:
    """Draw one line per name: means over seeds, and a band from the lowest to the highest seed."""
    for colour, (name, found) in zip(COLOURS, curves.items(), strict=False):
        panel.plot(positions, [mean(each) for each in found], color=colour, linewidth=2, label=name)
        lowest, highest = ([end(each.values()) for each in found] for end in (min, max))
        panel.fill_between(positions, lowest, highest, color=colour, alpha=0.18, linewidth=0)
    style_axes(panel)
    panel.legend(frameon=False, labelcolor=INK)
