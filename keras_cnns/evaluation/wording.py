"""An evaluation in words, for the report and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from keras_cnns.evaluation.checks import GROUPS, PATIENTS
from keras_cnns.evaluation.intervals import RESAMPLES
from keras_cnns.evaluation.measured import Measured
from keras_cnns.evaluation.subgroups import FEWEST_GROUPS, FEWEST_IMAGES

if TYPE_CHECKING:
    from keras_cnns.evaluation.run import Evaluation

MEANINGS = {
    "accuracy": ("accuracy", "share of images taken for what they are"),
    "balanced_accuracy": ("balanced accuracy", "mean over classes of the share that is found"),
    "sensitivity": ("sensitivity", "share of the images of {positive} that are found"),
    "specificity": ("specificity", "share of all other images that are not taken for {positive}"),
    "f1": ("F1", "harmonic mean of precision and sensitivity"),
    "mcc": ("MCC", "Matthews' correlation of truth and decision, 0 for a guess"),
    "auc": ("AUC", "area under the ROC curve, 0.5 for a guess"),
    "average_precision": ("average precision", "mean precision over all sensitivities"),
    "brier": ("Brier score", "mean squared error of the probabilities, 0 at best"),
    "ece": ("ECE", "expected calibration error, 15 bins, 0 at best; chance raises it, which the interval allows for"),
    "brier_scaled": ("Brier score, scaled", "after temperature scaling"),
    "ece_scaled": ("ECE, scaled", "after temperature scaling"),
}
ONE_AGAINST_REST = ("sensitivity", "specificity", "f1", "auc", "average_precision")
OF_TWO = ("auc", "sensitivity", "specificity", "accuracy")
OF_CLASSES = ("accuracy", "balanced_accuracy", "auc", "f1")
LABELS_NEED = {"auc", "sensitivity", "specificity", "mcc"}


def rows(evaluation: Evaluation) -> Iterator[dict[str, str]]:
    """Yield the table of metrics, as words."""
    several = "labels" if evaluation.multi_label else "classes, each against the rest"
    binary = is_binary(evaluation)
    positive = f"class {evaluation.class_names[1]}" if binary else f"a {'label' if evaluation.multi_label else 'class'}"
    for name, value in evaluation.metrics.items():
        title, meaning = MEANINGS[name]
        if evaluation.multi_label or (not binary and name in ONE_AGAINST_REST):
            meaning += f"; mean over {several}"
        interval = evaluation.intervals.get(name)
        yield {
            "name": title,
            "value": f"{value:.4f}",
            "interval": f"{interval.low:.4f} to {interval.high:.4f}" if interval else "none",
            "meaning": meaning.format(positive=positive),
        }


def looks_in_words(evaluation: Evaluation) -> str:
    """Say how often the test split was looked at; "" for validation images."""
    looks = evaluation.looks
    if looks is None:
        return ""
    if looks.by_all == 1:
        return "Look 1 at this test split, by any run in this store."
    others = f"look {looks.by_all} of all {looks.runs} runs" if looks.runs > 1 else "no other run has looked"
    return (
        f"Look {looks.by_run} of this run at this test split; {others} in this store. Whoever chooses among looks "
        f"chooses by chance too: the more there were, the more the best of them is too good."
    )


def decision_in_words(evaluation: Evaluation) -> str:
    """Say how the class of an image is decided on."""
    chosen = f"which has the largest sum of sensitivity and specificity on {evaluation.settled.where}"
    if isinstance(evaluation.threshold, tuple):
        each = zip(evaluation.class_names, evaluation.threshold, strict=True)
        listed = ", ".join(f"{name} {threshold:.4f}" for name, threshold in each)
        return f"each label from a probability on, {chosen}: {listed}"
    if len(evaluation.class_names) > 2:
        return "the likeliest class"
    if evaluation.threshold is None:
        return "the likelier class; validation gave no threshold"
    return f"class {evaluation.class_names[1]} from a probability of {evaluation.threshold:.4f} on, {chosen}"


def facts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what was evaluated."""
    counts = ", ".join(f"{count:,} of {name}" for name, count in evaluation.images_by_class.items())
    for member in evaluation.members:
        yield "run", f"{member.name} {member.run_id}"
    yield "network", ", ".join(dict.fromkeys(member.model for member in evaluation.members))
    if evaluation.key:
        yield "ensemble", f"the mean of the probabilities of {len(evaluation.members)} networks"
    if evaluation.views > 1:
        yield "views", f"the mean over {evaluation.views}: each image, and augmented as in {evaluation.preset!r}"
    yield "images", f"{evaluation.data_name}, fingerprint {evaluation.data_fingerprint}"
    yield "split", f"{evaluation.split}: {len(evaluation.labels):,} images, {counts}"
    yield "decision", decision_in_words(evaluation)
    if evaluation.temperature is not None:
        yield "temperature", f"{evaluation.temperature:.4f}, fitted on {evaluation.settled.where}"
    whole = {PATIENTS: "patients", GROUPS: "groups"}.get(evaluation.grouped, f"groups by {evaluation.grouped}")
    unit = f"whole {whole}, {evaluation.groups:,} of them" if evaluation.groups is not None else "single images"
    yield "intervals", f"95 %, bias-corrected and accelerated bootstrap, {RESAMPLES:,} resamples of {unit}"


def all_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield what has to be said beside the numbers, what the numbers lack among it."""
    yield from evaluation.notes
    empty = [name for name, count in evaluation.images_by_class.items() if not count]
    if empty:
        yield f"There are no images of {', '.join(empty)}."
    if evaluation.groups is not None and evaluation.groups < FEWEST_GROUPS:
        yield f"The intervals come from {evaluation.groups} groups: of so few they are not to be believed."
    partly = [name for name, part in evaluation.by_label.items() if not LABELS_NEED.issubset(part.metrics)]
    if partly:
        yield f"Not every metric is defined for {', '.join(partly)}; the means leave out what is not."
    small = [f"{name} {value}" for name, values in evaluation.by.items() for value, part in values.items()
             if not part.metrics]  # fmt: skip
    if small:
        yield (
            f"Too few to say: {', '.join(small)}; a subgroup needs {FEWEST_IMAGES} images, and {FEWEST_GROUPS} "
            f"patients where they are known."
        )
    missing = [MEANINGS[name][0] for name in MEANINGS if name not in evaluation.metrics
               and not name.endswith("_scaled")]  # fmt: skip
    if missing:
        yield f"Not defined on these images, and so left out: {', '.join(missing)}."
    without = [MEANINGS[name][0] for name in evaluation.metrics if name not in evaluation.intervals]
    if without:
        yield f"No interval for {', '.join(without)}: too few resamples differ for one, which is not certainty."
    dropped = max((interval.dropped for interval in evaluation.intervals.values()), default=0)
    if dropped:
        yield f"Up to {dropped:,} of {RESAMPLES:,} resamples do not define a metric and were left out of its interval."


def is_binary(evaluation: Evaluation) -> bool:
    """Return whether an image is of one of two classes."""
    return len(evaluation.class_names) == 2 and not evaluation.multi_label


def shown(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the metrics that the tables of parts have; all others are in the run and in `--json`."""
    return OF_CLASSES if len(evaluation.class_names) > 2 and not evaluation.multi_label else OF_TWO


def part_table(evaluation: Evaluation, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """Return the table of parts of the images, in words.

    Heads, and lines that each have a name, numbers, and values with intervals; the first is all images, to compare.
    """
    names = shown(evaluation)
    everything = evaluation.measured if not evaluation.multi_label or parts is not evaluation.by_label else None
    together = {"all": everything} if everything is not None else {}
    counted = any(part.positives is not None for part in parts.values())
    heads = ["", "images", *(["positive"] if counted else []), *(MEANINGS[name][0] for name in names)]
    lines = []
    for name, part in {**together, **parts}.items():
        numbers = [f"{part.images:,}", *([f"{part.positives or 0:,}"] if counted else [])]
        cells = [in_cell(part, metric) for metric in names]
        lines.append({"name": name, "numbers": numbers, "cells": cells})
    return {"heads": heads, "lines": lines}


def in_cell(part: Measured, metric: str) -> tuple[str, str]:
    """Return a part's metric and its interval, in words."""
    if not part.metrics:
        return "too few", "to say"
    if metric not in part.metrics:
        return "not defined", ""
    interval = part.intervals.get(metric)
    return f"{part.metrics[metric]:.3f}", f"{interval.low:.3f} to {interval.high:.3f}" if interval else "no interval"
