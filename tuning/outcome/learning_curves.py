"""A plot of the learning curves of all trials of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from keras_cnns.comparing.formatting import metric_label
from keras_cnns.comparing.pareto_plots import family_colours
from keras_cnns.plotting import INK, make_figure, message_figure, style_axes
from keras_cnns.training.checkpoints import selected_epoch
from tuning.candidates.space import Space
from tuning.running.journal import FAILED, STOPPED, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LineStyle = tuple[float, tuple[float, ...]]
BEST_STYLES: tuple[LineStyle, ...] = ((0, ()), (0, (5, 1.5)), (0, (1.5, 1.2)))  # one for each of the best trials


def learning_curves_figure(states: Mapping[int, TrialState], space: Space, *, title: str) -> Figure:
    """Plot the score of each trial by epoch; the best trials are labelled, those that were stopped early are pale.

    Args:
        states: The trials.
        space: The search space.
        title: The title of the figure.
    """
    monitor = space.recipe.monitor
    curves = {number: state for number, state in sorted(states.items()) if state.curve}
    if not curves:
        return message_figure("No trial finished an epoch.")
    colours = family_colours(space.families)
    figure = make_figure(10, 6)
    panel = figure.add_subplot()
    selected = {
        number: selected_epoch(state.curve, space.recipe)
        for number, state in curves.items()
        if state.ended and state.status != FAILED
    }
    best = sorted(selected, key=lambda number: -selected[number][1][monitor])
    styles = dict(zip(best, BEST_STYLES, strict=False))
    families = {number: space.branches[state.candidate["model"]].family.name for number, state in curves.items()}
    for number, state in curves.items():
        scores = [metrics[monitor] for metrics in state.curve]
        draw_curve(panel, scores, state.status, colours[families[number]], styles.get(number))
    labels = {}
    for number, style in styles.items():
        epoch, metrics = selected[number]
        panel.scatter([epoch], [metrics[monitor]], s=40, facecolor="white", edgecolor=INK, zorder=6)
        labels[f"trial {number}: {metrics[monitor]:.4f} in epoch {epoch}"] = style
    panel.set_xlabel("epoch", color=INK)
    panel.set_ylabel(metric_label(monitor), color=INK)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    style_axes(panel)
    panel.set_title(title, loc="left", color=INK)
    used_colours = {family: colour for family, colour in colours.items() if family in families.values()}
    add_legend(figure, used_colours, {state.status for state in curves.values()}, labels)
    return figure


def draw_curve(panel: Axes, scores: Sequence[float], status: str, colour: str, style: LineStyle | None) -> None:
    """Draw the scores of a trial; `style` is the line style of one of the best trials. A single epoch is a point."""
    pale = status in (STOPPED, FAILED)
    panel.plot(
        range(1, len(scores) + 1),
        scores,
        color=colour,
        linestyle=style or "-",
        alpha=1.0 if style else 0.25 if pale else 0.6,
        linewidth=2.4 if style else 1.0,
        zorder=5 if style else 2 if pale else 3,
        marker="o" if len(scores) == 1 else None,
        markersize=4,
    )
    if status == FAILED:
        panel.plot([len(scores)], [scores[-1]], marker="x", color=colour, zorder=4)


def add_legend(figure: Figure, colours: Mapping[str, str], statuses: set[str], best: Mapping[str, LineStyle]) -> None:
    """Add a legend on the right: the colours of families, the line styles, and the scores of the best trials."""
    handles = [Line2D([], [], color=colour, linewidth=2, label=family) for family, colour in colours.items()]
    for status, marker in ((STOPPED, None), (FAILED, "x")):
        if status in statuses:
            handles.append(Line2D([], [], color=INK, alpha=0.4, linewidth=1, marker=marker, label=status))
    for text, style in best.items():
        handles.append(Line2D([], [], color=INK, linewidth=2, linestyle=style, label=text))
    figure.legend(handles=handles, loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9, handlelength=3)
