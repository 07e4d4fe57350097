"""Results of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.data.copies import Copies
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.evaluation.answer_results import Answers
from keras_cnns.evaluation.confusion import ConfusionMatrix, compute_confusion_matrix
from keras_cnns.evaluation.intervals import Interval
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.operating_point import OperatingPoint, Threshold, predict_classes
from keras_cnns.evaluation.out_of_distribution import UnusualImages
from keras_cnns.evaluation.selective import RiskCoverageCurve, decision_confidence, risk_coverage_curve
from keras_cnns.tracking import EvaluationCounts, Run
from keras_cnns.tracking.stores import run_url

if TYPE_CHECKING:
    import pandas as pd

MAX_NAME_LENGTH = 80
MAX_CLASSES = 12  # that a summary lists
REPORT_FILE = "report.html"
PATIENTS, GROUPS = "patients", "groups"


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """Metrics with 95 % confidence intervals.

    Attributes:
        images: Number of images.
        positives: Number of images of the positive class of two, or with the label; None for more classes, if it is
            unknown, and for several labels together.
        metrics: Every metric of `all_metrics` that is defined on the images.
        intervals: The confidence interval of each metric that has one.
    """

    images: int
    positives: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def format(self, name: str) -> tuple[str, str]:
        """Format a metric and its interval: "0.9712" and "0.9583 to 0.9800", or "none"."""
        interval = self.intervals.get(name)
        ends = "none" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"
        return f"{self.metrics[name]:.4f}", ends

    def to_metrics(self, prefix: str) -> dict[str, float]:
        """Return the metrics and the ends of their intervals under their names in MLflow."""
        named = {f"{prefix}{name}": value for name, value in self.metrics.items()}
        for name, interval in self.intervals.items():
            named[f"{prefix}{name}_low"] = interval.low
            named[f"{prefix}{name}_high"] = interval.high
        return named


@dataclass(frozen=True, kw_only=True)
class PatientLevel:
    """Results per patient.

    Attributes:
        results: Metrics and intervals by how the images of a patient are combined. Their `images` are patients.
        thresholds: The decision threshold of each, for combined probabilities.
        thresholds_from_patients: Whether they were chosen on validation patients; otherwise they are that of images.
        left_out: Number of patients with images of several classes.
    """

    results: Mapping[str, MetricResult]
    thresholds: Mapping[str, Threshold]
    thresholds_from_patients: bool
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A misclassified image.

    Attributes:
        name: The file, or the split and index of the image.
        patient: The pseudonym of the patient; "" if unknown.
        true_class: The true class.
        predicted_class: The predicted class; "not NAME" for a label that is not predicted.
        probability: The probability of the predicted class, after temperature scaling.
        image: The image as the network reads it, as PNG.
        heatmap: The image with the heatmap of the predicted class, as PNG; None if the network cannot be explained.
    """

    name: str
    patient: str
    true_class: str
    predicted_class: str
    probability: float
    image: bytes
    heatmap: bytes | None = None


def to_metric_name(text: str) -> str:
    """Return a text without the characters that MLflow does not allow in metric names."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_")[:MAX_NAME_LENGTH] or "_"


def name_metrics(results: Mapping[str, MetricResult], prefix: str) -> dict[str, float]:
    """Return the metrics of several results under unique names in MLflow."""
    metrics: dict[str, float] = {}
    used: set[str] = set()
    for text, result in results.items():
        name, number = to_metric_name(text), 1
        while name in used:
            number += 1
            name = f"{to_metric_name(text)}_{number}"
        used.add(name)
        metrics |= result.to_metrics(f"{prefix}{name}_")
    return metrics


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluation(Summarized):
    """The performance of a run's network, or of an ensemble of several, on a split.

    Attributes:
        runs: The runs whose networks were evaluated. The first one stores the result.
        data_name: Name of the dataset.
        data_fingerprint: Fingerprint of the dataset with all its splits.
        split: "validation", "test" or "all".
        external: Whether the dataset is not the one that the runs were trained on.
        class_names: The classes or, in multi-label classification, the labels; of two classes, the positive one is the
            second. Labels, probabilities and threshold are in this order.
        positive: The positive class of two, which sensitivity and specificity refer to; None if there are more, or if
            it is unknown.
        class_map: The class of the network for each class of the dataset.
        labels: The true class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        probabilities: Predicted probabilities before temperature scaling, shape (images, classes).
        overall: Metrics and intervals of all images; in multi-label classification, means over labels.
        by_label: Metrics and intervals of each label; empty in single-label classification.
        by: Metrics and intervals of each subgroup, by column and value.
        operating_point: The threshold and the temperature.
        grouped_by: What the bootstrap resamples: "patients", "groups" (given as an array), the name of a column, or
            "" for single images.
        groups: Number of groups that the bootstrap resamples; None if it resamples images.
        tta: Number of versions of each image, the image itself included, whose probabilities were averaged.
        tta_augmentation: The augmentation of the other versions.
        test_set_evaluations: How often the test split has been evaluated; None for validation images.
        group_of_image: The group of each image that the bootstrap resamples; None if it resamples images.
        mistakes: The most confident mistakes, see `keras_cnns.evaluation.error_analysis`.
        mistake_count: Number of wrong predictions, of images or of their labels.
        conversion: How images were converted, as text.
        cases: The table of cases, see `keras_cnns.evaluation.cases`.
        created: Date and time of the evaluation, in ISO format.
        validation: Metrics and intervals of the validation images at the same threshold; None if not known.
        patient_level: Results per patient; None if patients are not known or have one image each.
        recalibrated: Metrics after cross-fitted recalibration on an external dataset, see `recalibrate`.
        prevalence: The prevalence for which `at_prevalence` is computed; None if none was given.
        at_prevalence: PPV and NPV at this prevalence.
        answers: Which images are answered; None if abstention was not chosen.
        unusual: How many images are out of distribution; None if no run has a detector.
        copies: The images that are copies of training images; None if a run has no hashes of its training images.
        notes: Caveats about the data, the operating point and the intervals.
        seed: Seed of the bootstrap.
        warning_count: How many of them, the first ones, question the result.
        decisions: The predicted class of each image, if the threshold is not the same for all.
        ensemble_key: Identifies the ensemble; "" for a single network.
        stored_in: The id of the cross-validation that stores the result of its networks; "" if the first run does.
        report_folder: Where the first run stores the report and its plots: a folder or, on a server, its URI.
        store: The URI of the store of the runs.
    """

    runs: tuple[Run, ...]
    data_name: str
    data_fingerprint: str
    split: str
    external: bool
    class_names: tuple[str, ...]
    positive: str | None
    class_map: Mapping[str, str]
    labels: np.ndarray
    probabilities: np.ndarray
    overall: MetricResult
    by_label: Mapping[str, MetricResult]
    by: Mapping[str, Mapping[str, MetricResult]]
    operating_point: OperatingPoint
    grouped_by: str
    groups: int | None
    tta: int
    tta_augmentation: str
    test_set_evaluations: EvaluationCounts | None
    cases: pd.DataFrame
    created: str
    group_of_image: np.ndarray | None = None
    mistakes: tuple[Mistake, ...] = ()
    mistake_count: int = 0
    conversion: str = ""
    validation: MetricResult | None = None
    patient_level: PatientLevel | None = None
    recalibrated: MetricResult | None = None
    prevalence: float | None = None
    at_prevalence: MetricResult | None = None
    answers: Answers | None = None
    unusual: UnusualImages | None = None
    copies: Copies | None = None
    notes: tuple[str, ...] = ()
    warning_count: int = 0
    seed: int = 0
    decisions: np.ndarray | None = None
    ensemble_key: str = ""
    stored_in: str = ""
    report_folder: str = ""
    store: str = ""

    @property
    def run_id(self) -> str:
        """The id of the run that stores the result."""
        return self.stored_in or self.runs[0].id

    @property
    def url(self) -> str:
        """The address of that run's page on an MLflow server; "" if the store is a file."""
        return run_url(self.store, self.run_id)

    @property
    def report(self) -> str:
        """The path of the report or, on a server, its URI."""
        return f"{self.report_folder}/{REPORT_FILE}" if self.report_folder else ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of all images."""
        return self.overall.metrics

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """The 95 % confidence intervals of these metrics."""
        return self.overall.intervals

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels."""
        return self.labels.ndim == 2

    @property
    def is_binary(self) -> bool:
        """Whether each image belongs to one of two classes."""
        return len(self.class_names) == 2 and not self.multi_label

    @property
    def predicted(self) -> np.ndarray:
        """The predicted class of each image, or 0 or 1 for each label."""
        if self.decisions is not None:
            return self.decisions
        return predict_classes(self.probabilities, self.operating_point.threshold)

    @property
    def confusion_matrix(self) -> ConfusionMatrix:
        """How many images of each class are predicted as each class."""
        return compute_confusion_matrix(self.labels, self.predicted, self.class_names)

    @property
    def risk_coverage(self) -> RiskCoverageCurve | None:
        """The accuracy of abstention at each coverage; None in multi-label classification."""
        if self.multi_label:
            return None
        confidence = decision_confidence(self.probabilities, self.operating_point.threshold)
        return risk_coverage_curve(confidence, self.predicted == self.labels)

    @property
    def images_by_class(self) -> dict[str, int]:
        """The number of images of each class, or with each label."""
        classes = len(self.class_names)
        counts = self.labels.sum(axis=0) if self.multi_label else np.bincount(self.labels, minlength=classes)
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def artifact_path(self) -> str:
        """The folder of the report among the files of the first run."""
        folder = f"ensemble/{self.ensemble_key}" if self.ensemble_key else "evaluation"
        return f"{folder}/external_{self.split}_{self.data_fingerprint}" if self.external else f"{folder}/{self.split}"

    @property
    def prefix(self) -> str:
        """The beginning of the names of its metrics in MLflow."""
        return f"{'ensemble_' if self.ensemble_key else ''}{'external_' if self.external else ''}{self.split}_"

    def summary(self) -> Summary:
        """Return the metrics of all images with their intervals, and the most important facts."""
        networks = ", ".join(dict.fromkeys(run.model for run in self.runs))
        counts = ", ".join(f"{count:,} of {name}" for name, count in self.images_by_class.items())
        classes = len(self.class_names)
        facts = [
            ("run", ", ".join(run.id for run in self.runs)),
            ("images", f"{len(self.labels):,}: {counts if classes <= MAX_CLASSES else f'{classes:,} classes'}"),
            *([] if self.positive is None else [("positive", self.positive)]),
        ]
        if self.answers is not None and (answered := self.answers.overall.answered) is not None:
            facts.append(
                ("answered", f"{answered.value:.1%} of the images ({answered.low:.1%} to {answered.high:.1%})")
            )
        rows = [(all_metrics()[name].title, *self.overall.format(name)) for name in self.metrics]
        return Summary(
            title=f"{networks} evaluated on {self.data_name}, {self.split}",
            facts=facts,
            tables=[SummaryTable(columns=("metric", "value", "95 % interval"), rows=rows)],
            notes=self.notes[: self.warning_count],
            addresses=[("report", self.report), ("MLflow", self.url)],
        )

    def to_metrics(self) -> dict[str, float]:
        """Return all metrics and the ends of their intervals under their names in MLflow."""
        prefix = self.prefix
        metrics = self.overall.to_metrics(prefix) | name_metrics(self.by_label, f"{prefix}label_")
        for column, subgroups in self.by.items():
            metrics |= name_metrics(subgroups, f"{prefix}by_{to_metric_name(column)}_")
        if self.patient_level is not None:
            metrics |= name_metrics(self.patient_level.results, f"{prefix}patients_")
        for result, name in ((self.recalibrated, "recalibrated_"), (self.at_prevalence, "at_prevalence_")):
            metrics |= {} if result is None else result.to_metrics(f"{prefix}{name}")
        if self.unusual is not None:
            metrics |= self.unusual.share.to_metrics(f"{prefix}out_of_distribution")
        return metrics
