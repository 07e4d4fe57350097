"""A table of a dataset without duplicates, leaks and files that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_cnns.atomic import atomic_write
from keras_cnns.data.dataset import SPLITS, Dataset, Split
from keras_cnns.data.inspection.report import Duplicates, Inspection, LeftOut, Sample
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.splits import split_table
from keras_cnns.errors import SettingError

TEST = "test"


def check_table(path: str | Path, found: Dataset | ImageFiles) -> Path:
    """Check that a clean table can be written and that its folder contains the images, before they are decoded.

    Raises:
        SettingError: The images are not files or not in the folder of the table, or it would replace the source.
    """
    table = Path(path)
    if not isinstance(found, ImageFiles):
        raise SettingError(f"cannot write {path}: the images of {found.name} are not files, which a table needs.")
    if table.suffix.lower() != ".csv":
        raise SettingError(f"cannot write {path}: the name of a clean table must end in .csv.")
    if not table.parent.is_dir():
        raise SettingError(f"cannot write {path}: {table.parent} is not a folder; create it, or choose another.")
    if not found.root.resolve().is_relative_to(table.parent.resolve()):
        raise SettingError(
            f"cannot write {path}: a table must be in the folder of its images or above; choose "
            f"{found.root / table.name}."
        )
    if table.resolve() == Path(found.source.partition("?")[0]).resolve():
        raise SettingError(f"cannot write {path}: it would replace the source; choose another name.")
    return table


def clean(dataset: Dataset, inspection: Inspection) -> tuple[Dataset, tuple[LeftOut, ...]]:
    """Leave out what would make training or evaluation wrong.

    These are training and validation images (never test images) that

    - are identical or nearly identical to an image with another label, because one of the labels is wrong,
    - are identical to an image that is kept: the one in the last of the splits train, validation and test is kept,
    - are nearly identical to an image in a later split, or of a patient in a later split,

    and files that cannot be read. Nearly identical images in one split are kept: they may be views of one patient.

    Args:
        dataset: The dataset.
        inspection: Its inspection.

    Returns:
        The dataset, whose images are their indices in each split of the given one, and what is left out.
    """
    reasons: dict[tuple[str, int], str] = {}
    for sample, reason in (*find_duplicates(inspection), *find_shared_patients(dataset)):
        if sample.split != TEST:
            reasons.setdefault((sample.split, sample.index), reason)
    splits = {}
    for name, split in dataset.splits.items():
        kept = [index for index in range(len(split)) if (name, index) not in reasons]
        if kept:
            splits[name] = replace(split, images=np.arange(len(split))).take(np.array(kept))
    left_out = [LeftOut(dataset.splits[name].image_name(name, index), reason)
                for (name, index), reason in sorted(reasons.items())]  # fmt: skip
    broken = [LeftOut(file.file, f"cannot be read: {file.reason}") for file in dataset.broken]
    return replace(dataset, splits=splits), (*broken, *left_out)


def find_duplicates(inspection: Inspection) -> Iterator[tuple[Sample, str]]:
    """Yield the duplicates to leave out, with the reason; test images among them are to be kept."""

    def rank(sample: Sample) -> tuple[int, int]:
        return SPLITS.index(sample.split), -sample.index

    for group in (*inspection.exact_duplicates, *inspection.near_duplicates):
        kept = max(group.samples, key=rank)
        for sample in group.samples:
            if group.conflicting:
                yield sample, describe_conflict(group, sample)
            elif sample is not kept and (group.exact or sample.split != kept.split):
                yield sample, f"{'identical' if group.exact else 'nearly identical'} to {kept.name} ({kept.split})"


def describe_conflict(group: Duplicates, sample: Sample) -> str:
    """Describe the images that contradict the label of an image."""
    others = " and ".join(f"{other.name} ({other.label})" for other in group.samples if other is not sample)
    return f"label {sample.label} contradicts the {'' if group.exact else 'nearly '}identical {others}"


def find_shared_patients(dataset: Dataset) -> Iterator[tuple[Sample, str]]:
    """Yield the images of patients who also have images in a later split."""
    names = [name for name in SPLITS if name in dataset.splits]
    for position, name in enumerate(names):
        for later in names[position + 1 :]:
            patients, others = dataset.splits[name].patients, dataset.splits[later].patients
            if patients is not None and others is not None:
                for index in np.flatnonzero(np.isin(patients, others) & (patients != "")).tolist():
                    yield Sample.of(dataset, name, index), f"patient {patients[index]} is also in {later}"


def write_table(dataset: Dataset, table: Path) -> None:
    """Write the splits of a dataset of files as a table, with paths relative to its folder, or raise `SettingError`."""
    if dataset.root is None:
        raise SettingError(f"cannot write {table}: the images of {dataset.name} are not files.")
    folder = dataset.root.resolve().relative_to(table.parent.resolve())

    def relative(split: Split) -> Split:
        files = [(folder / file).as_posix() for file in split.files]
        if split.patients is None:
            return replace(split, files=tuple(files))
        known = [patient or f"unknown: {file}" for patient, file in zip(split.patients.tolist(), files, strict=True)]
        return replace(split, files=tuple(files), patients=np.array(known))

    text = split_table(replace(dataset, splits={name: relative(split) for name, split in dataset.splits.items()}))
    try:
        with atomic_write(table) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise SettingError(f"cannot write {table}: {error.strerror}; choose another path.") from error
