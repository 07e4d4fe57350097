"""Caveats of an evaluation: notes on the images, the operating point, the metrics and the intervals."""

from __future__ import annotations

from collections.abc import Iterator

from keras_cnns.data import Dataset
from keras_cnns.data.classes import POSITIVE_NOTE, class_key
from keras_cnns.data.dataset import Split
from keras_cnns.evaluation.answer_notes import note_answers, note_copies, note_unusual
from keras_cnns.evaluation.compatibility import ALL
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.evaluation.intervals import RESAMPLES
from keras_cnns.evaluation.metrics import all_metrics, compute_scores
from keras_cnns.evaluation.operating_point import DEFAULT_THRESHOLD
from keras_cnns.evaluation.results import GROUPS, PATIENTS, Evaluation
from keras_cnns.evaluation.subgroups import MIN_GROUPS, MIN_IMAGES


def find_warnings(split: Split, evaluation: Evaluation) -> Iterator[str]:
    """Yield the notes that question the result of an evaluation of a split, and are shown on top of the report."""
    yield from note_copies(split, evaluation)
    yield from note_unusual(evaluation)
    yield from note_temperature(evaluation)
    yield from note_validation(evaluation)


def find_caveats(ensemble: Ensemble, dataset: Dataset, evaluation: Evaluation) -> Iterator[str]:
    """Yield the other notes of an evaluation of a split of a dataset."""
    yield from ensemble.notes
    yield from note_origin(ensemble, dataset, evaluation.split)
    yield from note_answers(evaluation)
    yield from note_precision(evaluation)
    yield from note_classes(evaluation)
    yield from note_positive(ensemble, dataset, evaluation)
    yield from note_operating_point(ensemble, evaluation)
    yield from (note for note in dataset.notes if not note.startswith(POSITIVE_NOTE))
    yield from note_patients(evaluation)
    yield from note_metrics(evaluation)
    yield from note_intervals(evaluation)


def note_temperature(evaluation: Evaluation) -> Iterator[str]:
    """Yield a note if temperature scaling makes the probabilities of these images worse."""
    temperature, labels = evaluation.operating_point.temperature, evaluation.labels
    if temperature is None or "brier_scaled" not in evaluation.metrics:
        return
    before = evaluation.probabilities
    after = evaluation.operating_point.scale(before, multi_label=evaluation.multi_label)
    scores = {
        "Brier score": (evaluation.metrics["brier"], evaluation.metrics["brier_scaled"]),
        "log loss": (compute_scores(labels, before)["loss"], compute_scores(labels, after)["loss"]),
    }
    worse = [f"{name} {own:.4f} → {scaled:.4f}" for name, (own, scaled) in scores.items()
             if round(scaled, 4) > round(own, 4)]  # fmt: skip
    if worse:
        yield (
            f"The temperature of {temperature:.2f} makes the probabilities of these images worse: {', '.join(worse)}. "
            f"It was fitted on {evaluation.operating_point.source}, which may be too few or too different."
        )


def note_origin(ensemble: Ensemble, dataset: Dataset, split: str) -> Iterator[str]:
    """Yield notes on whether the runs were trained on this dataset."""
    own = ensemble.runs_trained_on(dataset)
    others = [run.id for run in ensemble.runs if run not in own]
    run = ensemble.first.run
    if not own:
        yield (
            f"This is an external dataset ({dataset.name}, fingerprint {dataset.fingerprint}); the run was trained on "
            f"{run.data_name}, fingerprint {run.data_fingerprint or 'unknown'}."
        )
        if run.data_name == dataset.name:
            yield (
                "It has the name of the run's own dataset. If it is the same dataset with other splits or another "
                "image size, the network may have been trained on some of these images."
            )
        if split == ALL:
            yield f"All images of {dataset.name} are evaluated, whatever their split."
    elif others:
        yield (
            f"Runs trained on another dataset, or on other splits of this one: {', '.join(others)}. Whether they were "
            f"trained on some of these images is not known."
        )
    elif split == "validation":
        chooses_epoch = any(run.recipe.get("keep") != "last" for run in ensemble.runs)
        chosen = f"{'epoch, ' if chooses_epoch else ''}threshold and temperature"
        yield f"These images were used to choose the {chosen}: the metrics are too optimistic for new images."


def note_classes(evaluation: Evaluation) -> Iterator[str]:
    """Yield a note on how the classes of the dataset are matched with those of the run, unless they are the same."""
    pairs = {name: target for name, target in evaluation.class_map.items() if name != target}
    listed = ", ".join(f"{name} = {target}" for name, target in pairs.items())
    if any(class_key(name) != class_key(target) for name, target in pairs.items()):
        yield f"Classes of the dataset and of the run, by the class map: {listed}."
    elif pairs:
        yield f"Classes of the dataset and of the run, which are matched by name in spite of their spelling: {listed}."


def note_positive(ensemble: Ensemble, dataset: Dataset, evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on the positive class, if it is unknown or not that of the run or of the dataset."""
    positive, names = evaluation.positive, ensemble.first.class_names
    if positive is None:
        if evaluation.is_binary:
            titles = ", ".join(metric.title for metric in all_metrics().values() if metric.needs_positive)
            yield (
                f"{POSITIVE_NOTE}unknown, neither {names[0]} nor {names[1]} was recognised or chosen; metrics that "
                f"refer to it are left out ({titles}); choose one with --positive NAME (positive=NAME)."
            )
        return
    if positive == names[0]:
        yield (
            f"{POSITIVE_NOTE}{positive}, which is the first class of the run; the decision threshold is that of the "
            f"run, stated for {positive} instead of {names[1]}."
        )
    own, others = ensemble.first.positive, evaluation.class_map.get(dataset.positive or "")
    if own is not None and own != positive:
        yield f"{POSITIVE_NOTE}{positive}, as chosen; the run was trained with {own} as the positive class."
    elif others is not None and others != positive:
        yield f"{POSITIVE_NOTE}{positive}, as in the run; in the dataset {dataset.positive} counts as positive."


def note_operating_point(ensemble: Ensemble, evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on where the threshold and the temperature come from, and on those that are missing."""
    threshold = evaluation.operating_point.threshold
    if ensemble.trained_on_validation and not any(run.cross_validation for run in ensemble.runs):
        yield (
            "The run is a refit, trained on training and validation images together. Its threshold and temperature "
            "come from the trial that it repeats, which was not trained on the validation images."
        )
    owner = "The run has" if ensemble.is_single else "The ensemble has"
    if isinstance(threshold, tuple):
        thresholds = zip(evaluation.class_names, threshold, strict=True)
        defaults = [name for name, own in thresholds if own == DEFAULT_THRESHOLD]
        if defaults:
            yield f"{owner} no threshold from validation images for {', '.join(defaults)}: 0.5 is used."
    elif evaluation.is_binary and threshold is None:
        yield f"{owner} no threshold from validation images: the more probable class is predicted."
    if evaluation.operating_point.temperature is None:
        yield f"{owner} no temperature from validation images: there are no metrics after temperature scaling."
    if evaluation.tta > 1 and evaluation.operating_point.tta == 1 and threshold is not None:
        yield (
            f"The threshold and the temperature were fitted without test-time augmentation, and are used with "
            f"tta={evaluation.tta}."
        )


def note_validation(evaluation: Evaluation) -> Iterator[str]:
    """Yield a note if metrics differ between the evaluated and the validation images by more than chance."""
    known = evaluation.validation
    if evaluation.split == "validation":
        return
    if known is None:
        yield "The validation images are not known, so their metrics cannot be compared with these."
        return
    differing = []
    for name, value in evaluation.metrics.items():
        own, other = evaluation.intervals.get(name), known.intervals.get(name)
        if own is None or other is None:
            continue
        before = known.metrics[name]
        if not (other.low <= value <= other.high or own.low <= before <= own.high):
            differing.append(f"{all_metrics()[name].title} {value:.3f} instead of {before:.3f}")
    if differing:
        yield (
            f"These images differ from the validation images by more than chance: {', '.join(differing)}. Each value "
            f"is outside the interval of the other; find out how the images or patients differ."
        )


def note_precision(evaluation: Evaluation) -> Iterator[str]:
    """Yield a note on how precisely the number of images determines sensitivity and specificity, or the accuracy."""
    counts, names = list(evaluation.images_by_class.values()), evaluation.class_names
    if evaluation.is_binary and evaluation.positive is not None:
        numbers = {"sensitivity": (counts[1], f" of {names[1]}"), "specificity": (counts[0], f" of {names[0]}")}
    else:
        numbers = {"accuracy": (len(evaluation.labels), "")}
    for name, (images, which) in numbers.items():
        interval = evaluation.intervals.get(name)
        if interval is not None:
            value = evaluation.metrics[name]
            points = round(100 * max(value - interval.low, interval.high - value))
            noun = "image" if images == 1 else "images"
            yield f"{images:,} {noun}{which}: {name} is known to about ±{max(points, 1)} percentage points."


def note_patients(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on the results per patient."""
    level = evaluation.patient_level
    if level is None:
        return
    if level.left_out:
        yield f"{level.left_out:,} patients have images of several classes and are left out of the results per patient."
    if not level.thresholds_from_patients and any(threshold is not None for threshold in level.thresholds.values()):
        yield "The threshold for patients is that of images, because the validation patients are not known."


def note_metrics(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on metrics that are not defined, for all images, labels or subgroups."""
    empty = [name for name, count in evaluation.images_by_class.items() if not count]
    if empty:
        yield f"{'Labels' if evaluation.multi_label else 'Classes'} without images: {', '.join(empty)}."
    missing = [
        metric.title
        for metric in all_metrics().values()
        if metric.name not in evaluation.metrics
        and not (metric.after_scaling and evaluation.operating_point.temperature is None)
        and not (metric.needs_positive and evaluation.is_binary and evaluation.positive is None)
        and not (metric.only_two_classes and not evaluation.is_binary and not evaluation.multi_label)
    ]
    if missing:
        yield f"Not defined on these images, and left out: {', '.join(missing)}."
    partial = [
        name for name, label in evaluation.by_label.items() if not evaluation.metrics.keys() <= label.metrics.keys()
    ]
    if partial:
        yield f"Some metrics are not defined for {', '.join(partial)}; the means are over the other labels."
    subgroups = {f"{column} {name}": result for column, by in evaluation.by.items() for name, result in by.items()}
    small = [name for name, result in subgroups.items() if not result.metrics]
    if small:
        yield (
            f"Too few images for metrics: {', '.join(small)}. A subgroup needs at least {MIN_IMAGES} images and, if "
            f"patients are known, {MIN_GROUPS} patients."
        )


def note_intervals(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on what the bootstrap resamples, and on intervals that are missing or unreliable."""
    if evaluation.grouped_by:
        units = {PATIENTS: "patients, as given by the source", GROUPS: "groups, as passed to evaluate"}
        by_column = f"groups, as given by the column {evaluation.grouped_by}"
        yield f"The intervals resample whole {units.get(evaluation.grouped_by, by_column)}."
    else:
        yield (
            "The intervals assume that images are independent. They are too narrow if patients have several images in "
            "this split."
        )
    if evaluation.groups is not None and evaluation.groups < MIN_GROUPS:
        yield f"The intervals are based on {evaluation.groups} groups; with so few they are not reliable."
    without = [all_metrics()[name].title for name in evaluation.metrics if name not in evaluation.intervals]
    if without:
        yield (
            f"No interval for {', '.join(without)}: too few resamples differ, or an end is infinite. This does not "
            f"mean certainty."
        )
    dropped = max((interval.dropped for interval in evaluation.intervals.values()), default=0)
    if dropped:
        yield (
            f"Up to {dropped:,} of {RESAMPLES:,} resamples were left out of an interval because the metric is not "
            f"defined on them."
        )
