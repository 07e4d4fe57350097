"""A run's network measured on a split that did not choose it, and the result kept with the run."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_cnns.data import Dataset, load
from keras_cnns.data.dataset import Split
from keras_cnns.errors import DataError, EvaluationError, nearest
from keras_cnns.evaluation.intervals import Interval, intervals
from keras_cnns.evaluation.metrics import Measures, decide, measure
from keras_cnns.evaluation.network import RunNetwork, open_network
from keras_cnns.evaluation.report import REPORT, write_report
from keras_cnns.tracking import Looks, Store

MEASURED = ("validation", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """How good a run's network is on a split.

    Attributes:
        run_id: The run.
        run_name: What it is called.
        model: The variant's name.
        data_name: What the images are called.
        data_fingerprint: What tells the data set, with all its splits, from all others.
        split: "validation" or "test".
        external: Whether these are other images than the run's own.
        class_names: The classes, by label.
        labels: The true class of each image.
        probabilities: The probability of each class, shape (images, classes), before temperature scaling.
        metrics: Every metric of `Measures` that is defined here.
        intervals: Their 95 % intervals, each where there is one.
        groups: How many groups, such as patients, the intervals draw from; None where they draw images.
        threshold: From which probability of class 1 on, of two classes, an image counts as one of it; it comes from
            validation images. None where there is none: the likeliest class counts.
        temperature: What the logits are divided by for the metrics and curves after temperature scaling.
        looks: How often the test split was looked at, this time included; None for validation images.
        notes: What has to be said beside the numbers.
        kept: Where the report and its picture are among the run's files.
    """

    run_id: str
    run_name: str
    model: str
    data_name: str
    data_fingerprint: str
    split: str
    external: bool
    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    groups: int | None
    threshold: float | None
    temperature: float | None
    looks: Looks | None
    notes: tuple[str, ...]
    kept: str = ""

    @property
    def predicted(self) -> np.ndarray:
        """The class that each image is taken for."""
        return decide(self.probabilities, self.threshold)

    @property
    def images_by_class(self) -> dict[str, int]:
        """How many images there are of each class."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def prefix(self) -> str:
        """What the names of these metrics begin with in MLflow."""
        return f"external_{self.split}_" if self.external else f"{self.split}_"

    def as_metrics(self) -> dict[str, float]:
        """Return metrics and the ends of their intervals, by the names that they have in MLflow."""
        named = {f"{self.prefix}{name}": value for name, value in self.metrics.items()}
        for name, interval in self.intervals.items():
            named[f"{self.prefix}{name}_low"] = interval.low
            named[f"{self.prefix}{name}_high"] = interval.high
        return named


def evaluate(
    run: str,
    data: str | Dataset,
    *,
    split: str = "test",
    groups: np.ndarray | None = None,
    seed: int = 0,
    tracking_uri: str | None = None,
    report: str | Path | None = None,
) -> Evaluation:
    """Measure a run's network on a split, and keep the result with the run.

    The network, the threshold and the temperature come from what MLflow holds of the run; nothing is chosen here.
    Each look at a test split is counted.

    Args:
        run: The run's id, the beginning of it, or a name that no other run has.
        data: A source that `load` reads, or images already loaded.
        split: "test" or "validation".
        groups: What each image of the split belongs to that the bootstrap draws as a whole, such as its patient.
        seed: Seed of the bootstrap.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        report: A file ending in .html to write the report to as well, its picture beside it as .png.

    Raises:
        StoreError: There is no such run, or it has kept no network.
        DataError: The images cannot be read, or there is no such split.
        EvaluationError: Network and images do not fit, or the report cannot be written.
    """
    if split not in MEASURED:
        raise EvaluationError(
            f"split {split!r} cannot be evaluated: choose test, or validation; training images only show what a "
            f"network has seen.{nearest(split, MEASURED)}"
        )
    page = check_report(report)
    store = Store(tracking_uri, create=False)
    store.run(run)  # a mistake in the run is told before images are read
    dataset = load(data) if isinstance(data, str) else data
    chosen = find_split(dataset, split)
    network = open_network(store, run)
    labels = check_fit(network, dataset, chosen)
    groups = check_groups(groups, len(chosen))
    probabilities = network.probabilities(chosen.images)
    looks = store.look(network.run.id, chosen.fingerprint) if split == "test" else None
    threshold, temperature = network.threshold, network.temperature
    measures = Measures(labels, probabilities, threshold=threshold, temperature=temperature)
    found = Evaluation(
        run_id=network.run.id,
        run_name=network.run.name,
        model=network.run.model,
        data_name=dataset.name,
        data_fingerprint=dataset.fingerprint,
        split=split,
        external=is_external(network, dataset),
        class_names=network.class_names,
        labels=labels,
        probabilities=probabilities,
        metrics=measure(labels, probabilities, threshold=threshold, temperature=temperature),
        intervals=intervals(measures, len(labels), groups=groups, seed=seed),
        groups=None if groups is None else len(np.unique(groups)),
        threshold=threshold,
        temperature=temperature,
        looks=looks,
        notes=tuple(notes(network, dataset, split, grouped=groups is not None)),
    )
    store.log_metrics(found.run_id, found.as_metrics())
    place = f"evaluation/{found.prefix}{dataset.fingerprint}" if found.external else f"evaluation/{split}"
    with tempfile.TemporaryDirectory() as folder:
        files = write_report(found, Path(folder, REPORT))
        found = replace(found, kept=store.log_files(found.run_id, *files, into=place))
    if page is not None:
        write_report(found, page)
    return found


def find_split(dataset: Dataset, name: str) -> Split:
    """Return a split, or say which there are."""
    if name not in dataset.splits:
        there = ", ".join(split for split in MEASURED if split in dataset.splits)
        raise DataError(
            f"{dataset.name} has no {name} split, and none is made up: "
            + (f"--split {there} is there." if there else "give a source that has one.")
        )
    return dataset.splits[name]


def check_fit(network: RunNetwork, dataset: Dataset, split: Split) -> np.ndarray:
    """Return the split's labels as the network counts its classes, or say why it cannot take these images."""
    run, names = network.run.id, network.class_names
    shape = tuple(split.images.shape[1:])
    if shape != network.image_shape:
        height, width, channels = network.image_shape
        size = f"--image-size {height} (image_size={height})" if height == width else f"image_size=({height}, {width})"
        works = [size] if shape[:2] != (height, width) else []
        works += [f"--channels {channels} (channels={channels})"] if shape[2] != channels else []
        raise EvaluationError(
            f"{dataset.name}: images are {by(shape)} and the network of run {run} takes {by(network.image_shape)}; "
            f"{' and '.join(works)} would fit."
        )
    if dataset.classes != len(names):
        raise EvaluationError(
            f"{dataset.name} has {dataset.classes} classes and the network of run {run} tells {len(names)} apart "
            f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}); give images in those classes."
        )
    if sorted(dataset.class_names) == sorted(names):
        return np.asarray(np.array([names.index(name) for name in dataset.class_names])[split.labels])
    return split.labels


def check_groups(groups: np.ndarray | None, images: int) -> np.ndarray | None:
    """Return the groups as an array, or say that they are not one for each image."""
    if groups is not None and np.shape(groups) != (images,):
        raise EvaluationError(
            f"groups has shape {np.shape(groups)} and there are {images} images; give one group for each image."
        )
    return None if groups is None else np.asarray(groups)


def check_report(path: str | Path | None) -> Path | None:
    """Return where the report is to be written as well, or say why it cannot be, before any work is done for it."""
    if path is None:
        return None
    page = Path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise EvaluationError(f"cannot write the report {page}: its name has to end in .html.")
    if not os.access(page.parent, os.W_OK | os.X_OK) or page.is_dir():
        raise EvaluationError(f"cannot write the report {page}: name a file in a folder that can be written.")
    return page


def is_external(network: RunNetwork, dataset: Dataset) -> bool:
    """Return whether images come from another data set than the run's own."""
    return dataset.fingerprint != network.run.data_fingerprint


def notes(network: RunNetwork, dataset: Dataset, split: str, *, grouped: bool) -> Iterator[str]:
    """Yield what has to be said beside the numbers."""
    run = network.run
    if is_external(network, dataset):
        yield (
            f"These are not the images of the run ({run.data_name}, fingerprint {run.data_fingerprint or 'unknown'}) "
            f"but an external set ({dataset.name}, fingerprint {dataset.fingerprint})."
        )
    elif split == "validation":
        yield (
            "These images chose the epoch, the threshold and the temperature: the numbers are too good for new images."
        )
    if sorted(dataset.class_names) != sorted(network.class_names):
        yield (
            f"The classes are called {', '.join(dataset.class_names)} here and {', '.join(network.class_names)} in the "
            f"run; they are taken to be the same in this order."
        )
    elif dataset.class_names != network.class_names:
        yield "The classes come in another order than in the run; they are matched by name."
    twice = repeated(dataset, split)
    if twice:
        yield f"Images that are, pixel by pixel, training images too: {twice:,} of {len(dataset.splits[split]):,}."
    if len(network.class_names) == 2 and network.threshold is None:
        yield "The run has no threshold from validation images: the likelier class counts."
    if network.temperature is None:
        yield "The run has no temperature from validation images: there is nothing after temperature scaling."
    if not grouped:
        yield (
            "The intervals take each image for a draw of its own. Where a patient has several images here, they are "
            "too narrow."
        )
    yield from dataset.notes


def repeated(dataset: Dataset, split: str) -> int:
    """Return how many images of a split are among the training images of the same data set."""
    if "train" not in dataset.splits:
        return 0
    known = {hashlib.sha256(image.tobytes()).digest() for image in dataset.splits["train"].images}
    return sum(hashlib.sha256(image.tobytes()).digest() in known for image in dataset.splits[split].images)


def by(shape: Sequence[int]) -> str:
    """Write a shape: 28x28x1."""
    return "x".join(map(str, shape))
