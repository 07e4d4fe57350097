"""The network, settings and recipe of an earlier run, as the starting point of a sweep."""

from __future__ import annotations

from keras_cnns.errors import SettingError, StoreError
from keras_cnns.networks.baselines.code import Code
from keras_cnns.networks.baselines.functions import check_recorded
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import find_variant
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import best_trial, find_sweep, select_run
from tuning.candidates.ranges import Base


def find_starting_point(reference: str, *, model: str | None, tracking_uri: str | None) -> tuple[Base, Recipe]:
    """Return the network and the recipe of a run.

    Args:
        reference: Id of a run, the beginning of it, or a name that no other run has; id of a sweep for its best trial.
        model: The variant or family that the run must have, if any.
        tracking_uri: MLflow store: MLflow's environment variable or `./mlflow.db` by default.

    Raises:
        StoreError: There is no such run.
        SettingError: The run has another model, or settings that do not exist in this version.
        ModelNameError: The file with its network is missing or has changed, or has not been executed on this machine.
    """
    run = find_run(Store(tracking_uri, create=False), reference)
    if model not in (None, run.model, run.family):
        raise SettingError(f"run {reference} is a {run.model}, not a {model}: omit the model, or use {run.family}.")
    check_recorded(run.model, Code.from_tags(run.tags))
    family, variant = find_variant(run.model)
    try:
        settings, recipe = variant.settings.replace_strings(run.settings), Recipe().replace_strings(run.recipe)
    except SettingError as error:
        raise SettingError(f"a sweep cannot start from run {run.id}: {error}") from None
    return Base(run.model, family, settings), recipe


def find_run(store: Store, reference: str) -> Run:
    """Return a run, or the best trial of a sweep (never its refit, which has no validation score)."""
    runs = store.runs()
    sweep = find_sweep(reference, runs)
    if sweep is None:
        return select_run(reference, runs, store.location)
    best = best_trial(sweep, runs)
    if best is None:
        raise StoreError(f"sweep {reference} has no finished trial; use another sweep, or a run.")
    return best
