"""The report of an evaluation: one HTML file that asks no other host for anything, and its picture."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.intervals import RESAMPLES
from keras_cnns.evaluation.plots import DARK, LIGHT, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_cnns.evaluation.run import Evaluation

REPORT = "report.html"
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


def write_report(evaluation: Evaluation, page: Path) -> tuple[Path, Path]:
    """Write the report, and its picture beside it under the same name; each whole or not at all.

    Raises:
        EvaluationError: They cannot be written there.
    """
    light, dark = (png(draw(evaluation, colours)) for colours in (LIGHT, DARK))
    picture = page.with_suffix(".png")
    write_whole(page, render(evaluation, light, dark).encode())
    write_whole(picture, light)
    return page, picture


def png(figure: Figure) -> bytes:
    """Return a picture's PNG."""
    memory = io.BytesIO()
    figure.savefig(memory, format="png", facecolor=figure.get_facecolor())
    return memory.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise EvaluationError(
            f"cannot write the report {path}: {error.strerror}; name a file in a folder that can be written."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def render(evaluation: Evaluation, light: bytes, dark: bytes) -> str:
    """Return the page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = files("keras_cnns.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=f"{evaluation.run_name or evaluation.model} on {evaluation.data_name}, {evaluation.split} split",
        subtitle=f"run {evaluation.run_id}",
        looks=looks_in_words(evaluation),
        rows=list(rows(evaluation)),
        facts=list(facts(evaluation)),
        notes=list(all_notes(evaluation)),
        light=base64.b64encode(light).decode(),
        dark=base64.b64encode(dark).decode(),
    )


def rows(evaluation: Evaluation) -> Iterator[dict[str, str]]:
    """Yield the table of metrics, as words."""
    binary = len(evaluation.class_names) == 2
    positive = f"class {evaluation.class_names[1]}" if binary else "a class"
    for name, value in evaluation.metrics.items():
        title, meaning = MEANINGS[name]
        if not binary and name in ONE_AGAINST_REST:
            meaning += "; mean over classes, each against the rest"
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
    if len(evaluation.class_names) > 2:
        return "the likeliest class"
    positive = evaluation.class_names[1]
    if evaluation.threshold is None:
        return "the likelier class; validation gave no threshold"
    return (
        f"class {positive} from a probability of {evaluation.threshold:.4f} on, which has the largest sum of "
        f"sensitivity and specificity on the run's validation images"
    )


def facts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what was evaluated."""
    counts = ", ".join(f"{count:,} of {name}" for name, count in evaluation.images_by_class.items())
    yield "run", f"{evaluation.run_name} {evaluation.run_id}"
    yield "network", evaluation.model
    yield "images", f"{evaluation.data_name}, fingerprint {evaluation.data_fingerprint}"
    yield "split", f"{evaluation.split}: {len(evaluation.labels):,} images, {counts}"
    yield "decision", decision_in_words(evaluation)
    if evaluation.temperature is not None:
        yield "temperature", f"{evaluation.temperature:.4f}, fitted on the run's validation images"
    unit = f"whole groups, {evaluation.groups:,} of them" if evaluation.groups is not None else "single images"
    yield "intervals", f"95 %, bias-corrected and accelerated bootstrap, {RESAMPLES:,} resamples of {unit}"


def all_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield what has to be said beside the numbers, what the numbers lack among it."""
    yield from evaluation.notes
    empty = [name for name, count in evaluation.images_by_class.items() if not count]
    if empty:
        yield f"There are no images of {', '.join(empty)}."
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
