"""Configuration files: the arguments of the training of a run, to train again with `keras-cnns train --config`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tomlkit

from keras_cnns.errors import ReportError, StoreError
from keras_cnns.evaluation.ensemble import find_runs
from keras_cnns.evaluation.run_images import drop_none, missing_path
from keras_cnns.networks.settings import Settings
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import FOLD
from keras_cnns.version import __version__
from keras_cnns.writing.facts import describe_run, read_metadata
from keras_cnns.writing.lock import describe_training
from keras_cnns.writing.reproducing import parse_settings


def make_config(store: Store, reference: str) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of the training of a run, by the names of the options of `keras-cnns train`.

    Args:
        store: The store.
        reference: A run, the ID of a sweep for its best trial, or a cross-validation.

    Returns:
        The arguments, with the tables `data`, `settings` and `recipe`, which can be written as TOML; and notes on what
        was chosen or cannot be used as it is.

    Raises:
        StoreError: There is no such run.
        ReportError: The run is a fold or a refit, which `train` does not train, or this version lacks its settings.
    """
    (run, *others), notes = find_runs(store, reference)
    training = describe_training(describe_run(run))
    settings, recipe = parse_settings(f"run {run.id}", training)
    folds: dict[str, Any] = {}
    if others:
        params = store.params(run.cross_validation)
        folds = {"fold_by": params["fold_by"]} if "fold_by" in params else {"folds": int(params["folds"])}
        notes = []  # that of a cross-validation is about predictions
    elif run.trained_on_validation:
        refuse_other_training(run)
    data = find_data(store, run)
    weights = None if training["weights"] is None else training["weights"]["reference"]
    config = {
        **drop_none({"model": run.model, "seed": run.seed, "weights": weights, **folds}),
        "data": data,
        "settings": to_toml_values(settings),
        "recipe": to_toml_values(recipe),
    }
    return config, [*notes, *data_notes(run, data)]


def refuse_other_training(run: Run) -> None:
    """Raise a `ReportError` for a run that is not the result of one `train`."""
    if FOLD in run.tags:
        raise ReportError(
            f"run {run.id} is fold {run.tags[FOLD]} of a cross-validation; name the cross-validation: "
            f"{run.cross_validation}."
        )
    raise ReportError(
        f"run {run.id} is a refit, trained on training and validation images; name the trial that it repeats."
    )


def find_data(store: Store, run: Run) -> dict[str, Any]:
    """Return the source of the images of a run and the options with which they were read, as options of `train`.

    They are saved with networks. A run without one, such as most trials of a sweep, has those of a run on the same
    dataset; the result is empty if there is none.
    """
    same_images = [other for other in store.runs() if other.data_fingerprint == run.data_fingerprint]
    for found in (run, *same_images):
        try:
            known = read_metadata(store, found.id)
        except StoreError:
            continue
        if known.get("source"):
            reading = {"split_seed" if name == "seed" else name: value for name, value in known["reading"].items()}
            return {"source": known["source"], **drop_none(reading)}
    return {}


def data_notes(run: Run, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note if the source of the images is not recorded, or no longer there."""
    if not data:
        yield f"run {run.id} does not record its images; add source to the table [data], or name them with --data."
    elif path := missing_path(data["source"]):
        yield f"{path}, with the images of run {run.id}, does not exist; change source, or name them with --data."


def to_toml_values(settings: Settings) -> dict[str, Any]:
    """Return settings by name, with "none" for None, which TOML does not have."""
    return {name: "none" if value is None else value for name, value in settings.as_dict().items()}


def to_toml(config: Mapping[str, Any]) -> str:
    """Return a configuration file."""
    return f"# keras-cnns {__version__}: for `keras-cnns train --config`.\n\n{tomlkit.dumps(config)}"
