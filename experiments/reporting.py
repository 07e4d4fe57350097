"""What an experiment measured goes onto its page: numbers by name, and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.comparing.over_seeds import interval_of_mean, paired_test
from keras_cnns.plotting import COLOURS, INK, as_svg, make_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGES = Path(__file__).resolve().parents[1] / "docs" / "experiments"
SIGNIFICANT = 0.05
BySeed = Mapping[int, float]


def report(name: str, numbers: Mapping[str, str], figure: Figure) -> None:
    """Keep numbers, as they are to be read, and the picture beside the page of this name."""
    (PAGES / f"{name}.json").write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (PAGES / f"{name}.svg").write_text(as_svg(figure), "utf-8")


def mean(found: BySeed) -> float:
    """Return the mean over seeds."""
    return float(np.mean([*found.values()]))


def share(found: BySeed) -> str:
    """Write the mean of shares over seeds and its 95 % interval: 1.4% (0.9% to 1.9%)."""
    low, high = interval_of_mean([*found.values()])
    return f"{mean(found):.1%} ({low:.1%} to {high:.1%})"


def amount(found: BySeed) -> str:
    """Write the mean of amounts over seeds and its 95 % interval: 12.4 (9.1 to 15.7)."""
    low, high = interval_of_mean([*found.values()], most=np.inf)
    return f"{mean(found):.3g} ({low:.3g} to {high:.3g})"


def verdict(better: BySeed, worse: BySeed, of: str = "") -> dict[str, str]:
    """Say whether what should have the lower numbers has them, as far as the seeds can tell.

    Returns:
        `verdict`, which ends a sentence that states the claim, and the p-value of a paired t-test, `p`; `of` is put
        behind both names.
    """
    p = paired_test(better, worse)
    if p is None or p >= SIGNIFICANT:
        words = "does not show at this scale"
    else:
        words = "shows at this scale" if mean(better) < mean(worse) else "is the other way round at this scale"
    return {f"verdict{of}": words, f"p{of}": f"{1.0 if p is None else p:.2g}"}


def draw_seeds(errors: Mapping[str, BySeed], colours: Sequence[str], label: str) -> Figure:
    """Draw a line for each network: the error with each seed, and the mean with its 95 % interval."""
    figure = make_figure(8, 1.0 + 0.62 * len(errors))
    panel = figure.add_subplot()
    for place, (found, colour) in enumerate(zip(errors.values(), colours, strict=True)):
        values = [*found.values()]
        low, high = interval_of_mean(values)
        panel.plot(values, [place + 0.2] * len(values), "o", color=colour, alpha=0.45, markersize=5)
        reach = [[mean(found) - low], [high - mean(found)]]
        panel.errorbar(mean(found), place, xerr=reach, fmt="D", color=colour, capsize=4)
    panel.set_yticks(range(len(errors)), [*errors])
    panel.set_ylim(len(errors) - 0.5, -0.5)
    panel.set_xlim(left=0)
    panel.set_xlabel(f"{label}: each seed, and the mean with its 95 % interval", color=INK)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    plain_axes(panel)
    panel.grid(visible=False, axis="y")
    return figure


def draw_bands(panel: Axes, places: Sequence[float], curves: Mapping[str, Sequence[BySeed]]) -> None:
    """Draw a line for each name: means over seeds, and a band from the lowest to the highest seed."""
    for colour, (name, found) in zip(COLOURS, curves.items(), strict=False):
        panel.plot(places, [mean(each) for each in found], color=colour, linewidth=2, label=name)
        lowest, highest = ([end(each.values()) for each in found] for end in (min, max))
        panel.fill_between(places, lowest, highest, color=colour, alpha=0.18, linewidth=0)
    plain_axes(panel)
    panel.legend(frameon=False, labelcolor=INK)
