"""Comparison of several networks, and of readers with networks, on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from keras_cnns.comparing.paired_differences import (
    DELONG,
    MCNEMAR,
    PairedDifference,
    correct_for_comparisons,
    format_columns,
    paired_differences,
)
from keras_cnns.comparing.readers import Reader, read_readers
from keras_cnns.data import Dataset, Split
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.calibration import binary_probabilities
from keras_cnns.evaluation.compatibility import check_split, select_groups, select_split
from keras_cnns.evaluation.ensemble import Ensemble, find_runs, load_ensemble
from keras_cnns.evaluation.evaluation import evaluate
from keras_cnns.evaluation.intervals import RESAMPLES
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.results import GROUPS, PATIENTS, Evaluation
from keras_cnns.evaluation.run_images import load_for_run
from keras_cnns.tracking import Store


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two networks, or a network and a reader, on the same images.

    Attributes:
        names: The names of both.
        images: Number of images that both have answers for.
        groups: Number of groups of these images, such as patients; None if images are independent.
        differences: The differences of metrics, the second minus the first, by name.
    """

    names: tuple[str, str]
    images: int
    groups: int | None
    differences: Mapping[str, PairedDifference]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelComparison(Summarized):
    """A comparison of networks and readers on the same images.

    Attributes:
        evaluations: The evaluation of each run.
        pairs: All pairs of runs, and of a run and a reader. p-values are corrected for their number, for each metric.
        grouped_by: What the intervals and tests take as a whole, see `Evaluation.grouped_by`.
        notes: Caveats about the readers and the images.
    """

    evaluations: tuple[Evaluation, ...]
    pairs: tuple[Pair, ...]
    grouped_by: str
    notes: tuple[str, ...] = ()

    def explanations(self) -> Iterator[str]:
        """Yield sentences on what the differences, intervals and tests are."""
        tests = {difference.test for pair in self.pairs for difference in pair.differences.values()}
        groups = {PATIENTS: "patients", GROUPS: "groups"}.get(self.grouped_by, f"groups by {self.grouped_by}")
        yield "The differences are those of the second minus the first."
        if DELONG in tests:
            extended = f", with Obuchowski's variance for {groups}" if self.grouped_by else ""
            yield f"p and interval of the AUC: DeLong's test{extended}."
        if MCNEMAR in tests:
            extended = f", as a permutation test of whole {groups}" if self.grouped_by else ""
            yield f"p of accuracy, sensitivity and specificity: McNemar's exact test{extended}."
        unit = f"whole {groups}" if self.grouped_by else "single images, which are assumed to be independent"
        yield f"Other intervals: paired bootstrap, {RESAMPLES:,} resamples of {unit}."
        if len(self.pairs) > 1:
            yield f"p-values are corrected for {len(self.pairs)} comparisons of each metric by Holm's method."

    def summary(self) -> Summary:
        """Return a table of the differences of each pair."""
        first, corrected = self.evaluations[0], len(self.pairs) > 1
        return Summary(
            title=f"comparison on {len(first.labels):,} images of {first.data_name}, {first.split}",
            tables=[
                SummaryTable(
                    title=f"{pair.names[1]} minus {pair.names[0]}, {pair.images:,} images",
                    columns=format_columns(corrected=corrected),
                    rows=[found.format(corrected=corrected) for found in pair.differences.values()],
                )
                for pair in self.pairs
            ],
            notes=[*self.explanations(), *self.notes],
            addresses=[(f"report of {each.runs[0].label}", each.report) for each in self.evaluations],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-compatible values."""
        first = self.evaluations[0]
        return {
            "runs": [run.id for evaluation in self.evaluations for run in evaluation.runs],
            "data": first.data_name,
            "split": first.split,
            "images": first.images_by_class,
            "positive": first.positive,
            "grouped_by": self.grouped_by or None,
            "pairs": [asdict(pair) for pair in self.pairs],
            "test_set_evaluations": {
                evaluation.run_id: asdict(evaluation.test_set_evaluations)
                for evaluation in self.evaluations
                if evaluation.test_set_evaluations is not None
            },
            "explanations": list(self.explanations()),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """Runs whose networks form one candidate, with the images that it is evaluated on.

    Attributes:
        name: The name in tables.
        reference: How the user named it.
        ensemble: The network, or several as an ensemble.
        dataset: The images, as this network takes them.
        split: The evaluated split of it.
        image_names: The names of the images of this split.
    """

    name: str
    reference: str
    ensemble: Ensemble
    dataset: Dataset
    split: Split
    image_names: tuple[str, ...]


@shows_progress
def compare_models(
    runs: Sequence[str],
    data: str | Dataset | None = None,
    *,
    readers: str | Path | None = None,
    reading: Mapping[str, Any] | None = None,
    split: str = "test",
    groups: np.ndarray | str | None = None,
    positive: str | None = None,
    class_map: Mapping[str, str] | None = None,
    seed: int = 0,
    tracking_uri: str | None = None,
    progress: bool | Progress = True,
) -> ModelComparison:
    """Compare the networks of several runs, or readers with them, on the same images.

    Each run is evaluated by `evaluate`, which stores the result in the run and counts the evaluation of a test split
    for each run. See `paired_differences` for the tests and intervals of each pair.

    Args:
        runs: The runs, each as in `evaluate`; one is enough with readers.
        data: A source that `load` reads, or a dataset; by default the images that each run was trained on, which must
            be the same files.
        readers: A table of the answers of readers, see `read_readers`; each reader is compared with each run.
        reading: Arguments of `load` for a source, as in `evaluate`.
        split: "test", "validation" or "all", as in `evaluate`.
        groups: Groups of images that are not independent, as in `evaluate`; by default the patients, if known.
        positive: The positive class of two, as in `evaluate`.
        class_map: The class of the runs for classes of the data with another name, as in `evaluate`.
        seed: Seed of the bootstrap.
        tracking_uri: The store of the runs.
        progress: Whether to show progress, or what receives it.

    Raises:
        StoreError: There is no such run, or it has no saved network.
        DataError: The images or the readers cannot be read, or there is no such split.
        EvaluationError: There is nothing to compare, a run cannot be evaluated on the images, or the runs do not have
            the same images or classes.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    if len(runs) + (readers is not None) < 2:
        raise EvaluationError("one run cannot be compared; name another run, or a table of readers.")
    check_split(split)
    store = Store(tracking_uri, create=False)
    candidates = load_candidates(store, runs, data, reading or {}, split=split, progress=progress)
    first = candidates[0]
    group_of_image, grouped_by = select_groups(groups, first.split, first.dataset.name)
    orders = [match_images(first, candidate) for candidate in candidates]
    network = first.ensemble.first
    if readers is not None:  # a mistake in the table is reported before an evaluation is counted
        if network.multi_label:
            raise EvaluationError(f"{readers}: readers can be compared with single-label networks only.")
        read_readers(Path(readers), first.image_names, network.class_names)
    evaluations = [
        evaluate(
            candidate.reference, candidate.dataset, split=split,
            groups=groups[np.argsort(order)] if isinstance(groups, np.ndarray) else groups, positive=positive,
            class_map=class_map, seed=seed, tracking_uri=tracking_uri, progress=progress,
        )
        for candidate, order in zip(candidates, orders, strict=True)
    ]  # fmt: skip
    progress.message("comparing")
    names = [candidate.name for candidate in candidates]
    predictions = [
        get_predictions(evaluation, order, evaluations[0], group_of_image, seed)
        for evaluation, order in zip(evaluations, orders, strict=True)
    ]
    for name, own in zip(names, predictions, strict=True):
        if not np.array_equal(own.labels, predictions[0].labels):
            raise EvaluationError(f"{name} and {names[0]} have other true classes for the same images; name the images "
                                  "with --data (data).")  # fmt: skip
    pairs = [
        compare_pair((names[one], names[other]), predictions[one], predictions[other])
        for one, other in itertools.combinations(range(len(runs)), 2)
    ]
    notes: tuple[str, ...] = ()
    if readers is not None:
        found = read_readers(Path(readers), first.image_names, evaluations[0].class_names)
        notes = found.notes
        pairs += [
            compare_reader(name, own, reader)
            for name, own in zip(names, predictions, strict=True)
            for reader in found.readers
        ]
    corrected = correct_for_comparisons([pair.differences for pair in pairs])
    pairs = [replace(pair, differences=own) for pair, own in zip(pairs, corrected, strict=True)]
    return ModelComparison(evaluations=tuple(evaluations), pairs=tuple(pairs), grouped_by=grouped_by, notes=notes)


def load_candidates(
    store: Store,
    references: Sequence[str],
    data: str | Dataset | None,
    reading: Mapping[str, Any],
    *,
    split: str,
    progress: Progress,
) -> list[Candidate]:
    """Load the networks and the images of runs; images that are read alike are read once.

    Raises:
        EvaluationError: A run is named twice, or the runs have other classes.
    """
    found = [find_runs(store, reference) for reference in references]
    ids = [tuple(run.id for run in runs) for runs, _ in found]
    if len(set(ids)) < len(ids):
        raise EvaluationError("a run cannot be compared with itself; name each run once.")
    ensembles = [load_ensemble(store, runs, notes, progress=progress) for runs, notes in found]
    labels = [
        ensemble.first.run.label if ensemble.is_single else reference
        for reference, ensemble in zip(references, ensembles, strict=True)
    ]
    classes = [ensemble.first.class_names for ensemble in ensembles]
    for label, other in zip(labels, classes, strict=True):
        if sorted(other) != sorted(classes[0]):
            raise EvaluationError(
                f"{labels[0]} has the classes {', '.join(classes[0])}, and {label} has {', '.join(other)}; compare "
                f"runs with the same classes."
            )
    datasets: dict[str, Dataset] = {}
    candidates = []
    for label, reference, ensemble in zip(labels, references, ensembles, strict=True):
        network = ensemble.first
        key = repr((network.image_shape, network.source, network.reading, network.ranges))
        if isinstance(data, Dataset):
            datasets[key] = data
        elif key not in datasets:
            progress.message("reading the images")
            datasets[key] = load_for_run(network, data, reading)
        images = select_split(datasets[key], split)
        names = tuple(images.image_name(split, index) for index in range(len(images)))
        candidates.append(
            Candidate(
                name=label,
                reference=reference,
                ensemble=ensemble,
                dataset=datasets[key],
                split=images,
                image_names=names,
            )
        )
    return candidates


def match_images(first: Candidate, other: Candidate) -> np.ndarray:
    """Return the index of each image of the first candidate among those of another one.

    Raises:
        EvaluationError: They do not have the same images.
    """
    index_of_name = {name: index for index, name in enumerate(other.image_names)}
    wanted, existing = len(first.image_names), len(other.image_names)
    if wanted != existing or index_of_name.keys() != set(first.image_names):
        missing = next((name for name in first.image_names if name not in index_of_name), None)
        example = "" if missing is None else f", which do not include {missing}"
        raise EvaluationError(
            f"{first.name} has {wanted:,} images, and {other.name} has {existing:,} other ones{example}; name the "
            f"images that both are to be compared on with --data (data)."
        )
    return np.array([index_of_name[name] for name in first.image_names])


def get_predictions(
    evaluation: Evaluation, order: np.ndarray, first: Evaluation, groups: np.ndarray | None, seed: int
) -> LabelledPredictions:
    """Return the predictions of an evaluation with the images and classes in the order of the first one.

    Raises:
        EvaluationError: The positive classes differ.
    """
    if evaluation.positive != first.positive:
        raise EvaluationError(
            f"the positive class is {first.positive} for run {first.run_id} and {evaluation.positive} for run "
            f"{evaluation.run_id}; choose one with --positive NAME (positive=NAME)."
        )
    columns = [evaluation.class_names.index(name) for name in first.class_names]
    labels, probabilities = evaluation.labels[order], evaluation.probabilities[order][:, columns]
    point, predicted = evaluation.operating_point, None
    if evaluation.multi_label:
        labels = labels[:, columns]
        if isinstance(point.threshold, tuple):
            point = replace(point, threshold=tuple(point.threshold[column] for column in columns))
    else:
        position = np.argsort(columns)
        labels, predicted = position[labels], position[evaluation.predicted[order]]
    return LabelledPredictions(
        labels=labels, probabilities=probabilities, operating_point=point, groups=groups, seed=seed,
        positive_is_known=evaluation.positive is not None or evaluation.multi_label, decisions=predicted,
    )  # fmt: skip


def compare_reader(name: str, network: LabelledPredictions, reader: Reader) -> Pair:
    """Compare a reader with a network on the images that the reader answered; the reader is the second one."""
    answered = np.flatnonzero(reader.answered)
    classes = network.probabilities.shape[1]
    probabilities = np.eye(classes)[reader.predicted]
    if reader.probability is not None:
        probabilities = binary_probabilities(reader.probability)
    answers = replace(
        network, probabilities=probabilities, decisions=reader.predicted,
        operating_point=replace(network.operating_point, temperature=None),
    )  # fmt: skip
    return compare_pair(
        (name, reader.name), network.take(answered), answers.take(answered), decisions_only=reader.probability is None
    )


def compare_pair(
    names: tuple[str, str], first: LabelledPredictions, second: LabelledPredictions, *, decisions_only: bool = False
) -> Pair:
    """Compare two networks, or a network and a reader, see `paired_differences`."""
    return Pair(
        names=names,
        images=len(first.labels),
        groups=None if first.groups is None else len(np.unique(first.groups)),
        differences=paired_differences(first, second, decisions_only=decisions_only),
    )
