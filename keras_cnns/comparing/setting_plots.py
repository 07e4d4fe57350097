"""Pictures of the score against the settings that a sweep searched: all at once, and one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from keras_cnns.comparing.plots import shortened
from keras_cnns.comparing.scored import ALL_FAMILIES, Group, Scored, ends, is_logarithmic, options, place
from keras_cnns.comparing.wording import spelled
from keras_cnns.networks.settings import Choice, Domain, IntRange
from keras_cnns.plotting import COLOURS, FAINT, INK, PALE, make_figure, plain_axes, save, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_SCORE = "No trial ended with a score."
MOST_TICKS = 8
LONGEST_LABEL = 14
JITTER = 0.12
COLOUR_MAP = "viridis_r"  # the better the darker
LOWEST_COLOURED = 0.1
CLEAR_LINES = 30  # of more the lines are paler
INCHES_AN_AXIS, INCHES_A_ROW = 1.45, 3.1
BEHIND_LABELS = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
FEW_SLICES, MANY_SLICES = 4, 6  # in a row


def family_colours(families: Sequence[str]) -> dict[str, str]:
    """Return a colour for each family, the same in all plots of a sweep."""
    return {family: COLOURS[index % len(COLOURS)] for index, family in enumerate(families)}


def best_of(trials: Sequence[Scored]) -> Scored:
    """Return the trial with the highest score, of equal ones the first."""
    return max(trials, key=lambda trial: (trial.score, -trial.number))


def ticks(domain: Domain) -> list[tuple[float, str]]:
    """Return the values to be written at the axis of a setting, each with its place."""
    if isinstance(domain, Choice):
        texts = options(domain)
        step = -(-len(texts) // MOST_TICKS)
        return [(float(index), cut(text)) for index, text in enumerate(texts)][::step]
    low, high = ends(domain)
    if is_logarithmic(domain):
        powers = range(math.floor(low), math.ceil(high) + 1)
        steps = (1, 2, 5) if high - low < 1.7 else (1,)
        inside = [step * 10.0**power for power in powers for step in steps if low <= math.log10(step) + power <= high]
        values = inside if len(inside) > 1 else [10**low, 10**high]
        return [(math.log10(value), written(float(f"{value:.3g}"))) for value in values]
    found = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=isinstance(domain, IntRange)).tick_values(low, high)
    values = [float(value) for value in found if low <= value <= high]
    return [
        (value, written(float(f"{value:.6g}"))) for value in (values if len(values) > 1 or low == high else [low, high])
    ]


def count(trials: int) -> str:
    """Write how many trials there are."""
    return f"{trials} {'trial' if trials == 1 else 'trials'}"


def written(value: float) -> str:
    """Write a number at an axis: 0.0005, 12, 20K."""
    return shortened(value) if abs(value) >= 10_000 else f"{value:g}"


def cut(text: str) -> str:
    """Return a text with its middle left out where it is long."""
    half = LONGEST_LABEL // 2
    return text if len(text) <= LONGEST_LABEL else f"{text[:half]}…{text[-half + 1 :]}"


def jitter(trial: Scored, domain: Domain) -> float:
    """Return by how much a trial is moved beside the value of a choice, so that not all lie on one spot."""
    return JITTER * (2 * (trial.number * 0.618 % 1) - 1) if isinstance(domain, Choice) else 0.0


def height(domain: Domain, at: float) -> float:
    """Return a place as a share of the axis; choices keep off its ends."""
    low, high = ends(domain)
    if isinstance(domain, Choice):
        count = len(domain.values)
        return (at + 0.5) / count
    return (at - low) / (high - low) if high > low else 0.5


def parallel_coordinates(groups: Sequence[Group], path: Path, *, monitor: str, title: str) -> None:
    """Draw each trial as a line through its settings to its score, the better the darker, the best in bold.

    Args:
        groups: The trials; each group has a row of its own.
        path: The picture to write.
        monitor: The score.
        title: What stands above.
    """
    if groups:
        save(parallel_figure(groups, monitor=monitor, title=title), path)
    else:
        say(path, NO_SCORE)


def parallel_figure(groups: Sequence[Group], *, monitor: str, title: str) -> Figure:
    """Return that picture, of one group or more."""
    most = max(len(group.domains) for group in groups)
    figure = make_figure(max(8, INCHES_AN_AXIS * (most + 1) + 1.5), INCHES_A_ROW * len(groups) + 0.6)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    panels = [figure.add_subplot(len(groups), 1, row + 1) for row in range(len(groups))]
    scores = [trial.score for group in groups for trial in group.trials]
    shade = Normalize(float(np.quantile(scores, LOWEST_COLOURED)), max(scores), clip=True)
    for panel, group in zip(panels, groups, strict=True):
        draw_lines(panel, group, shade, monitor, columns=most + 1)
        name = f"{group.name}: " if len(groups) > 1 else ""
        best = f"best: {best_of(group.trials).name}"
        panel.set_title(
            f"{name}{count(len(group.trials))} with a score; {best}", loc="left", fontsize=10, color=INK, pad=26
        )
    bar = figure.colorbar(
        ScalarMappable(shade, COLOUR_MAP), ax=panels, extend="min", extendfrac=0.06,
        pad=0.01, aspect=14, shrink=0.8 / len(groups), anchor=(0.0, 1.0),
    )  # fmt: skip
    bar.set_label(spelled(monitor), color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    return figure


def draw_lines(panel: Axes, group: Group, shade: Normalize, monitor: str, *, columns: int) -> None:
    """Draw one group's trials and an axis for each of its settings, the score last."""
    best = best_of(group.trials)
    colours = colormaps[COLOUR_MAP]
    low, high = group.low, group.high
    faint = min(0.6, max(0.25, CLEAR_LINES / len(group.trials)))
    for trial in sorted(group.trials, key=lambda trial: trial.score):
        line = [
            height(domain, place(domain, trial.values[name]) + jitter(trial, domain))
            for name, domain in group.domains.items()
        ]
        line.append((trial.score - low) / (high - low) if high > low else 0.5)
        is_best = trial is best
        panel.plot(
            line,
            color=INK if is_best else colours(shade(trial.score)),
            alpha=1.0 if is_best else faint,
            linewidth=2.6 if is_best else 1.1,
            zorder=4 if is_best else 3,
        )
    axes = {name: [(height(domain, at), text) for at, text in ticks(domain)] for name, domain in group.domains.items()}
    axes[spelled(monitor)] = [(0.0, f"{low:.4f}"), (1.0, f"{high:.4f}")] if high > low else [(0.5, f"{low:.4f}")]
    for column, (name, labels) in enumerate(axes.items()):
        draw_axis(panel, column, name, labels)
    panel.set_xlim(-0.3, columns - 0.5)
    panel.set_ylim(-0.08, 1.08)
    panel.set_axis_off()


def draw_axis(panel: Axes, column: int, name: str, labels: Sequence[tuple[float, str]]) -> None:
    """Draw an upright axis with its name above and its values beside it."""
    panel.plot([column, column], [0, 1], color=PALE, linewidth=1.0, zorder=2)
    panel.annotate(
        broken(name), (column, 1.0), xytext=(0, 6), textcoords="offset points",
        ha="center", va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip
    for at, text in labels:
        panel.annotate(
            text, (column, at), xytext=(4, 0), textcoords="offset points", ha="left", va="center", fontsize=7,
            color=INK, zorder=5, bbox=BEHIND_LABELS,
        )  # fmt: skip
        panel.plot([column - 0.02, column + 0.02], [at, at], color=PALE, linewidth=1.0, zorder=2)


def broken(name: str) -> str:
    """Return a long name on two lines, broken near its middle."""
    name = name.replace("_", " ")
    if len(name) <= LONGEST_LABEL or " " not in name:
        return name
    spaces = [index for index, letter in enumerate(name) if letter == " "]
    at = min(spaces, key=lambda index: abs(index - len(name) / 2))
    return f"{name[:at]}\n{name[at + 1 :]}"


def slices(groups: Sequence[Group], families: Sequence[str], path: Path, *, monitor: str, title: str) -> None:
    """Draw the score against each searched setting, a small panel each; stopped trials are hollow, the best is ringed.

    Args:
        groups: The trials.
        families: All families of the sweep, in its order, each with a colour of its own.
        path: The picture to write.
        monitor: The metric that is drawn.
        title: What stands above.
    """
    panels = [(group, name) for group in groups for name in group.own]
    if not panels:
        say(path, NO_SCORE)
        return
    columns = min(FEW_SLICES if len(panels) <= FEW_SLICES**2 else MANY_SLICES, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_figure(max(6.5, 3.2 * columns), 2.6 * rows + 0.8)
    meaning = "hollow: stopped early; ringed: the best"
    figure.suptitle(f"{title}\n{meaning}", x=0.01, ha="left", color=INK, fontsize=11)
    scores = [trial.score for trial in groups[0].trials]
    margin = 0.08 * (max(scores) - min(scores)) or 0.02
    colours = family_colours(families)
    for index, (group, name) in enumerate(panels):
        panel = figure.add_subplot(rows, columns, index + 1)
        draw_slice(panel, group, name, colours)
        of_family = f"{group.name}: " if len(groups) > 1 and group.name != ALL_FAMILIES else ""
        panel.set_title(f"{of_family}{name.replace('_', ' ')}", loc="left", fontsize=8.5, color=INK)
        panel.set_ylim(min(scores) - margin, max(scores) + margin)
        if index % columns == 0:
            panel.set_ylabel(spelled(monitor), fontsize=8, color=INK)
    save(figure, path)


def draw_slice(panel: Axes, group: Group, name: str, colours: Mapping[str, str]) -> None:
    """Draw the score of a group's trials against one setting."""
    domain, best = group.domains[name], best_of(group.trials)
    for stopped in (True, False):
        trials = [trial for trial in group.trials if trial.stopped is stopped]
        places = [place(domain, trial.values[name]) + jitter(trial, domain) for trial in trials]
        shades = [colours[trial.family] for trial in trials]
        faces = ["white"] * len(trials) if stopped else shades
        panel.scatter(
            places, [trial.score for trial in trials], s=22, facecolors=faces, edgecolors=shades, linewidths=0.9,
            alpha=0.8, zorder=3,
        )  # fmt: skip
    at = place(domain, best.values[name]) + jitter(best, domain)
    panel.scatter([at], [best.score], s=80, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=4)
    low, high = ends(domain)
    beside = 0.5 if isinstance(domain, Choice) else 0.06 * (high - low) or 0.5
    panel.set_xlim(low - beside, high + beside)
    labels = ticks(domain)
    tilted = sum(len(text) for _, text in labels) > 26
    panel.set_xticks([at for at, _ in labels], [text for _, text in labels])
    plain_axes(panel)
    panel.grid(color=FAINT, linewidth=0.6)
    panel.tick_params(labelsize=7)
    if tilted:
        panel.tick_params(axis="x", labelrotation=25)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right")
