"""Repetition of a run from its lock file: the same images, training and evaluation, and a comparison of the results."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_cnns.data import Dataset, load
from keras_cnns.data.dataset import list_examples
from keras_cnns.data.flow import describe_split
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.errors import ModelNameError, ReportError, SettingError, WeightsError
from keras_cnns.evaluation import Evaluation, evaluate
from keras_cnns.networks.baselines.code import Code
from keras_cnns.networks.baselines.functions import check_recorded
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import find_variant
from keras_cnns.networks.settings import Settings
from keras_cnns.pretrained.runs import find_any_weights
from keras_cnns.tracking import Store
from keras_cnns.tracking.runs import installed_packages
from keras_cnns.training.devices import describe_hardware
from keras_cnns.training.run import train
from keras_cnns.writing.lock import read_lock

TOLERANCE = 1e-6
"""The largest difference between two results that are regarded as equal."""
IMPORTANT = ("keras-cnns", "tensorflow", "keras", "numpy", "scikit-learn", "scipy", "pillow", "simplejpeg", "pydicom")
"""The packages on which results depend most."""


@dataclass(frozen=True)
class Result:
    """A result of the recorded and of the repeated run.

    Attributes:
        name: Its name.
        recorded: The recorded value.
        repeated: The new value; None if the metric is not defined now.
    """

    name: str
    recorded: float
    repeated: float | None

    @property
    def difference(self) -> float:
        """The absolute difference; infinite if the new value is not defined."""
        if self.repeated is None or math.isnan(self.repeated) != math.isnan(self.recorded):
            return math.inf
        return (
            0.0 if self.recorded == self.repeated or math.isnan(self.recorded) else abs(self.recorded - self.repeated)
        )


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A repeated run.

    Attributes:
        run_id: The ID of the new run.
        recorded_run_id: The ID of the run in the lock file.
        results: The results of both.
        notes: What is different now: versions and hardware.
    """

    run_id: str
    recorded_run_id: str
    results: tuple[Result, ...]
    notes: tuple[str, ...]

    @property
    def difference(self) -> float:
        """The largest difference of a result."""
        return max((result.difference for result in self.results), default=0.0)

    @property
    def equal(self) -> bool:
        """Whether all results are equal within `TOLERANCE`."""
        return self.difference <= TOLERANCE


@shows_progress
def reproduce(
    file: str | Path,
    data: str | None = None,
    *,
    experiment: str = "reproduce",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress: bool | Progress = True,
) -> Reproduction:
    """Repeat the training and the evaluation of a lock file, and compare the results.

    On the same machine with the same versions the results are equal. An evaluation on a test split is counted.

    Args:
        file: The `lock.json` of a write-up.
        data: The source of the images; by default that in the lock file.
        experiment: MLflow experiment of the new run.
        tracking_uri: The store of the new run; by default that of MLflow's environment variable, or `./mlflow.db`.
        folder: The folder for the checkpoints of all trainings.
        progress: Whether to show progress, or what receives it.

    Raises:
        ReportError: The lock file cannot be read or repeated, or the images are not those of the recorded run.
        KerasCnnsError: The images cannot be read, or training fails.
    """
    lock = read_lock(file)
    training = lock["training"]
    if training.get("cross_validation"):
        run = lock["run"]["id"]
        raise ReportError(f"{file}: run {run} is a cross-validation; repeat it with `keras-cnns train --folds`.")
    if training["trained_on"] != "train":
        images = training["trained_on"]
        raise ReportError(
            f"{file}: the run is a refit, trained on {images} images; reproduce the trial that it repeats."
        )
    settings, recipe = parse_settings(file, training)
    weights = find_recorded_weights(file, training, settings.as_dict(), tracking_uri)
    dataset = load_recorded(file, lock["data"], data)
    check_fingerprint(file, lock["data"], dataset)
    trained = train(
        training["model"],
        dataset,
        settings=settings.as_dict(),
        recipe=recipe,
        weights=weights,
        seed=training["seed"],
        experiment=experiment,
        tracking_uri=tracking_uri,
        folder=folder,
        progress=progress,
    )
    notes = list(describe_differences(lock["environment"]))
    recorded = dict(name_results(lock["results"]))
    if lock["evaluation"]["external"]:
        name = lock["evaluation"]["data"]
        notes.append(f"The evaluation on {name} is not repeated: a lock file names the images of the training only.")
        recorded = {name: value for name, value in recorded.items() if name in lock["results"]["training"]}
        evaluation = None
    else:
        evaluation = evaluate(trained.run_id, dataset, tracking_uri=tracking_uri, progress=progress,
                              **evaluation_options(file, lock["evaluation"]))  # fmt: skip
    metrics = Store(tracking_uri, create=False).run(trained.run_id).metrics
    repeated = dict(name_results(new_results(metrics, evaluation)))
    results = tuple(Result(name, value, repeated.get(name)) for name, value in recorded.items())
    return Reproduction(
        run_id=trained.run_id, recorded_run_id=lock["run"]["id"], results=results, notes=tuple(notes)
    )  # fmt: skip


def parse_settings(recorded: str | Path, training: Mapping[str, Any]) -> tuple[Settings, Recipe]:
    """Return the settings and the recipe of a training, given the lock file or the run that recorded it.

    Raises:
        ReportError: This version lacks them, or the file with the network is missing, has changed, or has not been
            executed on this machine.
    """
    try:
        check_recorded(training["model"], Code.from_tags(training.get("code", {})))
        _, variant = find_variant(training["model"])
        return variant.settings.replace_strings(training["settings"]), Recipe().replace_strings(training["recipe"])
    except SettingError as error:
        raise ReportError(f"{recorded}: {error} Use the version of keras-cnns that recorded it.") from None
    except ModelNameError as error:
        raise ReportError(f"{recorded}: {error}") from None


def find_recorded_weights(
    file: str | Path, training: Mapping[str, Any], settings: Mapping[str, Any], tracking_uri: str | None
) -> str | None:
    """Return the reference of the weights that the recorded run began with; None for random ones.

    Raises:
        ReportError: They are not available, or are not the same.
    """
    recorded = training.get("weights")
    if recorded is None:
        return None
    reference = str(recorded["reference"])
    try:
        found = find_any_weights(reference, training["model"], tracking_uri, settings)
    except WeightsError as error:
        raise ReportError(f"{file}: the run began with weights that are not available: {error}") from None
    if found.sha256 != recorded["sha256"]:
        raise ReportError(
            f"{file}: the weights {reference} ({found.source}) are not those that the run began with: their SHA-256 is "
            f"{found.sha256} instead of {recorded['sha256']}; restore the recorded file."
        )
    return reference


def load_recorded(file: str | Path, recorded: Mapping[str, Any], data: str | None) -> Dataset:
    """Load the images of a lock file as they were read for the recorded run."""
    source = data or recorded["source"]
    if not source:
        raise ReportError(f"{file}: does not name the source of the images; name it with --data (data).")
    known = inspect.signature(load).parameters
    unknown = sorted(recorded["reading"].keys() - known.keys())
    if unknown:
        raise ReportError(
            f"{file}: images were read with {', '.join(unknown)}, which this version does not have; use the version "
            f"in the lock file."
        )
    options = {name: value for name, value in recorded["reading"].items() if value is not None}
    return load(source, **options, ranges=recorded["ranges"])


def check_fingerprint(file: str | Path, recorded: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise a `ReportError` that says what differs if a dataset is not that of the recorded run."""
    if dataset.fingerprint != recorded["fingerprint"]:
        differences = list_examples(find_data_differences(recorded, dataset), "; ")
        raise ReportError(
            f"{file}: {dataset.name} is not the dataset of the recorded run: {differences}; use the same images and "
            f"table, with --data (data) if they have moved."
        )


def find_data_differences(recorded: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """Yield what differs between a dataset and the recorded one."""
    if list(dataset.class_names) != recorded["class_names"]:
        yield f"the classes are {', '.join(dataset.class_names)} instead of {', '.join(recorded['class_names'])}"
    for name in dict.fromkeys((*recorded["splits"], *dataset.splits)):
        if name not in dataset.splits:
            yield f"there is no {name} split"
        elif name not in recorded["splits"]:
            yield f"there is a {name} split"
        else:
            expected, found = recorded["splits"][name], describe_split(dataset.splits[name], dataset.class_names)
            if found["images"] != expected["images"]:
                yield f"the {name} split has {found['images']:,} images instead of {expected['images']:,}"
            elif found["fingerprint"] != expected["fingerprint"]:
                yield f"pixels, labels or the order of the {name} images differ"
            elif found["patients"] != expected["patients"]:
                yield f"the {name} split has {found['patients']} patients instead of {expected['patients']}"
    if not recorded["splits"]:
        yield f"the fingerprint is {dataset.fingerprint} instead of {recorded['fingerprint']}"


def evaluation_options(file: str | Path, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `evaluate` for the recorded evaluation."""
    if recorded["grouped_by"] == "groups":
        raise ReportError(f"{file}: the groups of the bootstrap were passed as an array, which a lock file lacks.")
    rule = recorded["threshold_rule"] or {"kind": "youden"}
    options = {name: recorded[name] for name in ("split", "positive", "by", "tta")} | {"seed": recorded["seed"] or 0}
    if recorded["grouped_by"] not in (None, "patients"):
        options["groups"] = recorded["grouped_by"]
    if rule["kind"] != "youden":
        options["threshold" if rule["kind"] == "fixed" else rule["kind"]] = rule["value"]
    return options


def new_results(metrics: Mapping[str, float], evaluation: Evaluation | None) -> dict[str, Any]:
    """Return the results of the new run, as in a lock file."""
    if evaluation is None:
        return {"training": metrics, "metrics": {}, "intervals": {}}
    intervals = {name: [interval.low, interval.high] for name, interval in evaluation.intervals.items()}
    return {"training": metrics, "metrics": evaluation.metrics, "intervals": intervals}


def name_results(results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every result by a name that says what it is."""
    yield from results["training"].items()
    for name, value in results["metrics"].items():
        yield f"evaluation {name}", value
        for end, limit in zip(("low", "high"), results["intervals"].get(name, ()), strict=False):
            yield f"evaluation {name} {end}", limit


def describe_differences(recorded: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is different from the recorded software and hardware."""
    installed = installed_packages()
    changed = [
        f"{name} {installed.get(name, 'not installed')} instead of {version}"
        for name, version in recorded["packages"].items()
        if installed.get(name) != version
    ]
    if changed:
        changed.sort(key=lambda change: change.partition(" ")[0] not in IMPORTANT)
        yield f"Packages of other versions, {len(changed):,}: {list_examples(changed)}."
    processor = describe_hardware()["hardware.processor"]
    before = recorded["hardware"].get("processor")
    if before and processor != before:
        yield f"The processor is {processor} instead of {before}."
