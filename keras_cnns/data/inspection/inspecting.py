"""Inspection of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.data.classes import choose_positive
from keras_cnns.data.dataset import Dataset, Split, count_pixels, mean_and_std
from keras_cnns.data.duplicates import (
    brightness_gradients,
    exact_duplicates,
    find_blank,
    near_duplicates,
)
from keras_cnns.data.inspection.cleaning import check_table, clean, write_table
from keras_cnns.data.inspection.contact_sheet import check_sheet, draw_sheet, save_sheet
from keras_cnns.data.inspection.headers import Header, count_sizes, read_headers
from keras_cnns.data.inspection.report import Duplicates, Finding, Inspection, Sample, SplitSummary, count_of
from keras_cnns.data.inspection.shortcuts import audit_shortcuts
from keras_cnns.data.leaks import check_leaks, find_leaks, hash_images
from keras_cnns.data.loading import add_notes, check_options, choose_conversion, find_source, read
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.splits import split_dataset
from keras_cnns.errors import DataError

Size = tuple[int, int]


def inspect(
    source: str | Path = "digits",
    *,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    split_at: str | None = None,
    root: str | Path | None = None,
    patient_pattern: str | None = None,
    positive: str | None = None,
    stream: bool | None = None,
    sheet: str | Path | None = None,
    augmentation: str | None = None,
    write: str | Path | None = None,
    **conversion: Any,
) -> Inspection:
    """Summarise a dataset and report its problems.

    What makes `load` raise an error about a dataset is reported instead, such as leaks, files that cannot be read,
    ambiguous ranges of values, different sizes, and classes with too few images. Images of different sizes are resized
    to the most frequent one, unless `image_size` is given.

    Args:
        source: The source, as in `load`.
        seed: Seed of the validation split and of the images in the contact sheet.
        fold: As in `load`.
        split_at: As in `load`.
        root: As in `load`.
        patient_pattern: As in `load`.
        positive: As in `load`.
        stream: As in `load`.
        sheet: A PNG file for a contact sheet of each class and of duplicates.
        augmentation: An augmentation preset to show in the contact sheet.
        write: A CSV file for a table of the dataset without duplicates, leaks and broken files, see `clean`.
        **conversion: Other arguments of `load` that say how images are converted, such as `image_size`.

    Raises:
        DataError: The source cannot be read, or contains no image that can be.
        SettingError: The contact sheet or the table cannot be written, or there is no such preset.
    """
    path = check_sheet(sheet, augmentation)
    check_options(seed=seed, fold=fold, leaks="allow")
    choose_conversion(**conversion)
    found = find_source(source, root)
    table = None if write is None else check_table(write, found)
    headers: dict[str, Header] = {}
    of_source: tuple[str, ...] = ()
    if isinstance(found, ImageFiles):
        of_source = found.problems
        headers = dict(zip(found.samples.files, read_headers(found.root, found.samples.files), strict=True))
    sizes = count_array_sizes(found) if isinstance(found, Dataset) else count_sizes(headers.values())
    mixed = len(sizes) > 1 and conversion.get("image_size") is None
    if mixed:
        width, height = next(iter(sizes))
        conversion["image_size"] = (height, width)
    if len(count_channels(found)) > 1 and conversion.get("channels") is None:
        conversion["channels"] = 3
    how, ranges = choose_conversion(**conversion)
    ranges = replace(ranges, problems=[])
    dataset = read(
        found, how, ranges,
        patient_pattern=patient_pattern, split_at=split_at, skip_broken=True, stream=stream,
    )  # fmt: skip
    dataset, problems = remove_unusable(dataset)
    messages = (*of_source, *(ranges.problems or ()))
    problems += [Finding(problem, advice) for problem, _, advice in map(split_message, messages)]
    dataset = choose_positive(dataset, positive)
    dataset, more = split_or_explain(dataset, seed=seed, fold=fold)
    dataset = add_notes(dataset)
    of_images = find_headers(dataset, headers)
    inspection = inspect_dataset(
        dataset,
        headers=of_images,
        sizes=count_sizes(of_images) if of_images else sizes,
        mixed=mixed,
        problems=(*problems, *more),
    )
    if table is not None:
        cleaned, left_out = clean(dataset, inspection)
        write_table(cleaned, table)
        inspection = replace(inspection, left_out=left_out)
    if path is not None:
        save_sheet(draw_sheet(dataset, inspection, augmentation=augmentation, seed=seed), path)
    return inspection


def count_array_sizes(found: Dataset) -> dict[Size, int]:
    """Count the arrays of each width and height, the most frequent first."""
    sizes: Counter[Size] = Counter()
    for split in found.splits.values():
        if split.images.dtype == object:
            sizes.update((int(image.shape[1]), int(image.shape[0])) for image in split.images)
        elif split.images.ndim >= 3:
            sizes[int(split.images.shape[2]), int(split.images.shape[1])] += len(split.images)
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def count_channels(found: Dataset | ImageFiles) -> set[int]:
    """Return the numbers of channels of the arrays of a source; files need no conversion."""
    if isinstance(found, ImageFiles):
        return set()
    arrays = [split.images for split in found.splits.values() if split.images.dtype != object]
    return {array.shape[3] if array.ndim == 4 else 1 for array in arrays}


def find_headers(dataset: Dataset, headers: dict[str, Header]) -> list[Header]:
    """Return the header of the file of each image; `FILE#3` is a frame of FILE."""
    files = [file for split in dataset.splits.values() for file in split.files]
    return [headers.get(file) or headers.get(file.rpartition("#")[0], {}) for file in files] if headers else []


def remove_unusable(dataset: Dataset) -> tuple[Dataset, list[Finding]]:
    """Remove splits without images, and images whose label is not one of a class, and report them."""
    splits, problems = {}, []
    for name, split in dataset.splits.items():
        if split.labels.ndim == 2 and split.labels.shape[1] != dataset.classes:
            shape = f"{split.labels.shape[1]} {name} labels per image"
            raise DataError(f"{dataset.name}: {shape} do not fit {dataset.classes} labels.")
        highest = 1 if split.labels.ndim == 2 else dataset.classes - 1
        valid = ((split.labels >= 0) & (split.labels <= highest)).reshape(len(split), -1).all(axis=1)
        wrong = np.flatnonzero(~valid)
        if len(wrong):
            example = f"{split.labels[wrong[0]]} of {split.image_name(name, int(wrong[0]))}"
            problem = (
                f"{count_of(wrong.tolist(), f'{name} image')} with a label that is out of range, such as {example}"
            )
            problems.append(Finding(problem, f"use 0 to {highest}; they are left out of this inspection"))
        if valid.any():
            splits[name] = split.take(np.flatnonzero(valid)) if len(wrong) else split
        else:
            problems.append(Finding(f"the {name} split does not contain images", "add some or remove the split"))
    if not splits:
        raise DataError(f"{dataset.name}: no image has a label of a class; check the labels.")
    return replace(dataset, splits=splits), problems


def split_or_explain(dataset: Dataset, *, seed: int, fold: tuple[int, int] | None) -> tuple[Dataset, list[Finding]]:
    """Split a dataset as `load` does or, if that is not possible, keep the splits of the source and report why."""
    try:
        return split_dataset(dataset, seed=seed, fold=fold, leaks="allow"), []
    except DataError as error:
        if class_problems(dataset):
            return dataset, []
        problem, _, advice = split_message(str(error).removeprefix(f"{dataset.name}: "))
        return dataset, [Finding(problem, advice or "add images, or leave out the class")]


def split_message(message: str) -> tuple[str, str, str]:
    """Split an error message into the problem, the separator and the advice."""
    return message.removesuffix(".").partition("; ")


def inspect_dataset(
    dataset: Dataset,
    *,
    headers: Sequence[Header] = (),
    sizes: dict[Size, int] | None = None,
    mixed: bool = False,
    problems: Sequence[Finding] = (),
) -> Inspection:
    """Inspect a loaded dataset.

    Args:
        dataset: The dataset.
        headers: The headers of the files of all images, in the order of the splits.
        sizes: The number of images of each width and height before they were resized.
        mixed: Whether a common size had to be chosen for this inspection.
        problems: Problems that were found before.
    """
    splits = dataset.splits
    hashes = hash_images(splits)
    all_hashes = np.concatenate(list(hashes.values()))
    gradients = np.concatenate([brightness_gradients(split.images) for split in splits.values()])
    leaks = find_leaks(splits, hashes)
    leak_notes = check_leaks(dataset.name, leaks, "allow")
    positions = [(name, index) for name, split in splits.items() for index in range(len(split))]

    def group(indices: Iterable[int], similarity: float = 1.0) -> Duplicates:
        return Duplicates(tuple(Sample.of(dataset, *positions[index]) for index in indices), similarity)

    return Inspection(
        name=dataset.name,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        task=dataset.task,
        class_names=dataset.class_names,
        positive=dataset.positive,
        image_shape=dataset.image_shape,
        file_sizes=sizes or {},
        mixed_sizes=mixed,
        splits={name: summarise(name, split, dataset.classes) for name, split in splits.items()},
        exact_duplicates=tuple(map(group, exact_duplicates(all_hashes))),
        near_duplicates=tuple(group(pair, similarity) for *pair, similarity in near_duplicates(gradients, all_hashes)),
        leaks=tuple(leaks),
        broken=dataset.broken,
        problems=(*problems, *class_problems(dataset)),
        shortcuts=audit_shortcuts(dataset, all_hashes, headers),
        notes=tuple(note for note in dataset.notes if note not in leak_notes),
    )


def class_problems(dataset: Dataset) -> list[Finding]:
    """Return the problems that keep `load` from using a dataset to train: no images, or one class."""
    if "train" not in dataset.splits:
        return [Finding("no training images", "runs can be evaluated on these images; to train, add a train split")]
    if dataset.classes < 2 and dataset.task != "multi-label":
        return [Finding(f"all images are of one class, {dataset.class_names[0]!r}", "add images of another class")]
    counts = dataset.splits["train"].class_counts(dataset.classes)
    missing = [dataset.class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
    problem = f"{count_of(missing, 'class', 'classes')} without training images: {', '.join(map(repr, missing))}"
    return [Finding(problem, "add images, or remove the class")] if missing else []


def summarise(name: str, split: Split, classes: int) -> SplitSummary:
    """Summarise the contents of a split."""
    mean, std = mean_and_std(count_pixels(split.images).sum(axis=0, keepdims=True))
    return SplitSummary(
        images=len(split),
        classes=tuple(split.class_counts(classes).tolist()),
        patients=None if split.patients is None else len(set(split.patients.tolist()) - {""}),
        mean=float(mean[0]),
        std=float(std[0]),
        blank=tuple(split.image_name(name, index) for index in find_blank(np.asarray(split.images)).tolist()),
    )
