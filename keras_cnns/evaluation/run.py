"""A run's network measured on a split that did not choose it, and the result kept with the run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_cnns.data import Dataset, load
from keras_cnns.evaluation.checks import (
    check_fit,
    check_groups,
    check_report,
    check_split,
    check_views,
    find_split,
    is_own,
)
from keras_cnns.evaluation.confusion import CONFUSION, Confusion, confusion_of
from keras_cnns.evaluation.ensembles import Ensemble, Settled, find_runs, open_ensemble
from keras_cnns.evaluation.intervals import Interval
from keras_cnns.evaluation.measured import Measured, Predicted, as_named, in_names
from keras_cnns.evaluation.metrics import Threshold, decide
from keras_cnns.evaluation.network import Tell
from keras_cnns.evaluation.notes import notes
from keras_cnns.evaluation.report import REPORT, write_report, write_whole
from keras_cnns.evaluation.subgroups import find_columns, in_words, incomparable, subgroups
from keras_cnns.tracking import Looks, Store

METRICS_AT_A_TIME = 500


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run whose network is measured.

    Attributes:
        run_id: The run.
        name: What it is called.
        model: The variant's name.
    """

    run_id: str
    name: str
    model: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """How good a run's network is on a split, or those of several runs together.

    Attributes:
        members: The runs; the result is kept with the first.
        data_name: What the images are called.
        data_fingerprint: What tells the data set, with all its splits, from all others.
        split: "validation", "test" or "all".
        external: Whether these are other images than the runs' own.
        class_names: The classes or, where an image has any number of them, the labels.
        labels: The true class of each image; of labels 0 or 1 for each, shape (images, labels).
        probabilities: The probability of each class, shape (images, classes), before temperature scaling.
        measured: Metrics and intervals; for labels the means over them.
        by_label: The same of each label; empty for classes.
        by: The same of each value of each column that was asked for.
        settled: The threshold and the temperature, and what settled them.
        grouped: What the intervals draw as a whole: "patients", "groups", a column's name, "" for images.
        groups: How many of those there are; None where they draw images.
        views: How many views of each image were taken the mean of, itself among them.
        preset: How the other views were augmented.
        looks: How often the test split was looked at, this time included; None for validation images.
        notes: What has to be said beside the numbers.
        key: Tells these members together from any others; "" for one run.
        kept: Where the report and its picture are among the first run's files.
    """

    members: tuple[Member, ...]
    data_name: str
    data_fingerprint: str
    split: str
    external: bool
    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    measured: Measured
    by_label: Mapping[str, Measured]
    by: Mapping[str, Mapping[str, Measured]]
    settled: Settled
    grouped: str
    groups: int | None
    views: int
    preset: str
    looks: Looks | None
    notes: tuple[str, ...]
    key: str = ""
    kept: str = ""

    @property
    def run_id(self) -> str:
        """The run that the result is kept with."""
        return self.members[0].run_id

    @property
    def metrics(self) -> Mapping[str, float]:
        """Every metric that is defined on these images."""
        return self.measured.metrics

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """Their 95 % intervals, each where there is one."""
        return self.measured.intervals

    @property
    def threshold(self) -> Threshold:
        """From which probability on an image counts as of class 1 of two, or as having each of several labels."""
        return self.settled.threshold

    @property
    def temperature(self) -> float | None:
        """What the logits are divided by for the metrics and curves after temperature scaling."""
        return self.settled.temperature

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of labels."""
        return self.labels.ndim == 2

    @property
    def predicted(self) -> np.ndarray:
        """What each image is taken for: a class, or 0 or 1 for each label."""
        return decide(self.probabilities, self.threshold)

    @property
    def confusion(self) -> Confusion:
        """How many images of each class are taken for each class."""
        return confusion_of(self.labels, self.predicted, self.class_names)

    @property
    def images_by_class(self) -> dict[str, int]:
        """How many images there are of each class, or with each label."""
        counts = self.labels.sum(axis=0) if self.multi_label else np.bincount(
            self.labels, minlength=len(self.class_names)
        )  # fmt: skip
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def prefix(self) -> str:
        """What the names of these metrics begin with in MLflow."""
        together = "ensemble_" if self.key else ""
        return f"{together}external_{self.split}_" if self.external else f"{together}{self.split}_"

    @property
    def place(self) -> str:
        """The folder of the report among the first run's files."""
        room = f"ensemble/{self.key}" if self.key else "evaluation"
        return f"{room}/external_{self.split}_{self.data_fingerprint}" if self.external else f"{room}/{self.split}"

    def as_metrics(self) -> dict[str, float]:
        """Return metrics and the ends of their intervals, by the names that they have in MLflow."""
        named = self.measured.as_metrics(self.prefix) | as_named(self.by_label, f"{self.prefix}label_")
        for column, parts in self.by.items():
            named |= as_named(parts, f"{self.prefix}by_{in_names(column)}_")
        return named


def evaluate(
    run: str | Sequence[str],
    data: str | Dataset,
    *,
    split: str = "test",
    groups: np.ndarray | str | None = None,
    by: str | Sequence[str] = (),
    views: int = 1,
    seed: int = 0,
    tracking_uri: str | None = None,
    report: str | Path | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """Measure a run's network on a split, and keep the result with the run.

    The network, the threshold and the temperature come from what MLflow holds of the run; nothing is chosen on the
    images that are measured. Several networks together, and several views of each image, settle their own threshold
    and temperature on the validation images where the data are the runs' own. Each look at a test split is counted,
    for each run.

    Args:
        run: The run's id, the beginning of it, or a name that no other run has; the id of a sweep for its best
            trial; or several, whose mean probabilities count.
        data: A source that `load` reads, or images already loaded.
        split: "test" or "validation"; "all" takes all images of a source that the run was not trained on.
        groups: What each image of the split belongs to that the bootstrap draws as a whole: one for each image, or
            the name of a column; by default the patient, where the source knows it.
        by: Columns of the source; the images of each value are measured apart too.
        views: Over how many views of each image to take the mean: itself, and others augmented as in training.
        seed: Seed of the bootstrap.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        report: A file ending in .html to write the report to as well, its picture beside it as .png.
        tell: Told what is being done.

    Raises:
        StoreError: There is no such run, or it has kept no network.
        DataError: The images cannot be read, or there is no such split.
        EvaluationError: Network and images do not fit, there is no such column, or the report cannot be written.
    """
    check_split(split)
    check_views(views)
    page = check_report(report)
    store = Store(tracking_uri, create=False)
    runs = find_runs(store, run)  # a mistake in them is told before images are read
    dataset = load(data) if isinstance(data, str) else data
    chosen = find_split(dataset, split)
    columns = find_columns(chosen, [by] if isinstance(by, str) else by, dataset.name, "--by")
    words = {name: in_words(name, column) for name, column in columns.items()}
    units, grouped = check_groups(groups, chosen, dataset.name)
    ensemble = open_ensemble(store, runs, tell=tell)
    labels = check_fit(ensemble, dataset, chosen, split)
    settled = settle(store, ensemble, dataset, views=views, tell=tell)
    probabilities = ensemble.probabilities(chosen.images, views=views, tell=tell)
    looks = None if split == "validation" else look(store, ensemble, chosen.fingerprint)
    predicted = Predicted(labels=labels, probabilities=probabilities, settled=settled, groups=units, seed=seed)
    if tell is not None:
        tell("intervals")
    names = ensemble.first.class_names
    found = Evaluation(
        members=tuple(
            Member(run_id=member.run.id, name=member.run.name, model=member.run.model) for member in ensemble.members
        ),
        data_name=dataset.name,
        data_fingerprint=dataset.fingerprint,
        split=split,
        external=not is_own(ensemble, dataset),
        class_names=names,
        labels=labels,
        probabilities=probabilities,
        measured=predicted.measured(),
        by_label={
            name: predicted.of_label(label).measured() for label, name in enumerate(names if labels.ndim == 2 else ())
        },
        by={name: subgroups(predicted, values) for name, values in words.items()},
        settled=settled,
        grouped=grouped,
        groups=None if units is None else len(np.unique(units)),
        views=views,
        preset=", ".join(sorted({member.preset for member in ensemble.members})) if views > 1 else "",
        looks=looks,
        notes=(
            *notes(ensemble, dataset, split, chosen, settled, grouped=grouped, views=views),
            *(incomparable(labels, words, names) if labels.ndim == 2 else ()),
        ),
        key=ensemble.key,
    )
    return keep(store, found, page)


def settle(store: Store, ensemble: Ensemble, dataset: Dataset, *, views: int, tell: Tell | None) -> Settled:
    """Return threshold and temperature, settled anew where the images' own validation split can do it.

    What several networks together have is kept with each of them, so that `predict` decides as `evaluate` does.
    """
    all_own = all(member.run.data_fingerprint == dataset.fingerprint for member in ensemble.members)
    if not all_own or ensemble.knows_validation or (ensemble.single and views == 1):
        return ensemble.carried()
    settled = ensemble.settle(dataset, views=views, tell=tell)
    if not ensemble.single and views == 1:
        for member in ensemble.members:
            store.log_metrics(member.run.id, ensemble.as_metrics(settled))
    return settled


def look(store: Store, ensemble: Ensemble, fingerprint: str) -> Looks:
    """Count a look of each network at a test split; return those of the first."""
    found = [store.look(member.run.id, fingerprint) for member in reversed(ensemble.members)]
    return found[-1]


def keep(store: Store, found: Evaluation, page: Path | None) -> Evaluation:
    """Keep metrics and report with the first run, and write the report to a page as well."""
    named = list(found.as_metrics().items())
    for begin in range(0, len(named), METRICS_AT_A_TIME):
        store.log_metrics(found.run_id, dict(named[begin : begin + METRICS_AT_A_TIME]))
    with tempfile.TemporaryDirectory() as folder:
        files = write_report(found, Path(folder, REPORT))
        counts = Path(folder, CONFUSION)
        counts.write_text(found.confusion.to_json(), "utf-8")
        kept = store.log_files(found.run_id, *files, counts, into=found.place)
        for file, wanted in zip(files, (page, page.with_suffix(".png")) if page is not None else (), strict=False):
            write_whole(wanted, file.read_bytes())
    return replace(found, kept=kept)
