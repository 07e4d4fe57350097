"""Evaluation of a run's network on a split, with the result stored in the run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from keras_cnns.data import Dataset, Split
from keras_cnns.data.pseudonyms import known_patients, load_pseudonyms
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.evaluation.answer_results import Answers, compute_answers
from keras_cnns.evaluation.answering import (
    AnswerChoice,
    calibrate,
    check_answers,
    choose_answers,
    name_sets,
    require_validation,
)
from keras_cnns.evaluation.cases import describe_conversion, make_cases, write_cases
from keras_cnns.evaluation.caveats import find_caveats, find_warnings
from keras_cnns.evaluation.class_matching import convert_labels, find_positive, match_classes, reorder_classes
from keras_cnns.evaluation.compatibility import (
    check_images,
    check_prevalence,
    check_report_path,
    check_split,
    check_tta,
    select_groups,
    select_split,
    separate_unknown,
)
from keras_cnns.evaluation.ensemble import Ensemble, find_runs, load_ensemble
from keras_cnns.evaluation.error_analysis import find_mistakes
from keras_cnns.evaluation.fold_images import check_fold_images
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.out_of_distribution import UnusualImages
from keras_cnns.evaluation.patient_level import compute_patient_level
from keras_cnns.evaluation.prevalence import compute_at_prevalence
from keras_cnns.evaluation.proportion import proportion
from keras_cnns.evaluation.recalibration import recalibrate
from keras_cnns.evaluation.record import RECORD_FILE, to_record
from keras_cnns.evaluation.report.page import write_report
from keras_cnns.evaluation.results import REPORT_FILE, Evaluation
from keras_cnns.evaluation.run_images import load_for_run
from keras_cnns.evaluation.subgroups import (
    compute_subgroups,
    find_incomparable,
    get_columns,
    name_subgroups,
    sort_subgroups,
)
from keras_cnns.evaluation.threshold_choice import apply_rule, check_rule, make_rule
from keras_cnns.evaluation.training_copies import find_training_copies
from keras_cnns.evaluation.validation import ValidationPredictions, choose_operating_point, find_validation
from keras_cnns.tracking import Store
from keras_cnns.tracking.location import project_folder

METRICS_PER_REQUEST = 500


@shows_progress
def evaluate(
    run: str | Sequence[str],
    data: str | Dataset | None = None,
    *,
    reading: Mapping[str, Any] | None = None,
    split: str = "test",
    groups: np.ndarray | str | None = None,
    by: str | Sequence[str] = (),
    positive: str | None = None,
    class_map: Mapping[str, str] | None = None,
    threshold: float | None = None,
    at_sensitivity: float | None = None,
    at_specificity: float | None = None,
    prevalence: float | None = None,
    confidence_level: float | None = None,
    coverage: float | None = None,
    tta: int = 1,
    seed: int = 0,
    tracking_uri: str | None = None,
    report: str | Path | None = None,
    progress: bool | Progress = True,
) -> Evaluation:
    """Evaluate a run's network on a split, and store the result in the run.

    The network, the threshold and the temperature are read from the run; nothing is chosen on the evaluated images.
    For an ensemble, and with test-time augmentation, the threshold and the temperature are fitted again on validation
    images, whose predictions the runs store. Each evaluation on a test split is counted, for each run. Report, record
    and table of cases are stored in the first run; patients have pseudonyms there.

    Args:
        run: The id of a run, the beginning of it, or a name that no other run has; the id of a sweep, for its best
            trial; or the id or the name of a cross-validation, for the networks of all its folds. Several are evaluated
            as an ensemble, by the mean of their probabilities.
        data: A source that `load` reads, or a dataset; by default the images that the run was trained on.
        reading: Arguments of `load` for a source. Others are as for training: all of them for the same source, and the
            size, channels, resizing, window, frames and range of values for another one.
        split: "test" or "validation"; "all" evaluates all images of a source that the run was not trained on.
        groups: Groups of images that the bootstrap resamples as a whole: an array with one group for each image of
            the split, or the name of a column; by default the patients, if the source has them.
        by: Columns of the source. The images of each of their values are also evaluated separately.
        positive: The positive class of two, which sensitivity, specificity and the like refer to, by its name in the
            run; by default that of the run. They are left out if it is unknown.
        class_map: The run's class for each class of the data that has another name in the run, such as
            `{"healthy": "no_tumor"}`. Several classes can map to one. Other classes are matched by name, whatever
            their case, spaces and Unicode form.
        threshold: Decision threshold for the positive class or for each label, after temperature scaling; by default
            that with the highest Youden index on validation images.
        at_sensitivity: Choose the threshold with the highest specificity at this sensitivity on validation images.
        at_specificity: Choose the threshold with the highest sensitivity at this specificity on validation images.
        prevalence: Also compute PPV and NPV for this prevalence instead of that of the images, by Bayes' theorem.
        confidence_level: Also evaluate conformal prediction sets, which contain the true class with this probability,
            and abstain from images with more than one class in the set.
        coverage: Also abstain from the images with the lowest confidence, so that this fraction of validation images is
            answered.
        tta: Test-time augmentation: number of versions of each image to average over, the image itself and augmented
            copies. The augmentation is that of training.
        seed: Seed of the bootstrap.
        tracking_uri: The store of the runs; by default that of MLflow's environment variable, or `./mlflow.db`.
        report: An additional file, ending in .html, to write the report to. Its plots are written next to it as .png.
        progress: Whether to show progress, or what receives it.

    Raises:
        StoreError: There is no such run, or it has no saved network.
        DataError: The images cannot be read, or there is no such split.
        EvaluationError: Network and images or their classes do not match, there is no such column or class, or a metric
            cannot be computed.
        SettingError: The report cannot be written to its path.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    check_split(split)
    check_tta(tta)
    check_prevalence(prevalence)
    choice = choose_answers(confidence_level, coverage)
    rule = make_rule(threshold=threshold, at_sensitivity=at_sensitivity, at_specificity=at_specificity)
    report_path = check_report_path(report)
    store = Store(tracking_uri, create=False)
    runs, notes = find_runs(store, run)  # before the images are read, so that a wrong name is reported at once
    ensemble = load_ensemble(store, runs, notes, progress=progress)
    check_answers(choice, ensemble)
    dataset = data if isinstance(data, Dataset) else load_for_run(ensemble.first, data, reading or {})
    shared = check_fold_images(store, ensemble, dataset, split)
    images = select_split(dataset, split)
    columns = get_columns(images, [by] if isinstance(by, str) else by, dataset.name, "--by")
    subgroups = {name: name_subgroups(name, column) for name, column in columns.items()}
    group_of_image, grouped_by = select_groups(groups, images, dataset.name)
    class_names, original = ensemble.first.class_names, dataset
    dataset = reorder_classes(original, class_names)
    check_images(ensemble, dataset, images, split)
    external = not ensemble.runs_trained_on(dataset)
    matched = match_classes(ensemble, original, class_map)
    positive = find_positive(ensemble, dataset, matched, positive)
    check_rule(rule, ensemble, positive)
    images = replace(images, labels=convert_labels(images.labels, matched, class_names))
    validation = find_validation(store, ensemble, dataset, tta=tta, progress=progress)
    outputs = ensemble.predict(images.images, tta=tta, progress=progress)
    predictions = LabelledPredictions(
        labels=images.labels,
        probabilities=outputs.probabilities,
        operating_point=choose_operating_point(ensemble, validation, tta=tta),
        groups=group_of_image,
        seed=seed,
        positive_is_known=positive is not None or ensemble.first.multi_label,
    )
    known = None if validation is None else label_validation(predictions, validation)
    if positive is not None and positive == class_names[0]:
        class_names = class_names[::-1]
        predictions, known = predictions.swap_classes(), None if known is None else known.swap_classes()
    operating_point = apply_rule(predictions.operating_point, rule, known)
    predictions = replace(predictions, operating_point=operating_point)
    known = None if known is None else replace(known, operating_point=operating_point)
    calibrated_on = known if choice is None else require_validation(known, ensemble, tta)
    answers = answer_images(choice, predictions, calibrated_on, class_names, outputs.unusual, subgroups)
    progress.message("computing metrics and intervals")
    patients = separate_unknown(images.patients)
    pseudonyms = load_pseudonyms(project_folder(store.uri), dataset)
    shown = pseudonyms.hide_split(images)
    mistakes, mistake_count = find_mistakes(ensemble, predictions, shown, split, class_names)
    evaluation = Evaluation(
        runs=tuple(runs),
        data_name=dataset.name,
        data_fingerprint=dataset.fingerprint,
        split=split,
        external=external,
        class_names=class_names,
        positive=positive,
        class_map=matched,
        labels=predictions.labels,
        probabilities=predictions.probabilities,
        overall=predictions.compute(),
        by_label=predictions.compute_labels(class_names),
        by={name: compute_subgroups(predictions, names) for name, names in subgroups.items()},
        operating_point=operating_point,
        grouped_by=grouped_by,
        groups=None if group_of_image is None else len(np.unique(group_of_image)),
        group_of_image=group_of_image,
        tta=tta,
        tta_augmentation=ensemble.tta_augmentation if tta > 1 else "",
        test_set_evaluations=None,
        seed=seed,
        ensemble_key=ensemble.key,
        stored_in=ensemble.cross_validation,
        mistakes=mistakes,
        mistake_count=mistake_count,
        conversion=describe_conversion(dataset),
        cases=make_cases(
            shown, split, predictions, class_names,
            {**columns, **describe_answers(answers, outputs.unusual, class_names)},
        ),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        validation=known.compute() if known is not None and split != "validation" else None,
        patient_level=None if patients is None else compute_patient_level(predictions, patients, known),
        recalibrated=recalibrate(predictions) if external and positive is not None else None,
        prevalence=prevalence,
        at_prevalence=None if prevalence is None else compute_at_prevalence(predictions, prevalence),
        answers=answers,
        unusual=count_unusual(ensemble, outputs.unusual, group_of_image),
        copies=find_training_copies(store, ensemble, images.images),
    )  # fmt: skip
    incomparable = find_incomparable(images.labels, subgroups, class_names) if evaluation.multi_label else ()
    warnings = tuple(find_warnings(images, evaluation))
    caveats = (*warnings, *find_caveats(ensemble, dataset, evaluation), *shared, *incomparable)
    ids = known_patients(dataset)
    hidden = tuple(pseudonyms.hide(note, ids) for note in caveats)
    evaluation = replace(evaluation, notes=hidden, warning_count=len(warnings))
    return count_and_store(store, ensemble, images, evaluation, report_path)


def count_and_store(
    store: Store, ensemble: Ensemble, images: Split, evaluation: Evaluation, report_path: Path | None
) -> Evaluation:
    """Count an evaluation on test images for each run, and store it. An evaluation that failed is not counted."""
    if evaluation.split != "validation":
        counts = [store.count_test_set_evaluation(run.id, images.fingerprint) for run in reversed(ensemble.runs)]
        evaluation = replace(evaluation, test_set_evaluations=counts[-1])
    return replace(evaluation, report_folder=store_evaluation(store, evaluation, report_path), store=store.uri)


def label_validation(predictions: LabelledPredictions, validation: ValidationPredictions) -> LabelledPredictions:
    """Return the predictions for validation images, at the operating point of those for the evaluated images."""
    return replace(
        predictions,
        labels=validation.labels,
        probabilities=validation.probabilities,
        groups=separate_unknown(validation.patients),
    )


def answer_images(
    choice: AnswerChoice | None,
    predictions: LabelledPredictions,
    validation: LabelledPredictions | None,
    class_names: tuple[str, ...],
    unusual: np.ndarray | None,
    subgroups: Mapping[str, np.ndarray],
) -> Answers | None:
    """Return which images are answered and how well, with a rule calibrated on validation predictions; None if all."""
    if choice is None or validation is None:
        return None
    threshold = predictions.operating_point.threshold
    rule = calibrate(choice, validation.labels, validation.probabilities, threshold, validation.groups)
    return compute_answers(
        rule,
        predictions.labels,
        predictions.probabilities,
        class_names,
        unusual=unusual,
        patients=predictions.groups,
        subgroups={
            column: {name: names == name for name in sort_subgroups(names)} for column, names in subgroups.items()
        },
    )


def describe_answers(
    answers: Answers | None, unusual: np.ndarray | None, class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the columns of the table of cases on answers and unusual images."""
    columns = {} if unusual is None else {"out_of_distribution": unusual}
    if answers is not None:
        columns["answered"] = answers.answered
        if answers.sets is not None:
            columns["prediction_set"] = np.array(
                [";".join(names) for names in name_sets(answers.sets, class_names)], object
            )
    return columns


def count_unusual(ensemble: Ensemble, unusual: np.ndarray | None, groups: np.ndarray | None) -> UnusualImages | None:
    """Return how many images are out of distribution; None if no run has a detector."""
    expected = [member.detector.false_alarm_rate for member in ensemble.members if member.detector is not None]
    if unusual is None:
        return None
    return UnusualImages(images=int(unusual.sum()), share=proportion(unusual, groups), expected=max(expected))


def store_evaluation(store: Store, evaluation: Evaluation, report_path: Path | None) -> str:
    """Store the result in the first run, write the additional report, and return the folder of the stored report."""
    metrics = list(evaluation.to_metrics().items())
    for begin in range(0, len(metrics), METRICS_PER_REQUEST):
        store.log(evaluation.run_id, metrics=dict(metrics[begin : begin + METRICS_PER_REQUEST]))
    if evaluation.positive is not None:
        store.log(evaluation.run_id, tags={f"{evaluation.prefix}positive": evaluation.positive})
    with tempfile.TemporaryDirectory() as folder:
        write_report(evaluation, Path(folder, REPORT_FILE), *([report_path] if report_path is not None else []))
        Path(folder, RECORD_FILE).write_text(json.dumps(to_record(evaluation), allow_nan=False, indent=1), "utf-8")
        write_cases(evaluation.cases, Path(folder))
        return store.log_files(evaluation.run_id, *sorted(Path(folder).iterdir()), into=evaluation.artifact_path)
