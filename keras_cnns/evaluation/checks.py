"""Whether a network and images fit, and which images are meant, before anything is measured."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.dataset import SPLITS, Split
from keras_cnns.data.splits import join
from keras_cnns.errors import DataError, EvaluationError, nearest
from keras_cnns.evaluation.ensembles import Ensemble, to_classes
from keras_cnns.evaluation.network import by
from keras_cnns.evaluation.subgroups import find_columns

ALL = "all"
MEASURED = ("validation", "test", ALL)
PATIENTS, GROUPS = "patients", "groups"
MOST_VIEWS = 1000


def check_split(split: str) -> None:
    """Raise an `EvaluationError` where a split cannot be evaluated, whatever the images."""
    if split not in MEASURED:
        raise EvaluationError(
            f"split {split!r} cannot be evaluated: choose test, or validation, or all of an external source; training "
            f"images only show what a network has seen.{nearest(split, MEASURED)}"
        )


def check_views(views: int) -> int:
    """Return the number of views, or say what would be one."""
    if not 1 <= views <= MOST_VIEWS:
        raise EvaluationError(f"views {views} is not possible; use 1 for none but the image, up to {MOST_VIEWS}.")
    return views


def find_split(dataset: Dataset, name: str) -> Split:
    """Return a split, or all of them joined; or say which there are."""
    if name == ALL:
        parts = [dataset.splits[split] for split in SPLITS if split in dataset.splits]
        whole = join(parts) if len(parts) > 1 else parts[0]
        return whole if all(part.patients is not None for part in parts) else replace(whole, patients=None)
    if name not in dataset.splits:
        there = " or ".join(f"--split {split}" for split in MEASURED if split in dataset.splits)
        raise DataError(
            f"{dataset.name} has no {name} split, and none is made up: "
            + (f"{there} is there." if there else "give a source that has one.")
            + " --split all takes all images of a source that no run was trained on."
        )
    return dataset.splits[name]


def check_fit(ensemble: Ensemble, dataset: Dataset, split: Split, name: str) -> np.ndarray:
    """Return the split's labels as the network counts its classes, or say why it cannot take these images."""
    network = ensemble.first
    run, names = network.run.id, network.class_names
    if name == ALL and is_own(ensemble, dataset):
        raise EvaluationError(
            f"--split all: run {run} was trained on these images; choose --split test, or a source of other images."
        )
    if name == "validation":
        check_unseen(ensemble, dataset)
    shape = tuple(split.images.shape[1:])
    if shape != network.image_shape:
        height, width, channels = network.image_shape
        size = f"--image-size {height} (image_size={height})" if height == width else f"image_size=({height}, {width})"
        works = [size] if shape[:2] != (height, width) else []
        works += [f"--channels {channels} (channels={channels})"] if shape[2] != channels else []
        raise EvaluationError(
            f"{dataset.name}: images are {by(shape)} and the network of run {run} takes {by(network.image_shape)}; "
            f"{' and '.join(works)} would fit."
        )
    if network.multi_label != (split.labels.ndim == 2):
        has, gives = ("any number of labels", "one class") if split.labels.ndim == 2 else ("one class", "labels")
        raise EvaluationError(
            f"{dataset.name}: an image has {has} and the network of run {run} gives {gives}; give images of its kind."
        )
    if dataset.classes != len(names):
        raise EvaluationError(
            f"{dataset.name} has {dataset.classes} classes and the network of run {run} tells {len(names)} apart "
            f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}); give images in those classes."
        )
    return to_classes(split.labels, dataset.class_names, names)


def check_unseen(ensemble: Ensemble, dataset: Dataset) -> None:
    """Raise an `EvaluationError` where a network was trained on the validation images that it is to be measured on."""
    for member in ensemble.members:
        if member.run.knows_validation and member.run.data_fingerprint == dataset.fingerprint:
            raise EvaluationError(
                f"--split validation: run {member.run.id} is a refit, trained on these validation images too; choose "
                f"--split test, or evaluate what it repeats, run {member.run.tags.get('refit_of', 'unknown')}."
            )


def is_own(ensemble: Ensemble, dataset: Dataset) -> bool:
    """Return whether images are the data set of one of the runs."""
    return any(member.run.data_fingerprint == dataset.fingerprint for member in ensemble.members)


def check_groups(groups: np.ndarray | str | None, split: Split, data_name: str) -> tuple[np.ndarray | None, str]:
    """Return what each image belongs to that is drawn as a whole, and what that is called.

    Args:
        groups: As `evaluate` takes them.
        split: The images; their patients count where nothing else is said.
        data_name: The data set, for the message.

    Raises:
        EvaluationError: They are not one for each image, or there is no such column.
    """
    if groups is None:
        return split.patients, PATIENTS if split.patients is not None else ""
    if isinstance(groups, str):
        column = find_columns(split, (groups,), data_name, "--groups")[groups]
        return np.array([str(value) for value in column.tolist()]), groups
    if np.shape(groups) != (len(split),):
        raise EvaluationError(
            f"groups has shape {np.shape(groups)} and there are {len(split)} images; give one group for each image."
        )
    return np.asarray(groups), GROUPS


def check_report(path: str | Path | None) -> Path | None:
    """Return where the report is to be written as well, or say why it cannot be, before any work is done for it."""
    if path is None:
        return None
    page = Path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise EvaluationError(f"cannot write the report {page}: its name has to end in .html.")
    if not os.access(page.parent, os.W_OK | os.X_OK) or page.is_dir():
        raise EvaluationError(f"cannot write the report {page}: name a file in a folder that can be written.")
    return page
