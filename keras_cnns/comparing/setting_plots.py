"""Plots of the score against the hyperparameters of trials: parallel coordinates and slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from keras_cnns.comparing.formatting import format_count, format_tick, metric_label
from keras_cnns.comparing.pareto_plots import family_colours
from keras_cnns.comparing.scored_trials import (
    ALL_FAMILIES,
    ScoredTrial,
    TrialGroup,
    axis_limits,
    axis_position,
    options,
)
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange
from keras_cnns.plotting import FAINT, INK, PALE, make_figure, message_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_SCORE = "No trial finished with a score."
MAX_TICKS = 8  # of a choice
MAX_LABEL = 14  # characters
JITTER = 0.12
COLOUR_MAP = "viridis_r"  # higher is darker
LOWEST_QUANTILE = 0.1  # all lower scores have the same colour
OPAQUE_LINES = 30  # more lines are more transparent
AXIS_WIDTH, ROW_HEIGHT = 1.45, 3.1  # inches
LABEL_BOX = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
FEW_COLUMNS, MANY_COLUMNS = 4, 6


def best_trial(trials: Sequence[ScoredTrial]) -> ScoredTrial:
    """Return the trial with the highest score; of equal ones the first."""
    return max(trials, key=lambda trial: (trial.score, -trial.number))


def axis_ticks(domain: Domain) -> list[tuple[float, str]]:
    """Return the positions and labels of the ticks of a hyperparameter's axis."""
    if not isinstance(domain, IntRange | FloatRange):
        texts = options(domain)
        step = -(-len(texts) // MAX_TICKS)
        return [(float(index), shorten(text)) for index, text in enumerate(texts)][::step]
    low, high = axis_limits(domain)
    if domain.log:
        factors = (1, 2, 5) if high - low < 1.7 else (1,)
        powers = range(math.floor(low), math.ceil(high) + 1)
        found: Sequence[float] = [factor * 10.0**power for power in powers for factor in factors]
    else:
        found = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=isinstance(domain, IntRange)).tick_values(low, high)
    values = [value for value in found if domain.low <= value <= domain.high]
    ends = sorted({domain.low, domain.high})
    return [(axis_position(domain, value), format_axis_value(value)) for value in (values if len(values) > 1 else ends)]


def format_axis_value(value: float) -> str:
    """Format the value of a hyperparameter to four digits: "0.0005", "256", "20K"."""
    rounded = float(f"{value:.4g}")
    return format_tick(rounded) if rounded >= 10_000 else f"{rounded:g}"


def shorten(text: str) -> str:
    """Return a text with its middle left out if it is too long for a label."""
    half = MAX_LABEL // 2
    return text if len(text) <= MAX_LABEL else f"{text[:half]}…{text[-half + 1 :]}"


def trial_position(trial: ScoredTrial, name: str, domain: Domain) -> float:
    """Return the position of a trial on a hyperparameter's axis, with jitter for a choice."""
    jitter = JITTER * (2 * (trial.number * 0.618 % 1) - 1) if isinstance(domain, Choice) else 0.0
    return axis_position(domain, trial.values[name]) + jitter


def relative_position(domain: Domain, position: float) -> float:
    """Return a position as a fraction of the axis; choices have a margin at both ends."""
    if isinstance(domain, Choice):
        return (position + 0.5) / len(domain.values)
    return relative(position, *axis_limits(domain))


def relative(value: float, low: float, high: float) -> float:
    """Return a value as a fraction of a range; 0.5 if the range is empty."""
    return (value - low) / (high - low) if high > low else 0.5


def parallel_coordinates_figure(groups: Sequence[TrialGroup], *, monitor: str, title: str) -> Figure:
    """Plot each trial as a line through its hyperparameters to its score; higher is darker, the best line is bold.

    Args:
        groups: The trials; each group has its own row.
        monitor: The metric of the scores.
        title: The title of the figure.
    """
    if not groups:
        return message_figure(NO_SCORE)
    columns = max(len(group.domains) for group in groups) + 1
    figure = make_figure(max(8, AXIS_WIDTH * columns + 1.5), ROW_HEIGHT * len(groups) + 0.6)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    panels = [figure.add_subplot(len(groups), 1, row + 1) for row in range(len(groups))]
    scores = [trial.score for group in groups for trial in group.trials]
    shade = Normalize(float(np.quantile(scores, LOWEST_QUANTILE)), max(scores), clip=True)
    for panel, group in zip(panels, groups, strict=True):
        draw_lines(panel, group, shade, metric_label(monitor), columns=columns)
        name = f"{group.name}: " if len(groups) > 1 else ""
        trials, best = format_count(len(group.trials), "trial"), best_trial(group.trials).name
        panel.set_title(f"{name}{trials} with a score; best: {best}", loc="left", fontsize=10, color=INK, pad=26)
    bar = figure.colorbar(
        ScalarMappable(shade, COLOUR_MAP), ax=panels, extend="min", extendfrac=0.06,
        pad=0.01, aspect=14, shrink=0.8 / len(groups), anchor=(0.0, 1.0),
    )  # fmt: skip
    bar.set_label(metric_label(monitor), color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    return figure


def draw_lines(panel: Axes, group: TrialGroup, shade: Normalize, score: str, *, columns: int) -> None:
    """Draw the trials of a group and an axis for each hyperparameter, with the score on the last axis."""
    best = best_trial(group.trials)
    colours = colormaps[COLOUR_MAP]
    low, high = (end(trial.score for trial in group.trials) for end in (min, max))
    alpha = min(0.6, max(0.25, OPAQUE_LINES / len(group.trials)))
    for trial in sorted(group.trials, key=lambda trial: trial.score):
        line = [
            *(relative_position(domain, trial_position(trial, name, domain)) for name, domain in group.domains.items()),
            relative(trial.score, low, high),
        ]
        if trial is best:
            panel.plot(line, color=INK, linewidth=2.6, zorder=4)
        else:
            panel.plot(line, color=colours(shade(trial.score)), alpha=alpha, linewidth=1.1, zorder=3)
    axes = {
        name: [(relative_position(domain, position), text) for position, text in axis_ticks(domain)]
        for name, domain in group.domains.items()
    }
    axes[score] = [(relative(value, low, high), f"{value:.4f}") for value in sorted({low, high})]
    for column, (name, ticks) in enumerate(axes.items()):
        draw_axis(panel, column, name, ticks)
    panel.set_xlim(-0.3, columns - 0.5)
    panel.set_ylim(-0.08, 1.08)
    panel.set_axis_off()


def draw_axis(panel: Axes, column: int, name: str, ticks: Sequence[tuple[float, str]]) -> None:
    """Draw a vertical axis with its name above it."""
    panel.plot([column, column], [0, 1], color=PALE, linewidth=1.0, zorder=2)
    panel.annotate(
        fill(name.replace("_", " "), MAX_LABEL, break_long_words=False), (column, 1.0), xytext=(0, 6),
        textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip
    for position, text in ticks:
        panel.annotate(
            text, (column, position), xytext=(4, 0), textcoords="offset points", ha="left", va="center", fontsize=7,
            color=INK, zorder=5, bbox=LABEL_BOX,
        )  # fmt: skip
        panel.plot([column - 0.02, column + 0.02], [position, position], color=PALE, linewidth=1.0, zorder=2)


def slices_figure(groups: Sequence[TrialGroup], families: Sequence[str], *, monitor: str, title: str) -> Figure:
    """Plot the score against each hyperparameter, with a panel for each.

    Trials that were stopped early are hollow, and the best trial has a ring.

    Args:
        groups: The trials.
        families: All families of the sweep, in their order, which determines their colours.
        monitor: The metric of the scores.
        title: The title of the figure.
    """
    panels = [(group, name) for group in groups for name in group.own_settings]
    if not panels:
        return message_figure(NO_SCORE)
    columns = min(FEW_COLUMNS if len(panels) <= FEW_COLUMNS**2 else MANY_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_figure(max(6.5, 3.2 * columns), 2.6 * rows + 0.8)
    figure.suptitle(f"{title}\nhollow: stopped early; ring: best trial", x=0.01, ha="left", color=INK, fontsize=11)
    scores = [trial.score for trial in groups[0].trials]
    margin = 0.08 * (max(scores) - min(scores)) or 0.02
    colours = family_colours(families)
    for index, (group, name) in enumerate(panels):
        panel = figure.add_subplot(rows, columns, index + 1)
        draw_slice(panel, group, name, colours)
        prefix = f"{group.name}: " if len(groups) > 1 and group.name != ALL_FAMILIES else ""
        panel.set_title(f"{prefix}{name.replace('_', ' ')}", loc="left", fontsize=8.5, color=INK)
        panel.set_ylim(min(scores) - margin, max(scores) + margin)
        if index % columns == 0:
            panel.set_ylabel(metric_label(monitor), fontsize=8, color=INK)
    return figure


def draw_slice(panel: Axes, group: TrialGroup, name: str, colours: Mapping[str, str]) -> None:
    """Draw the scores of a group against one hyperparameter."""
    domain, best = group.domains[name], best_trial(group.trials)
    for stopped in (True, False):
        trials = [trial for trial in group.trials if trial.stopped is stopped]
        positions = [trial_position(trial, name, domain) for trial in trials]
        edges = [colours[trial.family] for trial in trials]
        faces = ["white"] * len(trials) if stopped else edges
        panel.scatter(
            positions, [trial.score for trial in trials], s=22, facecolors=faces, edgecolors=edges, linewidths=0.9,
            alpha=0.8, zorder=3,
        )  # fmt: skip
    position = trial_position(best, name, domain)
    panel.scatter([position], [best.score], s=80, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=4)
    low, high = axis_limits(domain)
    margin = 0.5 if isinstance(domain, Choice) else 0.06 * (high - low) or 0.5
    panel.set_xlim(low - margin, high + margin)
    ticks = axis_ticks(domain)
    panel.set_xticks([tick for tick, _ in ticks], [text for _, text in ticks])
    style_axes(panel)
    panel.grid(color=FAINT, linewidth=0.6)
    panel.tick_params(labelsize=7)
    if sum(len(text) for _, text in ticks) > 26:
        panel.tick_params(axis="x", labelrotation=25)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right")
