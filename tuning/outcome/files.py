"""What comes out of a sweep, in pictures and numbers: what mattered, how the trials went, what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.importance import weigh_settings
from keras_cnns.comparing.importance_plots import importance_picture
from keras_cnns.comparing.plots import accuracy_against
from keras_cnns.comparing.setting_plots import parallel_coordinates, slices
from keras_cnns.tracking.runs import Run
from keras_cnns.training.checkpoints import write_text
from tuning.candidates.space import Space
from tuning.outcome.learning_curves import learning_curves
from tuning.outcome.trials import find_scored, group_trials
from tuning.running.journal import FAILED, SEARCH, STOPPED, TrialState

OUTCOME = "outcome"
IMPORTANCE = "importance.json"
MENTIONED = 3


def write_outcome(
    states: Mapping[int, TrialState], space: Space, runs: Sequence[Run], place: Path, *, cost: str | None = None
) -> Path:
    """Write what came out of a sweep into the folder "outcome" of its own, and return that.

    There are `importance.png` and `importance.json` (how much each setting matters, and how far that can be trusted),
    `parallel_coordinates.png`, `slices.png` and `learning_curves.png` of the trials, `comparison.png` (score against
    cost, with the Pareto front), and `trials.csv`.

    Args:
        states: The trials, as the journal has them.
        space: Where they are from.
        runs: The same trials as MLflow gives them back.
        place: The sweep's folder.
        cost: The cost that the Pareto front weighs the score against; parameters by default.

    Raises:
        SettingError: A picture cannot be written there.
    """
    states = {number: state for number, state in states.items() if state.role == SEARCH}
    folder = place / OUTCOME
    folder.mkdir(exist_ok=True)
    groups = group_trials(space, find_scored(states, space))
    importances = [weigh_settings(group) for group in groups]
    monitor = space.recipe.monitor
    title = f"Sweep of {space.name}, {count_trials(states)}"
    write_text(folder / IMPORTANCE, json.dumps([known.as_dict() for known in importances], indent=2))
    importance_picture(importances, folder / "importance.png", title=f"What mattered. {title}")
    parallel_coordinates(groups, folder / "parallel_coordinates.png", monitor=monitor, title=title)
    slices(groups, space.families, folder / "slices.png", monitor=monitor, title=title)
    learning_curves(states, space, folder / "learning_curves.png", title=title)
    comparison = Comparison(runs, sort=monitor, cost=cost or "parameters")
    accuracy_against(comparison, folder / "comparison.png")
    write_text(folder / "trials.csv", comparison.to_csv())
    return folder


def brief_importance(folder: Path) -> list[str]:
    """Say in a line what mattered most, as far as the trials show it, from a sweep's folder "outcome"."""
    known = json.loads((folder / IMPORTANCE).read_text(encoding="utf-8"))
    if not known:
        return []
    first = known[0]
    shares = [f"{name} {share:.0%}" for name, share in list(first["importance"].items())[:MENTIONED]]
    mattered = ", ".join(shares) + "; " if shares and not first["tells_little"] else ""
    return [f"what mattered: {mattered}{first['verdict'].removesuffix('.')}"]


def count_trials(states: Mapping[int, TrialState]) -> str:
    """Say how many trials there are and how they ended."""
    statuses = [state.status for state in states.values()]
    parts = [f"{statuses.count(status)} {status}" for status in (STOPPED, FAILED) if status in statuses]
    return ", ".join([f"{len(states)} {'trial' if len(states) == 1 else 'trials'}", *parts])
