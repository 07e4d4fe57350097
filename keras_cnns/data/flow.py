"""The flow of images and patients from a source into the splits of a dataset, as counts.

What a source has is what the splits have and what was left out of it: `Dataset.exclusions`. Training stores both with
the network, so that a write-up can show the flow without the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from keras_cnns.data.dataset import IMAGE_COLUMN, BrokenFile, Dataset, Exclusion, Split

UNKNOWN = "unknown: "
"""The beginning of the ID of a patient that stands for a single image of an unknown patient."""
UNREADABLE = "file cannot be read"
MAX_CATEGORIES = 8
"""The number of different values up to which a column is summarised by their counts."""
QUARTILES = (0.25, 0.5, 0.75)


def known_patients(patients: np.ndarray | None) -> set[str] | None:
    """Return the IDs of the known patients among those of images; None if no patients are known."""
    if patients is None:
        return None
    return {patient for patient in map(str, np.unique(patients)) if patient and not patient.startswith(UNKNOWN)}


def exclude(reason: str, split: str, before: np.ndarray | None, after: np.ndarray | None, images: int) -> Exclusion:
    """Return the exclusion of images from a split.

    Args:
        reason: Why they are left out.
        split: The split of the source.
        before: The patients of the images of this split; None if they are not known.
        after: The patients of the images that are kept.
        images: The number of images that are left out.
    """
    found, kept = known_patients(before), known_patients(after)
    patients = None if found is None or kept is None else len(found - kept)
    return Exclusion(reason, images, split, patients)


def exclude_broken(
    samples: Split, splits: np.ndarray, kept: np.ndarray, broken: Sequence[BrokenFile]
) -> tuple[Exclusion, ...]:
    """Return the exclusions of broken files, one for each split that has some.

    Args:
        samples: All files.
        splits: The split of each file.
        kept: The indices of the files that can be read.
        broken: The other files.
    """
    if not broken:
        return ()
    is_kept = np.zeros(len(samples), bool)
    is_kept[kept] = True
    exclusions = []
    for name in dict.fromkeys(splits[~is_kept].tolist()):
        of_split = splits == name
        before, after = (
            None if samples.patients is None else samples.patients[chosen] for chosen in (of_split, of_split & is_kept)
        )
        exclusions.append(exclude(UNREADABLE, name, before, after, int((of_split & ~is_kept).sum())))
    return tuple(exclusions)


def describe_flow(dataset: Dataset) -> dict[str, Any]:
    """Return the counts of a dataset, as JSON-compatible values.

    Returns:
        `splits` has for each split the number of `images`, of images of each class (`classes`), of `patients` (None if
        they are not known) and of `images_without_patient`, the `fingerprint`, and a summary of the other `columns`.
        `exclusions` has the attributes of each `Exclusion`.
    """
    return {
        "splits": {name: describe_split(split, dataset.class_names) for name, split in dataset.splits.items()},
        "exclusions": [asdict(exclusion) for exclusion in dataset.exclusions],
    }


def describe_split(split: Split, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the counts of a split."""
    patients = known_patients(split.patients)
    unknown = 0
    if split.patients is not None:
        unknown = sum(not patient or patient.startswith(UNKNOWN) for patient in map(str, split.patients))
    return {
        "images": len(split),
        "classes": dict(zip(class_names, split.class_counts(len(class_names)).tolist(), strict=True)),
        "patients": None if patients is None else len(patients),
        "images_without_patient": unknown,
        "fingerprint": split.fingerprint,
        "columns": describe_columns(split.columns),
    }


def describe_columns(columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Summarise columns such as the age and the sex: quartiles of numbers, or the count of each of a few values.

    Columns of text with more than `MAX_CATEGORIES` different values, which may be names or dates, are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, values in columns.items():
        if name == IMAGE_COLUMN:
            continue
        is_number = np.issubdtype(values.dtype, np.number)
        missing = np.isnan(values) if is_number else np.array([not str(value).strip() for value in values])
        known = values[~missing]
        counts = Counter(f"{value:g}" if is_number else str(value) for value in known.tolist())
        if len(counts) <= MAX_CATEGORIES:
            found[name] = {"counts": dict(sorted(counts.items())), "missing": int(missing.sum())}
        elif is_number:
            quartiles = [float(value) for value in np.quantile(known, QUARTILES)]
            found[name] = {"quartiles": quartiles, "missing": int(missing.sum())}
    return found
