"""Folds of a cross-validation: groups of images that are held out in turn.

The training and validation images of a dataset are divided together. Images of a patient, identical images and nearly
identical ones are in the same fold, directly or through other images. The images that a network is trained on are
divided again into training and validation images, by the same rules, so that the held-out fold chooses nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.data.dataset import IMAGE_COLUMN, MISSING, Dataset, column_texts, concatenate, list_examples
from keras_cnns.data.duplicates import brightness_gradients, hash_arrays, near_duplicates, pixel_hashes
from keras_cnns.data.splits import PATTERN_HINT, VALIDATION_FRACTION, VALIDATION_NOTE, with_image_names
from keras_cnns.errors import DataError, ResumeError, nearest
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.data import partition
else:
    partition = LazyModule("keras_cnns.data.partition")  # imports scikit-learn

FOLD_TABLE = "folds.csv"
MAX_FOLDS = 100
UNKNOWN = (*MISSING, "na", "n/a", "unknown")
HASH = "sha256"


@dataclass(frozen=True, kw_only=True, eq=False)
class Folds:
    """The folds of a pooled dataset, see `pool_images`.

    Attributes:
        names: The name of each fold: its number from 1, or the value of the column.
        assigned: The index of the fold of each image, shape (images,).
        groups: The group of each image, counted from 0, shape (images,).
        column: The column whose values are the folds; "" for folds of about equal size.
        seed: Seed of the folds and of the validation images of each fold.
        notes: How the images were divided.
    """

    names: tuple[str, ...]
    assigned: np.ndarray
    groups: np.ndarray
    column: str = ""
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def describe(self, fold: int) -> str:
        """Name a fold in messages, such as "fold 2 of 5" or "scanner=B"."""
        return f"{self.column}={self.names[fold]}" if self.column else f"fold {self.names[fold]} of {len(self)}"

    def held_out(self, fold: int) -> np.ndarray:
        """Return the indices of the images of a fold."""
        return np.flatnonzero(self.assigned == fold)

    def others(self, fold: int) -> np.ndarray:
        """Return the indices of the images that do not share a group with an image of a fold.

        With folds of about equal size these are the images of the other folds. If a column gives the folds, a patient
        can have images in several; those in other folds are left out here.
        """
        return np.flatnonzero(~np.isin(self.groups, self.groups[self.assigned == fold]))

    def divide(self, labels: np.ndarray, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the images to train on, and of those to validate on, when a fold is held out.

        Args:
            labels: The labels of all images, as in `Split`.
            fold: The index of the fold.
        """
        others = self.others(fold)
        _, groups = np.unique(self.groups[others], return_inverse=True)
        validation = partition.hold_out_groups(labels[others], groups, VALIDATION_FRACTION, self.seed)
        return others[~validation], others[validation]

    def make_dataset(self, pooled: Dataset, fold: int) -> Dataset:
        """Return the dataset that is trained on when a fold is held out, with a train and a validation split."""
        pool = pooled.training
        train, validation = self.divide(pool.labels, fold)
        note = f"Cross-validation: {self.describe(fold)} is held out, {VALIDATION_FRACTION:.0%} of the others validate."
        return dataclasses.replace(
            pooled,
            splits={"train": pool.take(train), "validation": pool.take(validation)},
            notes=(*pooled.notes, note),
        )


def pool_images(dataset: Dataset) -> Dataset:
    """Return a dataset whose train split also has the validation images, without any other split.

    Images that are not files keep the name of their split and their index.
    """
    _ = dataset.training  # raises if there are none
    names = [name for name in ("train", "validation") if name in dataset.splits]
    pool = concatenate([with_image_names(name, dataset.splits[name]) for name in names])
    notes = tuple(note for note in dataset.notes if not note.startswith(VALIDATION_NOTE))
    return dataclasses.replace(dataset, splits={"train": pool}, notes=notes)


def make_folds(pooled: Dataset, *, folds: int = 5, column: str | None = None) -> Folds:
    """Divide the images of a pooled dataset into folds, stratified by class or label.

    Args:
        pooled: A dataset of `pool_images`.
        folds: The number of folds.
        column: A column of the source, such as the scanner; each of its values is a fold, whatever `folds` is.

    Raises:
        DataError: The number of folds is not possible, a class has too few images or patients, or the column cannot be
            used.
    """
    pool = pooled.training
    seed = int(pooled.reading.get("seed") or 0)
    by_value = None if column is None else read_values(pooled, column)  # before the images are compared
    (hashes,) = pixel_hashes(pool.images)
    near = near_duplicates(brightness_gradients(pool.images), hashes)
    groups = partition.group_images(hashes, pool.patients, [(one, other) for one, other, _ in near])
    if by_value is not None:
        names, assigned = by_value
    else:
        check_count(pooled, groups, folds)
        assigned = partition.assign_folds(pool.labels, groups, folds, seed)
        names = tuple(str(fold + 1) for fold in range(folds))
    made = Folds(names=names, assigned=assigned, groups=groups, column=column or "", seed=seed)
    check_classes_of_training(pooled, made)
    return add_notes(made, pooled)


def check_count(pooled: Dataset, groups: np.ndarray, folds: int) -> None:
    """Raise a `DataError` if the number of folds is out of range, or a class has fewer groups than there are folds."""
    if not 2 <= folds <= MAX_FOLDS:
        raise DataError(f"{folds} folds are not possible; use 2 to {MAX_FOLDS}, such as --folds 5 (folds=5).")
    pool = pooled.training
    counts = np.diff(partition.count_per_group(pool.labels, groups).tocsc().indptr)[: pooled.classes]
    rarest = int(counts.argmin())
    if counts[rarest] < folds:
        unit = "different images" if pool.patients is None else "patients"
        fewer = f"use at most {counts[rarest]}, as in --folds {counts[rarest]} (folds={counts[rarest]}), or "
        raise DataError(
            f"{pooled.name}: class {pooled.class_names[rarest]!r} has {counts[rarest]} {unit}, too few for {folds} "
            f"folds; {fewer if counts[rarest] > 1 else ''}provide {folds} of each class."
            f"{'' if pool.patients is None else PATTERN_HINT}"
        )


def read_values(pooled: Dataset, column: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the values of a column, and the index of the value of each image.

    Raises:
        DataError: There is no such column, or it does not have a value for each image, or too few or too many values.
    """
    pool, option = pooled.training, f"--fold-by {column} (fold_by={column!r})"
    if column not in pool.columns:
        known = [name for name in pool.columns if name != IMAGE_COLUMN]
        hint = f"it has {', '.join(known)}.{nearest(column, known)}" if known else "it has none."
        raise DataError(f"{option}: {pooled.name} has no such column; {hint}")
    texts = np.array(column_texts(pool.columns[column]))
    missing = [pool.image_name("train", index) for index, text in enumerate(texts) if text.lower() in UNKNOWN]
    if missing:
        count = f"{len(missing):,} of {len(texts):,} images"
        raise DataError(
            f"{option}: {count} have no value ({list_examples(missing)}), so they belong to no fold; add their values, "
            f"or leave these images out."
        )
    names = sorted(set(texts.tolist()), key=sort_key)
    if not 2 <= len(names) <= MAX_FOLDS:
        raise DataError(
            f"{option}: the column has {len(names):,} different values, each of which would be a fold; use a column "
            f"with 2 to {MAX_FOLDS}."
        )
    indices = {name: index for index, name in enumerate(names)}
    return tuple(names), np.array([indices[text] for text in texts.tolist()])


def sort_key(name: str) -> tuple[bool, float, str]:
    """Return the key that sorts numbers first, in ascending order, and then texts."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def add_notes(folds: Folds, pooled: Dataset) -> Folds:
    """Return the folds with notes on how the images were divided, and on groups of images in several folds."""
    patients_known = pooled.training.patients is not None
    if not folds.column:
        together = f"{'images of a patient, ' * patients_known}identical and nearly identical images kept together"
        count = f"{len(folds)} folds of {len(folds.assigned):,} images"
        return dataclasses.replace(
            folds, notes=(f"Cross-validation: {count}, stratified, {together}, seed {folds.seed}.",)
        )
    listed = list_examples(folds.names)
    notes = [f"Cross-validation: each of {len(folds)} values of {folds.column!r} is held out in turn: {listed}."]
    if shared := count_shared_groups(folds):
        kind = "patients (or nearly identical images)" if patients_known else "groups of nearly identical images"
        notes.append(
            f"{shared:,} {kind} have images with several values of {folds.column!r}: when one value is held out, their "
            f"other images are not trained on."
        )
    return dataclasses.replace(folds, notes=tuple(notes))


def count_shared_groups(folds: Folds) -> int:
    """Return the number of groups with images in several folds."""
    pairs = np.unique(np.stack([folds.groups, folds.assigned]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def check_classes_of_training(pooled: Dataset, folds: Folds) -> None:
    """Raise a `DataError` if a class has no training images when a fold is held out."""
    pool = pooled.training
    for fold in range(len(folds)):
        train, _ = folds.divide(pool.labels, fold) if len(folds.others(fold)) else (np.empty(0, np.int64), None)
        labels = pool.labels[train]
        counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=pooled.classes)
        if not counts.all():
            name = pooled.class_names[int(np.argmin(counts))]
            fix = f"use another column than {folds.column!r}" if folds.column else "use fewer folds"
            raise DataError(
                f"{pooled.name}: without {folds.describe(fold)} there are no training images of class {name!r}; {fix}, "
                f"or provide more images of this class."
            )


def fold_table(pooled: Dataset, folds: Folds) -> str:
    """Return the fold of each image as a CSV table, with its patient, group and the beginning of its SHA-256."""
    pool = pooled.training
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *["patient"] * (pool.patients is not None), "fold", "group", HASH])
    hashes = image_hashes(pool.images)
    for index, fold in enumerate(folds.assigned.tolist()):
        patient = [] if pool.patients is None else [str(pool.patients[index])]
        row = [pool.image_name("train", index), *patient, folds.names[fold], folds.groups[index], hashes[index]]
        table.writerow(row)
    return text.getvalue()


def image_hashes(images: np.ndarray) -> list[str]:
    """Return the first 16 hexadecimal digits of the SHA-256 of the pixels of each image."""
    return [f"{value:016x}" for value in hash_arrays(list(np.asarray(images))).tolist()]


def read_folds(text: str, pooled: Dataset, *, column: str | None = None) -> Folds:
    """Return the folds that `fold_table` wrote for the same images.

    Raises:
        ResumeError: The table is not that of these images.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    pool = pooled.training
    if [row["image"] for row in rows] != [pool.image_name("train", index) for index in range(len(pool))]:
        raise ResumeError(f"{FOLD_TABLE} lists other images than {pooled.name}; start without --resume (resume).")
    names = sorted({row["fold"] for row in rows}, key=sort_key)
    indices = {name: index for index, name in enumerate(names)}
    folds = Folds(
        names=tuple(names),
        assigned=np.array([indices[row["fold"]] for row in rows]),
        groups=np.array([int(row["group"]) for row in rows]),
        column=column or "",
        seed=int(pooled.reading.get("seed") or 0),
    )
    return add_notes(folds, pooled)
