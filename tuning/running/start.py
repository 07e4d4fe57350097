"""What candidates start from when a run is named: its network, settings and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from keras_cnns.errors import SettingError, StoreError
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import find_variant
from keras_cnns.networks.settings import Domain, Settings
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import best_trial, chosen, sweep_of
from tuning.candidates.space import Space


@dataclass(frozen=True, kw_only=True)
class Start:
    """What candidates start from.

    Attributes:
        model: The variant.
        settings: All its settings.
        recipe: How it is trained.
    """

    model: str
    settings: Settings
    recipe: Recipe


def find_start(reference: str, *, model: str | None = None, tracking_uri: str | None = None) -> Start:
    """Return what candidates start from.

    Args:
        reference: A run's id, the beginning of it, or a name that no other run has; a sweep's id for its best trial.
        model: The variant or the family that the run has to be of, if any.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.

    Raises:
        StoreError: There is no such run.
        SettingError: It is a run of another model, or of a version with other settings.
    """
    run = find_run(Store(tracking_uri, create=False), reference)
    if model not in (None, run.model, run.family):
        raise SettingError(
            f"run {reference} is of {run.model}, not of {model}: leave the model out, or name {run.family}."
        )
    _, variant = find_variant(run.model)
    return Start(
        model=run.model,
        settings=variant.settings.replace(read(run, run.settings, type(variant.settings).domains())),
        recipe=Recipe().replace(read(run, run.recipe, Recipe.domains())),
    )


def find_run(store: Store, reference: str) -> Run:
    """Return the run that is meant; of a sweep its best trial, though not its refit, which nothing has validated."""
    runs = store.runs()
    sweep = sweep_of(reference, runs)
    if sweep is None:
        return chosen(reference, runs, store.location)
    best = best_trial(sweep, runs)
    if best is None:
        raise StoreError(f"{reference} is a sweep of which no trial has finished; name another, or a run.")
    return best


def read(run: Run, written: Mapping[str, str], domains: Mapping[str, Domain]) -> dict[str, object]:
    """Read settings as a run holds them; those that it does not know have their defaults."""
    try:
        return {name: domains[name].check(domains[name].parse(text)) for name, text in written.items()}
    except (KeyError, SettingError) as error:
        reason = f"it has {error}, which is no setting now" if isinstance(error, KeyError) else str(error)
        raise SettingError(f"run {run.id} cannot be started from: {reason}.".replace("..", ".")) from None


def start_from(space: Space, start: Start | None) -> Space:
    """Return the space with its candidates starting from a run's settings."""
    if start is None:
        return space
    branch = space.branches[start.model]
    return replace(space, branches={start.model: replace(branch, settings=start.settings)})
