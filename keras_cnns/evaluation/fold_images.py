"""The images of a cross-validation, on which its networks are never evaluated."""

from __future__ import annotations

import csv
import io

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.folds import FOLD_TABLE, HASH, image_hashes
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.compatibility import select_split
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.tracking import Store

MAX_SHARED = 0.5


def check_fold_images(store: Store, ensemble: Ensemble, dataset: Dataset, split: str) -> list[str]:
    """Return a note on images of a split that networks of a cross-validation were trained on.

    Raises:
        EvaluationError: The split belongs to the dataset of the cross-validation and is not its test split, or more
            than half of its images do.
    """
    check_own_split(ensemble, dataset, split)
    if ensemble.runs_trained_on(dataset) or not any(run.cross_validation for run in ensemble.runs):
        return []
    return describe_shared_images(store, ensemble, select_split(dataset, split).images, dataset.name)


def check_own_split(ensemble: Ensemble, dataset: Dataset, split: str) -> None:
    """Raise an `EvaluationError` if a split has images that networks of a cross-validation were trained on."""
    own = next((run for run in ensemble.runs_trained_on(dataset) if run.cross_validation), None)
    if own is None or (split == "test" and split in dataset.splits):
        return
    problem = (
        f"{dataset.name} has no test split, and the networks" if split == "test" else f"--split {split}: the networks"
    )
    raise EvaluationError(
        f"{problem} of cross-validation {own.cross_validation} were trained on these images; its result is that of the "
        f"out-of-fold predictions, in its run (out_of_fold_auc and others, evaluation/out_of_fold/report.html). Use "
        f"images that none of them was trained on{', such as --split test' if 'test' in dataset.splits else ''}."
    )


def describe_shared_images(store: Store, ensemble: Ensemble, images: np.ndarray, name: str) -> list[str]:
    """Return a note on images of another dataset that networks of a cross-validation were trained on.

    Raises:
        EvaluationError: More than half of the images are, because the dataset is the same one with other splits.
    """
    parents = dict.fromkeys(run.cross_validation for run in ensemble.runs if run.cross_validation)
    notes = []
    for parent in parents:
        table = store.read_file(parent, FOLD_TABLE) or ""
        known = {row[HASH] for row in csv.DictReader(io.StringIO(table))}
        shared = sum(of_image in known for of_image in image_hashes(images)) if known else 0
        if shared > MAX_SHARED * len(images):
            raise EvaluationError(
                f"{name}: {shared:,} of {len(images):,} images are those of cross-validation {parent}, whose networks "
                f"were trained on them; use other images."
            )
        if shared:
            notes.append(
                f"{shared:,} of {len(images):,} images are exact copies of images of cross-validation {parent}."
            )
    return notes
