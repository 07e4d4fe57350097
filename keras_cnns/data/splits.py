"""Who is in which split."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_cnns.data.dataset import SPLITS, Dataset, Split, chunks
from keras_cnns.data.duplicates import joined_groups, pixel_hashes
from keras_cnns.data.leaks import IMAGE, find_leaks, image_name, settle_leaks
from keras_cnns.data.streaming import copy_rows
from keras_cnns.errors import DataError

VALIDATION_FRACTION = 0.2
FEWEST_TO_PART = 5
SPLIT_TABLE = "splits.csv"


def settle(
    name: str,
    splits: Mapping[str, Split],
    class_names: Sequence[str],
    *,
    seed: int,
    fold: tuple[int, int] | None = None,
    allow_leaks: bool = False,
) -> tuple[dict[str, Split], list[str]]:
    """Return the splits that a data set has in the end, and what a report must say of how they came about.

    A source without validation images has a fifth of its training images held out. Images of one patient, and images
    that are the same pixel by pixel, are never parted.

    Args:
        name: The data set, for messages.
        splits: What the source brings.
        class_names: The classes, by label.
        seed: Chooses the images that are held out.
        fold: `(2, 5)` joins training and validation images, parts them in 5 and validates on the second part.
        allow_leaks: Accept the same patient or the same image in two splits.

    Raises:
        DataError: Two splits of the source share patients or images, or there are too few to part.
    """
    hashes = {split: pixel_hashes(part.images) for split, part in splits.items()}
    leaks = [leak for leak in find_leaks(splits, hashes) if fold is None or "test" in leak.splits]
    notes = settle_leaks(name, leaks, allowed=allow_leaks)
    settled = dict(splits)
    if fold is not None:
        settled["train"], settled["validation"], note = take_part(name, splits, hashes, class_names, fold, seed)
        notes.append(note)
    elif "train" in splits and "validation" not in splits:
        train = numbered("train", splits["train"])
        kept, held, note = choose_validation(name, train, hashes["train"], class_names, seed)
        settled["train"], settled["validation"] = train.take(kept), train.take(held)
        notes.append(note)
    for split in SPLITS:
        if split in settled:
            notes += empty_classes(name, split, settled[split].labels, class_names)
    return {split: settled[split] for split in SPLITS if split in settled}, notes


def choose_validation(
    name: str, train: Split, hashes: np.ndarray, class_names: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the places of images to train on and of those held out, and what a report must say."""
    groups = joined_groups(hashes, train.patients)
    enough = f"to hold out validation images; give {FEWEST_TO_PART} of each class, or a validation split"
    check_enough(name, train, groups, class_names, FEWEST_TO_PART, enough)
    if train.labels.ndim == 1 and train.patients is None:
        kept, held = hold_out(train.labels, VALIDATION_FRACTION, seed)
        if not np.isin(groups[held], groups[kept]).any():
            return kept, held, f"Validation: {VALIDATION_FRACTION:.0%} of the training images, stratified, seed {seed}."
    parts = deal(train.labels, groups, round(1 / VALIDATION_FRACTION), seed)
    # A group larger than its share makes one part too large: the part of the best size is held out.
    chosen = np.abs(np.bincount(parts) - VALIDATION_FRACTION * len(train)).argmin()
    held = np.flatnonzero(parts == chosen)
    share = f"{len(held) / len(train):.0%} of the training images"
    return np.flatnonzero(parts != chosen), held, f"Validation: {share}, {manner(train)}, seed {seed}."


def take_part(
    name: str,
    splits: Mapping[str, Split],
    hashes: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    fold: tuple[int, int],
    seed: int,
) -> tuple[Split, Split, str]:
    """Return training and validation images of one of several parts, and what a report must say."""
    part, parts = fold
    if not 1 <= part <= parts or parts < 2:
        raise DataError(f"fold {part}/{parts} is not a part of several; the first of five is 1/5 (fold=(1, 5)).")
    sources = [split for split in ("train", "validation") if split in splits]
    if "train" not in sources:
        raise DataError(f"{name}: has no training images that could be parted; leave out --fold (fold).")
    everything = join([numbered(split, splits[split]) for split in sources])
    groups = joined_groups(np.concatenate([hashes[split] for split in sources]), everything.patients)
    enough = f"for {parts} parts; use fewer, as in --fold 1/3 (fold=(1, 3)), or give {parts} of each class"
    check_enough(name, everything, groups, class_names, parts, enough)
    places = deal(everything.labels, groups, parts, seed)
    training, validation = everything.take(np.flatnonzero(places != part - 1)), np.flatnonzero(places == part - 1)
    from_ = f"part {part} of {parts} of the {' and '.join(sources).replace('train', 'training')} images"
    return training, everything.take(validation), f"Validation: {from_}, {manner(everything)}, seed {seed}."


def manner(split: Split) -> str:
    """Say how images were parted."""
    by = "class" if split.labels.ndim == 1 else "label"
    together = "identical images kept together" if split.patients is None else "grouped by patient"
    return f"stratified by {by}{',' if split.patients is None else ' and'} {together}"


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part images into those to train on and those held out, each class in proportion.

    Args:
        labels: The class of each image.
        fraction: The share that is held out.
        seed: Equal seeds part equally.

    Returns:
        Sorted indices of the images to train on, and of those held out.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import, seldom needed

    kept, held = train_test_split(np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels)
    return np.sort(kept), np.sort(held)


def deal(labels: np.ndarray, groups: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """Deal whole groups of images out to parts, so that each part gets its share of every class.

    As scikit-learn's `StratifiedGroupKFold` does, the largest groups and the rarest classes come first, and each group
    goes to where the shares of the classes then vary least between parts. It works for several labels an image too, and
    takes less than a second for 60,000 groups, where scikit-learn's takes many.

    Args:
        labels: The class of each image, or 0 or 1 for each label: shape (images,) or (images, labels).
        groups: The group of each image, from 0.
        parts: How many parts.
        seed: Equal seeds deal equally.

    Returns:
        The part of each image, from 0: shape (images,).
    """
    counts = group_counts(labels, groups)
    weights = 1 / np.maximum(np.asarray(counts.sum(axis=0)), 1)
    drawn = np.random.default_rng(seed).permutation(counts.shape[0])
    order = drawn[np.argsort(-(counts @ weights)[drawn], kind="stable")]
    filled = np.zeros((parts, counts.shape[1]))
    chosen = np.empty(counts.shape[0], np.int64)
    for group in order:
        entries = slice(counts.indptr[group], counts.indptr[group + 1])
        columns, images = counts.indices[entries], counts.data[entries]
        # The sum over classes of squared shares grows by twice this, and by the same for all parts.
        growth = filled[:, columns] @ (images * weights[columns] ** 2)
        chosen[group] = np.lexsort((filled[:, -1], growth))[0]
        filled[chosen[group], columns] += images
    return np.asarray(chosen[groups])


def group_counts(labels: np.ndarray, groups: np.ndarray) -> Any:
    """Count each group's images of each class and, in the last column, all its images."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - slow to import

    images = np.arange(len(labels))
    place, column = (images, labels) if labels.ndim == 1 else np.nonzero(labels)
    columns = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    rows = np.concatenate((groups[place], groups))
    entries = np.concatenate((column, np.full(len(labels), columns)))
    counts = csr_array((np.ones(len(rows)), (rows, entries)), shape=(int(groups.max()) + 1, columns + 1))
    counts.sum_duplicates()
    return counts


def check_enough(
    name: str, split: Split, groups: np.ndarray, class_names: Sequence[str], parts: int, enough: str
) -> None:
    """Raise a `DataError` where a class has fewer groups of images than there are to be parts."""
    counts = np.diff(group_counts(split.labels, groups).tocsc().indptr)[:-1]
    rarest = int(counts.argmin())
    if counts[rarest] < parts:
        units = "patients" if split.patients is not None else "different training images"
        images = int((split.labels == rarest).sum()) if split.labels.ndim == 1 else int(split.labels[:, rarest].sum())
        units = "training images" if images == counts[rarest] and split.patients is None else units
        raise DataError(f"{name}: class {class_names[rarest]!r} has {counts[rarest]} {units}, too few {enough}.")


def join(splits: Sequence[Split]) -> Split:
    """Put splits behind one another, with what is known of the images of all."""
    known = set.intersection(*(set(split.columns) for split in splits))
    patients = [np.full(len(split), "") if split.patients is None else split.patients for split in splits]
    return Split(
        joined_images([split.images for split in splits]),
        np.concatenate([split.labels for split in splits]),
        files=tuple(file for split in splits for file in split.files) if all(split.files for split in splits) else (),
        patients=np.concatenate(patients) if any(split.patients is not None for split in splits) else None,
        columns={name: np.concatenate([split.columns[name] for split in splits]) for name in sorted(known)},
    )


def joined_images(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Put images behind one another, streamed ones as streamed ones."""
    if not any(isinstance(array, np.memmap) for array in arrays):
        return np.concatenate(arrays)
    joined = copy_rows(arrays[0], np.resize(np.arange(len(arrays[0])), sum(map(len, arrays))))
    begin = 0
    for array in arrays:
        for chunk in chunks(array):
            joined[begin : begin + len(chunk)] = chunk
            begin += len(chunk)
    return joined


def numbered(name: str, split: Split) -> Split:
    """Note the split and place that each image without a name has in its source, before images are parted."""
    if split.files or IMAGE in split.columns:
        return split
    places = np.array([image_name(name, split, place) for place in range(len(split))])
    return dataclasses.replace(split, columns={**split.columns, IMAGE: places})


def empty_classes(name: str, split: str, labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Return what a report must say of classes that a split has no images of.

    Raises:
        DataError: They are missing in the training images.
    """
    counts = class_counts(labels, len(class_names))
    missing = [class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
    if not missing:
        return []
    if split == "train":
        raise DataError(f"{name}: no training image is of class {missing[0]!r}.")
    return [f"No {split} image is of class {', '.join(map(repr, missing))}: its AUC there is not defined."]


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the images of each class, or with each label: shape (classes,)."""
    return np.asarray(labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=classes))


def check_labels(name: str, split: str, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise a `DataError` where the labels of a split cannot be learned from.

    Args:
        name: The data set, for the message.
        split: The split, for the message.
        labels: The class of each image, or 0 or 1 for each label.
        class_names: The classes there should be.
    """
    classes = len(class_names)
    if labels.ndim == 1 and classes < 2:
        raise DataError(f"{name}: all images are of one class; a classifier needs at least two.")
    if not len(labels):
        raise DataError(f"{name}: the {split} split has no images; give some, or leave out the split.")
    if labels.ndim == 2 and labels.shape[1] != classes:
        raise DataError(f"{name}: {labels.shape[1]} {split} labels an image cannot be those of {classes} classes.")
    wrong = labels[(labels < 0) | (labels >= (classes if labels.ndim == 1 else 2))]
    if len(wrong) and labels.ndim == 2:
        raise DataError(f"{name}: the {split} labels have {wrong[0]}; with several labels an image, each is 0 or 1.")
    if len(wrong):
        raise DataError(
            f"{name}: the {split} labels have {wrong[0]}, which is out of range; they must be 0 to "
            f"{classes - 1}, one for each of the {classes} classes."
        )
    if split == "train":
        empty_classes(name, split, labels, class_names)


def split_table(dataset: Dataset) -> str:
    """Write who is in which split, as a CSV table.

    Where the images are files it is itself a source: it has the columns path, label, patient where patients are known,
    and split. With several labels an image, there is a column of 0 or 1 for each label. Images without names are
    called by split and place in their source, as train[17], in a column image.

    Args:
        dataset: Images in splits.
    """
    named = all(split.files for split in dataset.splits.values())
    grouped = any(split.patients is not None for split in dataset.splits.values())
    several = dataset.task == "multi-label"
    labels = dataset.class_names if several else ("label",)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path" if named else IMAGE, *labels, *(["patient"] if grouped else []), "split"])
    for name, split in dataset.splits.items():
        images = [image_name(name, split, place) for place in range(len(split))]
        patients = np.full(len(split), "") if split.patients is None else split.patients
        for image, label, patient in zip(images, split.labels.tolist(), patients, strict=True):
            known = label if several else [dataset.class_names[label]]
            table.writerow([image, *known, *([patient] if grouped else []), name])
    return text.getvalue()
