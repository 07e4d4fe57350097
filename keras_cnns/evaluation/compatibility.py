"""Checks of the arguments of an evaluation, and of whether the network and the images are compatible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.dataset import SPLITS, Split, concatenate
from keras_cnns.errors import DataError, EvaluationError, nearest
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.evaluation.results import GROUPS, PATIENTS
from keras_cnns.evaluation.run_network import format_shape
from keras_cnns.evaluation.subgroups import get_columns
from keras_cnns.plotting import check_output_path

ALL = "all"
EVALUATED_SPLITS = ("validation", "test", ALL)
MAX_TTA = 1000


def check_split(split: str) -> None:
    """Raise an `EvaluationError` if a split can never be evaluated."""
    if split not in EVALUATED_SPLITS:
        raise EvaluationError(
            f"split {split!r} cannot be evaluated: choose test, or validation, or all of an external source; "
            f"training images do not measure the performance on new images.{nearest(split, EVALUATED_SPLITS)}"
        )


def check_tta(tta: int) -> None:
    """Raise an `EvaluationError` if the number of versions of each image is out of range."""
    if not 1 <= tta <= MAX_TTA:
        raise EvaluationError(f"tta={tta} is not possible; use 1 for no test-time augmentation, or 2 to {MAX_TTA}.")


def select_split(dataset: Dataset, name: str) -> Split:
    """Return a split or, for "all", all splits joined.

    Raises:
        DataError: There is no such split.
    """
    if name == ALL:
        parts = [dataset.splits[split] for split in SPLITS if split in dataset.splits]
        joined = concatenate(parts)
        return joined if all(part.patients is not None for part in parts) else replace(joined, patients=None)
    if name not in dataset.splits:
        options = " or ".join(f"--split {split}" for split in EVALUATED_SPLITS if split in dataset.splits)
        raise DataError(
            f"{dataset.name} has no {name} split: use {options or 'a source that has one'}. --split all evaluates all "
            f"images of a source that no run was trained on."
        )
    return dataset.splits[name]


def check_images(ensemble: Ensemble, dataset: Dataset, split: Split, split_name: str) -> None:
    """Raise an `EvaluationError` if the network cannot be evaluated on these images."""
    network, run = ensemble.first, ensemble.first.run.id
    if split_name == ALL and ensemble.runs_trained_on(dataset):
        raise EvaluationError(
            f"--split all: run {run} was trained on these images; use --split test, or a source of other images."
        )
    refit = next((own for own in ensemble.runs_trained_on(dataset) if own.trained_on_validation), None)
    if split_name == "validation" and refit is not None:
        raise EvaluationError(
            f"--split validation: run {refit.id} is a refit, which was trained on these validation images too; use "
            f"--split test, or evaluate run {refit.tags.get('refit_of', 'unknown')}, which it repeats."
        )
    shape = tuple(split.images.shape[1:])
    if shape != network.image_shape:
        height, width, channels = network.image_shape
        size = f"--image-size {height} (image_size={height})" if height == width else f"image_size=({height}, {width})"
        fixes = [size] if shape[:2] != (height, width) else []
        fixes += [f"--channels {channels} (channels={channels})"] if shape[2] != channels else []
        raise EvaluationError(
            f"{dataset.name}: images are {format_shape(shape)}, and the network of run {run} takes "
            f"{format_shape(network.image_shape)}; use {' and '.join(fixes)}."
        )
    if network.multi_label != (split.labels.ndim == 2):
        of_data, of_run = ("multi-label", "single-label") if split.labels.ndim == 2 else ("single-label", "multi-label")
        raise EvaluationError(
            f"{dataset.name}: the images are {of_data}, and the network of run {run} is {of_run}; use {of_run} images."
        )


def select_groups(groups: np.ndarray | str | None, split: Split, data_name: str) -> tuple[np.ndarray | None, str]:
    """Return the group of each image, by default its patient, and what the groups are, see `Evaluation.grouped_by`.

    Raises:
        EvaluationError: The number of groups is not that of the images, or there is no such column.
    """
    if groups is None:
        return separate_unknown(split.patients), PATIENTS if split.patients is not None else ""
    if isinstance(groups, str):
        column = get_columns(split, (groups,), data_name, "--groups")[groups]
        return np.array([str(value) for value in column.tolist()]), groups
    if np.shape(groups) != (len(split),):
        raise EvaluationError(
            f"groups has shape {np.shape(groups)}, and there are {len(split)} images; pass one group for each image."
        )
    return np.asarray(groups), GROUPS


def separate_unknown(patients: np.ndarray | None) -> np.ndarray | None:
    """Return the patients of images, each unknown one as a patient of its own; None if no patients are known."""
    if patients is None:
        return None
    return np.array([str(patient) or f"unknown: {index}" for index, patient in enumerate(patients)], object)


def check_prevalence(prevalence: float | None) -> None:
    """Raise an `EvaluationError` if a prevalence is not possible."""
    if prevalence is not None and not 0 < prevalence < 1:
        raise EvaluationError(f"prevalence={prevalence} is not possible; use a number between 0 and 1, such as 0.02.")


def check_report_path(path: str | Path | None) -> Path | None:
    """Return the path of the additional report, if there is one; raise an error if it cannot be written."""
    if path is None:
        return None
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise EvaluationError(f"cannot write the report {path}: the file name must end in .html.")
    return check_output_path(Path(path), "report")
