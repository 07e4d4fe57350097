"""Pictures of how a sweep's trials went, and of which settings mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_cnns.pictures import COLOURS, FAINT, INK, PALE, make_figure, plain_axes, save, say
from keras_cnns.training.checkpoints import best_epoch
from tuning.candidates.space import Space
from tuning.comparing.wording import spelled
from tuning.outcome.importance import Importance
from tuning.outcome.scored import Scored
from tuning.running.journal import FAILED, STOPPED, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOGETHER = "several together"
LineStyle = tuple[float, tuple[float, ...]]
BEST_LINES: tuple[LineStyle, ...] = ((0, ()), (0, (5, 1.5)), (0, (1.5, 1.2)))
BAR, PANEL_EXTRA = 0.27, 1.25  # inches


def family_colours(space: Space) -> dict[str, str]:
    """Return a colour for each family, the same in all pictures of a sweep."""
    families = [branch.family.name for branch in space.branches.values()]
    return {family: COLOURS[index % len(COLOURS)] for index, family in enumerate(families)}


def importance_picture(importances: Sequence[Importance], path: Path, *, title: str) -> None:
    """Draw how much each setting matters: a panel of bars for each group of trials, grey where it tells little.

    Args:
        importances: Of all families together and of each family, as far as there are trials.
        path: The picture to write.
        title: What stands above.
    """
    if any(importance.shares for importance in importances):
        save(importance_figure(importances, title=title), path)
    else:
        say(path, importances[0].verdict() if importances else "No trial ended with a score.")


def importance_figure(importances: Sequence[Importance], *, title: str) -> Figure:
    """Return that picture, where anything can be said of one of them."""
    known = [importance for importance in importances if importance.shares]
    columns = min(2, len(known))
    rows = [known[index : index + columns] for index in range(0, len(known), columns)]
    heights = [BAR * (1 + max(len(importance.shares) for importance in row)) + PANEL_EXTRA for row in rows]
    silent = [f"{importance.name} ({importance.trials})" for importance in importances if not importance.shares]
    note = fill(f"Too few trials, or none of it to be seen, in: {', '.join(silent)}.", 85 * columns) if silent else ""
    figure = make_figure(max(8, 6.5 * columns), sum(heights) + 0.5 + 0.3 * bool(note))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for index, importance in enumerate(known):
        panel = figure.add_subplot(grid[divmod(index, columns)])
        draw_importance(panel, importance, wrapped=62 if columns > 1 else 82, named=len(importances) > 1)
        panel.set_ylim(max(len(other.shares) for other in rows[index // columns]) + 0.6, -0.6)
    if note:
        figure.supxlabel(note, x=0.01, ha="left", color=INK, fontsize=9)
    return figure


def draw_importance(panel: Axes, importance: Importance, *, wrapped: int, named: bool) -> None:
    """Draw a group's settings as bars, the most important at the top, and say how far to trust them."""
    shares = {**importance.shares, TOGETHER: importance.together}
    colours = [PALE if importance.tells_little else COLOURS[0]] * len(importance.shares) + [FAINT]
    bars = panel.barh(range(len(shares)), list(shares.values()), height=0.72, color=colours)
    panel.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3, fontsize=8, color=INK)
    panel.set_yticks(range(len(shares)), list(shares))
    panel.set_xlim(0, 1.12 * max(*shares.values(), 0.05))
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.set_xlabel("share of the score's variance that it explains alone", color=INK, fontsize=8)
    heading = f"{importance.name}\n" if named else ""
    panel.set_title(f"{heading}{fill(importance.verdict(), wrapped)}", loc="left", fontsize=9, color=INK)
    plain_axes(panel)
    panel.grid(visible=False, axis="y")
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="y", left=False)


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
    colours = family_colours(space)
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


def best_of(trials: Sequence[Scored]) -> Scored:
    """Return the trial with the highest score, of equal ones the first."""
    return max(trials, key=lambda trial: (trial.score, -trial.number))
