"""The facts of a run: everything that a write-up may say, as JSON-compatible values.

run         ID, name, model, family, seed, data_name, settings, recipe, metrics and tags, as in the store
network     what training stored with the network: classes, how images were read, counts of each split, exclusions,
            packages
evaluation  the stored record of the evaluation (`keras_cnns.evaluation.record`)
external    the records of evaluations on other datasets
sweep       ID, parameters and number of trials of the sweep whose best trial the run is
paper       the first paper of the network's family and the number of its papers
methods     constants and descriptions of this version of keras-cnns: level of the intervals, resamples, bins,
            metrics, augmentation
written     when and with which version the write-up was made
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keras_cnns.data.dataset import SPLITS as DATA_SPLITS
from keras_cnns.errors import ReportError, StoreError
from keras_cnns.evaluation.calibration import BINS
from keras_cnns.evaluation.ensemble import find_runs
from keras_cnns.evaluation.intervals import CONFIDENCE_LEVEL, RESAMPLES
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.out_of_fold import OUT_OF_FOLD
from keras_cnns.evaluation.record import RECORD_FILE
from keras_cnns.networks.augmentations import AUGMENTATIONS
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import CHOSEN_BY, CROSS_VALIDATION_NAME, find_sweep, strip_prefix
from keras_cnns.version import __version__

SPLITS = ("test", "validation")
EXTERNAL = "external_"
COSTS = ("parameters", "trainable_parameters", "macs")


def collect_facts(store: Store, reference: str, *, split: str = "test") -> dict[str, Any]:
    """Return the facts of a run.

    Args:
        store: The store.
        reference: A run, the ID of a sweep for its best trial, or a cross-validation.
        split: The split whose stored evaluation is reported, "test" or "validation"; a cross-validation has one result.

    Raises:
        StoreError: There is no such run, or it has no saved network.
        ReportError: It is not finished or has no stored evaluation on the split.
    """
    if split not in SPLITS:
        raise ReportError(f"--split {split} (split) is not possible; use test, or validation for an optimistic result.")
    (run, *others), _ = find_runs(store, reference)
    if others:
        return collect_cross_validation(store, run)
    if run.status != "finished":
        raise ReportError(f"run {run.id} is {run.status}; a write-up needs a finished run.")
    external = read_external(store, run)
    evaluation = read_record(store, run.id, f"evaluation/{split}")
    if evaluation is None and split == "test" and external:
        evaluation, *external = external
    if evaluation is None:
        raise ReportError(describe_missing(store, run, split))
    facts = make_facts(store, run, evaluation, external)
    sweep = find_sweep_of(store, run, reference)
    return facts if sweep is None else {**facts, "sweep": sweep}


def make_facts(
    store: Store, run: Run, evaluation: dict[str, Any], external: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return the facts of a run, given the records of its evaluations."""
    return {
        "run": describe_run(run),
        "network": order_splits(read_metadata(store, run.id)),
        "evaluation": evaluation,
        "external": list(external),
        "methods": describe_methods(run),
        "written": {"date": datetime.now(UTC).isoformat(timespec="seconds"), "version": __version__},
    }


def collect_cross_validation(store: Store, first: Run) -> dict[str, Any]:
    """Return the facts of a finished cross-validation, given the run of its first fold."""
    parent = first.cross_validation
    evaluation = read_record(store, parent, f"evaluation/{OUT_OF_FOLD}")
    if evaluation is None:
        raise ReportError(
            f"cross-validation {parent} has no stored result; resume it with `keras-cnns train --resume`."
        )
    facts = make_facts(store, first, evaluation)
    costs = {name: first.metrics[name] for name in COSTS if name in first.metrics}
    facts["run"] |= {"id": parent, "name": first.tags.get(CROSS_VALIDATION_NAME, ""), "metrics": costs}
    params = store.params(parent)
    chosen = {name: params[name] for name in ("folds", "fold_by") if name in params}
    return {**facts, "cross_validation": {"id": parent, **chosen}}


def describe_missing(store: Store, run: Run, split: str) -> str:
    """Return the error message for a run without a stored evaluation."""
    if split == "validation":
        command = f"keras-cnns evaluate {run.id} --split validation"
        return f"run {run.id} has no stored evaluation on validation images; run `{command}` first."
    other = ""
    if read_record(store, run.id, "evaluation/validation") is not None:
        other = ", or choose its evaluation on validation images, which is optimistic, with --split validation (split)"
    return f"run {run.id} has no stored evaluation on a test split; run `keras-cnns evaluate {run.id}` first{other}."


def read_metadata(store: Store, run_id: str) -> dict[str, Any]:
    """Return what training saved with the network of a run, or raise a `StoreError` if it has none."""
    with tempfile.TemporaryDirectory() as folder:
        return dict(store.fetch_network(run_id, Path(folder)).metadata)


def order_splits(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a network with splits and classes in their order; MLflow sorts them by name."""
    splits = network.get("splits", {})
    ordered = {name: dict(splits[name]) for name in DATA_SPLITS if name in splits}
    for split in ordered.values():
        split["classes"] = {name: split["classes"][name] for name in network["class_names"]}
    return {**network, **({"splits": ordered} if ordered else {})}


def read_record(store: Store, run_id: str, folder: str) -> dict[str, Any] | None:
    """Return the stored record of an evaluation of a run; None if there is none."""
    text = store.read_file(run_id, f"{folder}/{RECORD_FILE}")
    return None if text is None else {**json.loads(text), "folder": folder}


def read_external(store: Store, run: Run) -> list[dict[str, Any]]:
    """Return the stored records of evaluations of a run on other datasets, oldest first."""
    folders = [path for path in store.list_files(run.id, "evaluation") if Path(path).name.startswith(EXTERNAL)]
    records = (read_record(store, run.id, folder) for folder in folders)
    return sorted((record for record in records if record is not None), key=lambda record: str(record["created"]))


def describe_run(run: Run) -> dict[str, Any]:
    """Return what the store knows about a run."""
    return {
        "id": run.id,
        "name": run.name,
        "model": run.model,
        "family": run.family,
        "seed": run.seed,
        "data_name": run.data_name,
        "data_fingerprint": run.data_fingerprint,
        "settings": run.settings,
        "recipe": run.recipe,
        "metrics": run.metrics,
        "tags": run.tags,
        "started": run.started.isoformat(timespec="seconds"),
    }


def describe_methods(run: Run) -> dict[str, Any]:
    """Return the constants and descriptions of methods that texts name."""
    augmentation = AUGMENTATIONS.get(run.recipe.get("augmentation", ""))
    return {
        "confidence_level": CONFIDENCE_LEVEL,
        "resamples": RESAMPLES,
        "bins": BINS,
        "pixel_range": [0, 255],
        "metrics": {name: {"title": metric.title} for name, metric in all_metrics().items()},
        "augmentation": None if augmentation is None else augmentation.description,
    }


def find_sweep_of(store: Store, run: Run, reference: str) -> dict[str, Any] | None:
    """Return the sweep that was named or that has chosen the run; None if there is none."""
    runs = store.runs()
    chosen = [sweep for sweep, value in strip_prefix(run.tags, CHOSEN_BY).items() if value == "true"]
    sweep = find_sweep(reference, runs) or next(iter(chosen), None)
    if sweep is None:
        return None
    try:
        params = store.params(sweep)
    except StoreError:  # the run of the sweep was deleted
        return None
    trials = [trial for trial in runs if trial.parent == sweep and trial.tags.get("role", "search") == "search"]
    statuses = Counter(trial.status for trial in trials)
    return {
        "id": sweep,
        "params": {name: value for name, value in params.items() if not name.startswith("searched.")},
        "searched": strip_prefix(params, "searched."),
        "trials": len(trials),
        "finished": statuses["finished"],
        "failed": statuses["failed"],
        "stopped_early": sum("stopped_early" in trial.tags for trial in trials),
        "repeats": sum(trial.parent == sweep and trial.tags.get("role") == "repeat" for trial in runs),
    }
