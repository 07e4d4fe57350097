"""Notes of an evaluation on copies of training images, unusual images and answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_cnns.data.dataset import Split, list_examples
from keras_cnns.evaluation.results import Evaluation


def note_copies(split: Split, evaluation: Evaluation) -> Iterator[str]:
    """Yield a note on images that are copies of training images."""
    copies = evaluation.copies
    if copies is None:
        yield "The run has no hashes of its training images, so copies of them are not recognised among these images."
    elif len(copies.indices):
        names = list_examples(split.image_name(evaluation.split, index) for index in copies.indices.tolist())
        are = "is a copy of a training image" if len(copies.indices) == 1 else "are copies of training images"
        yield (
            f"{len(copies.indices):,} of {len(split):,} images {are}, or nearly so ({names}): the results are too "
            f"optimistic for new images."
        )


def note_unusual(evaluation: Evaluation) -> Iterator[str]:
    """Yield a note if more images are out of distribution than the false-alarm rate explains."""
    unusual = evaluation.unusual
    if unusual is not None and unusual.share.low > unusual.expected:
        yield (
            f"{unusual.images:,} of {len(evaluation.labels):,} images ({unusual.share.value:.1%}) are unlike the "
            f"training images, and only {unusual.expected:.1%} are expected to be: the images or how they were read "
            f"differ from those of training."
        )


def note_answers(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on what the prediction sets, or the answers, are calibrated on, and on what holds for them."""
    answers = evaluation.answers
    if answers is None:
        return
    rule, names = answers.rule, evaluation.class_names
    patients = "" if rule.patients is None else f" of {rule.patients:,} patients"
    if evaluation.runs[0].cross_validation:
        yield (
            f"Which images are answered was calibrated on {rule.images:,} out-of-fold predictions{patients}, each of "
            f"one network. The mean of all networks is usually more certain, so the calibration is approximate."
        )
    else:
        chosen = "the epoch and the threshold" if evaluation.is_binary else "the epoch"
        yield (
            f"Which images are answered was calibrated on {rule.images:,} validation images{patients}, which also "
            f"chose {chosen}."
        )
    if rule.quantiles is None:
        return
    if answers.in_set_by_patient is not None:
        yield (
            f"The prediction sets contain the true class for {answers.in_set_by_patient:.1%} of the images, if each "
            f"patient has the same weight."
        )
    shared = [name for name, is_shared in zip(names, rule.quantiles.shared, strict=True) if is_shared]
    level = f"{rule.choice.confidence_level:.1%}".replace(".0%", "%")
    if np.isinf(rule.quantiles.values).all():
        yield (
            f"There are too few validation images{' or patients' if rule.patients else ''} for prediction sets at a "
            f"confidence level of {level}: every set contains all classes. Use a lower level."
        )
    elif shared:
        yield (
            f"Too few validation images for each of {', '.join(shared)}: the confidence level of {level} refers to "
            f"these classes together, not to each."
        )
    if evaluation.external:
        yield (
            "The confidence level holds for images like those of validation. Whether it holds for this external "
            "dataset is only known from the fraction of its sets with the true class."
        )
