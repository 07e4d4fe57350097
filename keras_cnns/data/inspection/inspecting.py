"""Inspection of a dataset."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.data.dataset import Dataset, Split, count_pixels, mean_and_std
from keras_cnns.data.decoding.image import read_size
from keras_cnns.data.duplicates import (
    brightness_gradients,
    exact_duplicates,
    find_blank,
    near_duplicates,
    pixel_hashes,
)
from keras_cnns.data.inspection.contact_sheet import check_sheet, draw_sheet, save_sheet
from keras_cnns.data.inspection.report import Duplicates, Inspection, Sample, SplitSummary
from keras_cnns.data.leaks import check_leaks, find_leaks
from keras_cnns.data.loading import load


def inspect(
    source: str | Path = "digits",
    *,
    seed: int = 0,
    sheet: str | Path | None = None,
    augmentation: str | None = None,
    **options: Any,
) -> Inspection:
    """Summarise a dataset and report its problems.

    Leaks and files that cannot be read are reported instead of raising an error.

    Args:
        source: The source, as in `load`.
        seed: Seed of the validation split and of the images in the contact sheet.
        sheet: A PNG file for a contact sheet of each class and of duplicates.
        augmentation: An augmentation preset to show in the contact sheet.
        **options: Other arguments of `load`: `image_size`, `channels`, `fold` and `stream`.

    Raises:
        DataError: The source cannot be read.
        SettingError: The contact sheet cannot be written, or there is no such preset.
    """
    path = check_sheet(sheet, augmentation)
    dataset = load(source, seed=seed, allow_leaks=True, skip_broken=True, **options)
    inspection = inspect_dataset(dataset, resized=options.get("image_size") is not None)
    if path is not None:
        save_sheet(draw_sheet(dataset, inspection, augmentation=augmentation, seed=seed), path)
    return inspection


def inspect_dataset(dataset: Dataset, *, resized: bool = False) -> Inspection:
    """Inspect a loaded dataset and, if it was resized, the sizes of its files."""
    splits = dataset.splits
    hashes = {name: pixel_hashes(split.images) for name, split in splits.items()}
    all_hashes = np.concatenate(list(hashes.values()))
    gradients = np.concatenate([brightness_gradients(split.images) for split in splits.values()])
    leaks = find_leaks(splits, hashes)
    leak_notes = check_leaks(dataset.name, leaks, allowed=True)
    positions = [(name, index) for name, split in splits.items() for index in range(len(split))]

    def group(indices: Iterable[int], similarity: float = 1.0) -> Duplicates:
        return Duplicates(tuple(Sample.of(dataset, *positions[index]) for index in indices), similarity)

    return Inspection(
        name=dataset.name,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        task=dataset.task,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        file_sizes=count_file_sizes(dataset) if resized else {},
        splits={name: summarise(name, split, dataset.classes) for name, split in splits.items()},
        exact_duplicates=tuple(map(group, exact_duplicates(all_hashes))),
        near_duplicates=tuple(group(pair, similarity) for *pair, similarity in near_duplicates(gradients, all_hashes)),
        leaks=tuple(leaks),
        broken=dataset.broken,
        notes=tuple(note for note in dataset.notes if note not in leak_notes),
    )


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


def count_file_sizes(dataset: Dataset) -> dict[tuple[int, int], int]:
    """Count the image files of each width and height, the most frequent first, reading only their headers."""
    root = dataset.root
    if root is None:
        return {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom|PIL")
        sizes = Counter(read_size(root / file) for split in dataset.splits.values() for file in split.files)
    return dict(sizes.most_common())
