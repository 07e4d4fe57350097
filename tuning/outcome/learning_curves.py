"""The learning curves of a sweep's trials in one plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from keras_cnns.comparing.setting_plots import family_colours
from keras_cnns.comparing.wording import spelled
from keras_cnns.plotting import INK, make_figure, plain_axes, save, say
from keras_cnns.training.checkpoints import best_epoch
from tuning.candidates.space import Space
from tuning.running.journal import FAILED, STOPPED, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LineStyle = tuple[float, tuple[float, ...]]
BEST_LINES: tuple[LineStyle, ...] = ((0, ()), (0, (5, 1.5)), (0, (1.5, 1.2)))


def learning_curves(states: Mapping[int, TrialState], space: Space, path: Path, *, title: str) -> None:
    """Draw the score of every trial after each epoch; stopped ones faint, the best ones named.

    Args:
        states: The trials.
        space: Where they are from.
        path: The picture to write.
        title: What stands above.
    """
    monitor = space.recipe.monitor
    curves = {number: state for number, state in sorted(states.items()) if state.curve}
    if not curves:
        say(path, "No trial finished an epoch.")
        return
    colours = family_colours(space.families)
    figure = make_figure(10, 6)
    panel = figure.add_subplot()
    kept = {number: best_epoch(state.curve, space.recipe) for number, state in curves.items() if is_good(state)}
    best = sorted(kept, key=lambda number: -kept[number][1][monitor])[: len(BEST_LINES)]
    styles = dict(zip(best, BEST_LINES, strict=False))
    families = {number: space.branches[state.candidate["model"]].family.name for number, state in curves.items()}
    for number, state in curves.items():
        scores = [metrics[monitor] for metrics in state.curve]
        draw_curve(panel, scores, state.status, colours[families[number]], styles.get(number))
    for number in best:
        epoch, metrics = kept[number]
        panel.scatter([epoch], [metrics[monitor]], s=40, facecolor="white", edgecolor=INK, zorder=6)
    panel.set_xlabel("epoch", color=INK)
    panel.set_ylabel(spelled(monitor), color=INK)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    plain_axes(panel)
    panel.set_title(title, loc="left", color=INK)
    explain_lines(
        panel,
        {family: colour for family, colour in colours.items() if family in families.values()},
        {state.status for state in curves.values()},
        [f"trial {number}: {kept[number][1][monitor]:.4f} after epoch {kept[number][0]}" for number in best],
    )
    save(figure, path)


def is_good(state: TrialState) -> bool:
    """Return whether a trial has ended with a network that can be kept."""
    return state.ended and state.status != FAILED


def draw_curve(panel: Axes, scores: Sequence[float], status: str, colour: str, best: LineStyle | None) -> None:
    """Draw one trial's scores, one of the best ones in its own line; a trial of one epoch is a point."""
    stopped = status in (STOPPED, FAILED)
    panel.plot(
        range(1, len(scores) + 1),
        scores,
        color=colour,
        linestyle=best or "-",
        alpha=1.0 if best else 0.25 if stopped else 0.6,
        linewidth=2.4 if best else 1.0,
        zorder=5 if best else 2 if stopped else 3,
        marker="o" if len(scores) == 1 else None,
        markersize=4,
    )
    if status == FAILED:
        panel.plot([len(scores)], [scores[-1]], marker="x", color=colour, zorder=4)


def explain_lines(panel: Axes, colours: Mapping[str, str], statuses: set[str], best: Sequence[str]) -> None:
    """Say beside the panel what colours and lines mean, as far as they occur, and what the best trials scored."""
    handles = [Line2D([], [], color=colour, linewidth=2, label=family) for family, colour in colours.items()]
    if STOPPED in statuses:
        handles.append(Line2D([], [], color=INK, alpha=0.3, linewidth=1, label="stopped early"))
    if FAILED in statuses:
        handles.append(Line2D([], [], color=INK, alpha=0.5, linewidth=1, marker="x", label="failed"))
    handles += [
        Line2D([], [], color=INK, linewidth=2, linestyle=style, label=text)
        for text, style in zip(best, BEST_LINES, strict=False)
    ]
    panel.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=INK,
        fontsize=9, handlelength=3,
    )  # fmt: skip
