"""Splitting of a dataset into training and validation images, and the table of its splits."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.data.dataset import IMAGE_COLUMN, SPLITS, Dataset, Split, concatenate
from keras_cnns.data.leaks import check_leaks, conflict_notes, drop_shared_images, find_leaks, hash_images
from keras_cnns.errors import DataError
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.data import partition
else:
    partition = LazyModule("keras_cnns.data.partition")  # imports scikit-learn

VALIDATION_FRACTION = 0.2
VALIDATION_NOTE = "Validation: "
MIN_PER_CLASS = 5
SPLIT_TABLE = "splits.csv"
PATTERN_HINT = " If these are not patients, say who is with --patient-pattern (patient_pattern)."


def split_dataset(dataset: Dataset, *, seed: int, fold: tuple[int, int] | None = None, leaks: str = "drop") -> Dataset:
    """Return a dataset with a validation split, unless there is nothing to train on.

    A validation split of the source is used. Otherwise a fifth of the training images becomes one. Images of the same
    patient and identical images are kept together. Images of files are reordered in place.

    Args:
        dataset: The splits of the source.
        seed: Seed of the validation split.
        fold: `(2, 5)` divides the training and validation images into five folds and validates on the second.
        leaks: What to do about images that are in two splits: "drop" removes them from the earlier one, "error" raises
            an error, "allow" accepts them, and patients that are in two splits, with a note.

    Raises:
        DataError: Two splits of the source share patients or images, or a class has too few images to split.
    """
    splits = dict(dataset.splits)
    hashes = hash_images(splits)
    found = [leak for leak in find_leaks(splits, hashes) if fold is None or "test" in leak.splits]
    notes = [*check_leaks(dataset.name, found, leaks), *conflict_notes(splits, hashes, dataset.class_names)]
    if leaks == "drop":
        pairs = [leak.splits for leak in found if leak.kind == "image"]
        splits, hashes, dropped, exclusions = drop_shared_images(splits, hashes, pairs)
        notes += dropped
        dataset = dataclasses.replace(dataset, splits=splits, exclusions=(*dataset.exclusions, *exclusions))
    if fold is not None or ("train" in splits and "validation" not in splits):
        splits["train"], splits["validation"], note = select_validation(dataset, hashes, fold, seed)
        notes.append(note)
    splits = {name: splits[name] for name in SPLITS if name in splits}
    for name, split in splits.items():
        notes += check_classes(dataset, name, split)
    return dataclasses.replace(dataset, splits=splits, notes=(*dataset.notes, *notes))


def select_validation(
    dataset: Dataset, hashes: Mapping[str, np.ndarray], fold: tuple[int, int] | None, seed: int
) -> tuple[Split, Split, str]:
    """Return the training images, the validation images and a note.

    Args:
        dataset: The splits of the source.
        hashes: The `pixel_hashes` of each split.
        fold: As in `split_dataset`.
        seed: Seed of the validation split.
    """
    if "train" not in dataset.splits:
        raise DataError(f"{dataset.name}: no training images to divide into folds; leave out --fold (fold).")
    names = [name for name in ("train", "validation") if name in dataset.splits]
    pool = concatenate([with_image_names(name, dataset.splits[name]) for name in names])
    groups = partition.group_images(np.concatenate([hashes[name] for name in names]), pool.patients)
    check_enough(dataset, pool, groups, fold)
    origin = f"{' and '.join(names).replace('train', 'training')} images"
    if fold is None and pool.labels.ndim == 1 and pool.patients is None:
        train, validation = partition.hold_out(pool.labels, VALIDATION_FRACTION, seed)
        if not np.isin(groups[validation], groups[train]).any():
            note = f"{VALIDATION_NOTE}{VALIDATION_FRACTION:.0%} of the {origin}, stratified, seed {seed}."
            return *divide(dataset, pool, train, validation), note
    if fold is None:
        held_out = partition.hold_out_groups(pool.labels, groups, VALIDATION_FRACTION, seed)
    else:
        held_out = partition.assign_folds(pool.labels, groups, fold[1], seed) == fold[0] - 1
    share = f"{held_out.mean():.0%}" if fold is None else f"fold {fold[0]} of {fold[1]}"
    by = "class" if pool.labels.ndim == 1 else "label"
    together = ", identical images kept together" if pool.patients is None else " and grouped by patient"
    note = f"{VALIDATION_NOTE}{share} of the {origin}, stratified by {by}{together}, seed {seed}."
    return *divide(dataset, pool, np.flatnonzero(~held_out), np.flatnonzero(held_out)), note


def divide(dataset: Dataset, pool: Split, train: np.ndarray, validation: np.ndarray) -> tuple[Split, Split]:
    """Return the training and the validation images of a pool.

    Images that were decoded into memory are reordered in place: a copy would need as much memory again.
    """
    if dataset.root is None or isinstance(pool.images, np.memmap):
        return pool.take(train), pool.take(validation)
    reorder(pool.images, np.concatenate([train, validation]))
    rest = dataclasses.replace(pool, images=np.arange(len(pool)))
    return (
        dataclasses.replace(rest.take(train), images=pool.images[: len(train)]),
        dataclasses.replace(rest.take(validation), images=pool.images[len(train) :]),
    )


def reorder(rows: np.ndarray, order: np.ndarray) -> None:
    """Do what `rows[:] = rows[order]` does, with the memory of one row. `order` is a permutation."""
    sources = order.tolist()
    for start in range(len(sources)):
        if sources[start] == start:
            continue
        first, place = rows[start].copy(), start
        while (source := sources[place]) != start:
            rows[place] = rows[source]
            sources[place], place = place, source
        rows[place] = first
        sources[place] = place


def check_fold(fold: tuple[int, int] | None) -> None:
    """Raise a `DataError` if a fold is not one of several."""
    if fold is not None and not (1 <= fold[0] <= fold[1] and fold[1] > 1):
        raise DataError(f"fold {fold[0]}/{fold[1]} is not possible; the first of five folds is 1/5 (fold=(1, 5)).")


def check_enough(dataset: Dataset, pool: Split, groups: np.ndarray, fold: tuple[int, int] | None) -> None:
    """Raise a `DataError` if a class has fewer groups of images than there are folds."""
    counts = np.diff(partition.count_per_group(pool.labels, groups).tocsc().indptr)[:-1]
    rarest, needed = int(counts.argmin()), MIN_PER_CLASS if fold is None else fold[1]
    if counts[rarest] < needed:
        count = f"{counts[rarest]} {'different training images' if pool.patients is None else 'patients'}"
        fewer = f"{needed} folds; use fewer, as in --fold 1/3 (fold=(1, 3))"
        raise DataError(
            f"{dataset.name}: class {dataset.class_names[rarest]!r} has {count}, too few for "
            f"{'a validation split; provide one' if fold is None else fewer}, or provide {needed} of each class."
            f"{'' if pool.patients is None else PATTERN_HINT}"
        )


def with_image_names(name: str, split: Split) -> Split:
    """Add the column `IMAGE_COLUMN`, which keeps the names of images that are not files when they are split."""
    if split.files or IMAGE_COLUMN in split.columns:
        return split
    names = np.array([split.image_name(name, index) for index in range(len(split))])
    return dataclasses.replace(split, columns={**split.columns, IMAGE_COLUMN: names})


def check_classes(dataset: Dataset, name: str, split: Split) -> list[str]:
    """Return a note on the classes without images in a split; raise a `DataError` if it is the train split."""
    counts = split.class_counts(dataset.classes)
    missing = [dataset.class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
    if not missing:
        return []
    if name == "train":
        raise DataError(f"{dataset.name}: there are no training images of class {missing[0]!r}.")
    return [f"No {name} images of class {', '.join(map(repr, missing))}: their AUC is undefined there."]


def check_labels(dataset: Dataset) -> None:
    """Raise a `DataError` if the labels of a split are out of range, or a classifier cannot learn from them."""
    classes = dataset.classes
    for name, split in dataset.splits.items():
        labels = split.labels
        if labels.ndim == 1 and classes < 2:
            raise DataError(f"{dataset.name}: all images are of one class; a classifier needs at least two.")
        if not len(labels):
            raise DataError(f"{dataset.name}: the {name} split does not contain images; add some or remove the split.")
        if labels.ndim == 2 and labels.shape[1] != classes:
            raise DataError(f"{dataset.name}: {labels.shape[1]} {name} labels per image do not fit {classes} labels.")
        wrong = labels[(labels < 0) | (labels >= (classes if labels.ndim == 1 else 2))]
        if len(wrong):
            valid = f"0 to {classes - 1} for {classes} classes" if labels.ndim == 1 else "0 or 1 for each label"
            raise DataError(f"{dataset.name}: {name} label {wrong[0]} is out of range; use {valid}.")
        if name == "train":
            check_classes(dataset, name, split)


def split_table(dataset: Dataset) -> str:
    """Return the split of each image as a CSV table.

    For image files the table is itself a source that reproduces the splits: it has the columns path, label, patient
    (if patients are known) and split. Multi-label data has a column of 0 or 1 for each label. Other images are named
    by their split and index in the source, such as train[17], in a column image.
    """
    has_files = all(split.files for split in dataset.splits.values())
    has_patients = any(split.patients is not None for split in dataset.splits.values())
    multi_label = dataset.task == "multi-label"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    label_columns = dataset.class_names if multi_label else ("label",)
    table.writerow(["path" if has_files else IMAGE_COLUMN, *label_columns, *["patient"] * has_patients, "split"])
    for name, split in dataset.splits.items():
        patients = np.full(len(split), "") if split.patients is None else split.patients
        for index, (label, patient) in enumerate(zip(split.labels.tolist(), patients, strict=True)):
            labels, image = label if multi_label else [dataset.class_names[label]], split.image_name(name, index)
            table.writerow([image, *labels, *[patient or f"unknown: {image}"] * has_patients, name])
    return text.getvalue()
