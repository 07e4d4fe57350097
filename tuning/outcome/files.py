"""Write the outcome of a sweep: hyperparameter importance, plots of its trials and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_cnns.atomic import write_text
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.formatting import format_count
from keras_cnns.comparing.importance import estimate_importance
from keras_cnns.comparing.importance_plots import importance_figure
from keras_cnns.comparing.pareto_plots import pareto_figure
from keras_cnns.comparing.setting_plots import parallel_coordinates_figure, slices_figure
from keras_cnns.plotting import save
from keras_cnns.tracking.runs import Run
from tuning.candidates.space import Space
from tuning.outcome.learning_curves import learning_curves_figure
from tuning.outcome.trials import group_trials, score_trials
from tuning.running.journal import FAILED, SEARCH, STOPPED, TrialState
from tuning.running.sweep_directory import OUTCOME

IMPORTANCE = "importance.json"
MAX_SHARES = 3  # in the summary


def write_outcome(
    states: Mapping[int, TrialState], space: Space, runs: Sequence[Run], folder: Path, *, cost: str | None = None
) -> Path:
    """Write the outcome of a sweep to the subfolder `outcome` and return the subfolder.

    The files are `importance.json` and `importance.png` (hyperparameter importance and how reliable it is),
    `parallel_coordinates.png`, `slices.png` and `learning_curves.png` (plots of the trials), `comparison.png` (score
    against cost with the Pareto front) and `trials.csv`.

    Args:
        states: The trials in the journal.
        space: The search space.
        runs: The MLflow runs of the same trials.
        folder: The folder of the sweep.
        cost: The cost on the other axis of the Pareto front; parameters by default.

    Raises:
        SettingError: A plot cannot be written.
    """
    states = {number: state for number, state in states.items() if state.role == SEARCH}
    folder = folder / OUTCOME
    folder.mkdir(exist_ok=True)
    groups = group_trials(space, score_trials(states, space))
    importances = [estimate_importance(group) for group in groups]
    comparison = Comparison(runs, sort=space.recipe.monitor, cost=cost or "parameters", per_run=True)
    monitor, title = space.recipe.monitor, f"Sweep of {space.name}, {describe_trials(states)}"
    write_text(folder / IMPORTANCE, json.dumps([importance.as_dict() for importance in importances], indent=2))
    write_text(folder / "trials.csv", comparison.to_csv())
    figures = {
        "importance": importance_figure(importances, title=f"Hyperparameter importance. {title}"),
        "parallel_coordinates": parallel_coordinates_figure(groups, monitor=monitor, title=title),
        "slices": slices_figure(groups, space.families, monitor=monitor, title=title),
        "learning_curves": learning_curves_figure(states, space, title=title),
        "comparison": pareto_figure(comparison),
    }
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    return folder


def summarize_importance(folder: Path) -> list[str]:
    """Return a line with the most important hyperparameters, from the subfolder `outcome`; no line without trials."""
    groups = json.loads((folder / IMPORTANCE).read_text(encoding="utf-8"))
    if not groups:
        return []
    first = groups[0]
    shares = [] if first["inconclusive"] else list(first["shares"].items())[:MAX_SHARES]
    parts = [", ".join(f"{name} {share:.0%}" for name, share in shares), first["summary"].rstrip(".")]
    return ["hyperparameter importance: " + "; ".join(filter(None, parts))]


def describe_trials(states: Mapping[int, TrialState]) -> str:
    """Return the number of trials and how many were stopped early or failed: "20 trials, 3 stopped early"."""
    statuses = [state.status for state in states.values()]
    parts = [f"{statuses.count(status)} {status}" for status in (STOPPED, FAILED) if status in statuses]
    return ", ".join([format_count(len(states), "trial"), *parts])
