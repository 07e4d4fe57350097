"""The summary of an evaluation in three sentences: how many images are classified correctly, how well, how reliably."""

from __future__ import annotations

from collections.abc import Iterator

from keras_cnns.evaluation.results import PATIENTS, Evaluation, MetricResult


def summarize(evaluation: Evaluation) -> Iterator[str]:
    """Yield the sentences."""
    yield describe_decisions(evaluation)
    yield describe_discrimination(evaluation)
    yield describe_reliability(evaluation)


def describe_decisions(evaluation: Evaluation) -> str:
    """Return a sentence on the images and on the fraction that is classified correctly."""
    split = "" if evaluation.split == "all" else f"{evaluation.split.replace('_', '-')} "
    images = f"{len(evaluation.labels):,} {split}images"
    if evaluation.grouped_by == PATIENTS and evaluation.groups is not None:
        images += f" of {evaluation.groups:,} patients"
    network = "the ensemble" if evaluation.ensemble_key else evaluation.runs[0].model
    start, overall = f"On {images} of {evaluation.data_name}, {network}", evaluation.overall
    if evaluation.positive is not None and {"sensitivity", "specificity"} <= overall.metrics.keys():
        return (
            f"{start} finds {percent(overall, 'sensitivity')} of the images of {evaluation.positive} (sensitivity) and "
            f"recognises {percent(overall, 'specificity')} of the others (specificity)."
        )
    what = "labels" if evaluation.multi_label else "images"
    return f"{start} classifies {percent(overall, 'accuracy')} of the {what} correctly."


def describe_discrimination(evaluation: Evaluation) -> str:
    """Return a sentence on the AUC or, if it is not defined, the Brier score, beside that of the validation images."""
    name, title = ("auc", "AUC") if "auc" in evaluation.metrics else ("brier", "Brier score")
    sentence = f"The {title} is {number(evaluation.overall, name)}"
    if evaluation.validation is not None and name in evaluation.validation.metrics:
        sentence += f"; on validation images it was {number(evaluation.validation, name)}"
    return f"{sentence}."


def describe_reliability(evaluation: Evaluation) -> str:
    """Return a sentence on predictive values, or on how many images are misclassified."""
    overall, counts = evaluation.overall, evaluation.images_by_class
    if evaluation.positive is not None and "ppv" in overall.metrics:
        prevalence = counts[evaluation.positive] / len(evaluation.labels)
        return (
            f"{percent(overall, 'ppv')} of the predictions of {evaluation.positive} are right (positive predictive "
            f"value) at the prevalence of these images, {prevalence:.0%}, which need not be that of your patients."
        )
    return f"{evaluation.mistake_count:,} of {evaluation.labels.size:,} predictions are wrong."


def percent(result: MetricResult, name: str) -> str:
    """Format a fraction and its interval as percentages."""
    interval = result.intervals.get(name)
    ends = f" (95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval else ""
    return f"{100 * result.metrics[name]:.1f} %{ends}"


def number(result: MetricResult, name: str) -> str:
    """Format a metric and its interval."""
    interval = result.intervals.get(name)
    ends = f" (95 % interval {interval.low:.3f} to {interval.high:.3f})" if interval else ""
    return f"{result.metrics[name]:.3f}{ends}"
