"""Loading of a dataset: read the source, convert the images, split them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from keras_cnns.data.classes import choose_positive
from keras_cnns.data.conversion import Conversion, convert_arrays
from keras_cnns.data.dataset import Dataset
from keras_cnns.data.decoding.window import find_window
from keras_cnns.data.leaks import check_choice
from keras_cnns.data.patients import guess_patient_groups, patients_from_names, similar_patient_notes
from keras_cnns.data.sources import read_source
from keras_cnns.data.sources.files import ImageFiles, read_files
from keras_cnns.data.sources.folder import PATIENT_FOLDERS
from keras_cnns.data.sources.table import with_root
from keras_cnns.data.splits import check_fold, check_labels, split_dataset
from keras_cnns.data.temporal import drop_tested_patients, split_by_date
from keras_cnns.data.value_range import RangeOptions, ValueRange, level_notes
from keras_cnns.errors import DataError

NOT_RECORDED = ("source", "root", "stream", "ranges")
"""The arguments of `load` that `Dataset.reading` does not have: the source of the dataset has the first two."""
UNKNOWN_PATIENTS = (
    "Patients are not known, so images of one patient may be in two splits; say who they are with a column of a table, "
    "with folders CLASS/PATIENT or with --patient-pattern (patient_pattern)."
)


def load(
    source: str | Path = "digits",
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str = "pad",
    window: str | tuple[float, float] | None = None,
    bits: int | None = None,
    value_range: tuple[float, float] | None = None,
    frames: str | None = None,
    root: str | Path | None = None,
    patient_pattern: str | None = None,
    positive: str | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    split_at: str | None = None,
    leaks: str = "drop",
    skip_broken: bool = False,
    keep_ids: bool = False,
    stream: bool | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Dataset:
    """Load labelled images.

    If the source has no validation split, a stratified fifth of its training images becomes one. A test split is
    never created.

    Args:
        source: One of the sources that `keras-cnns inspect --help` lists: `"digits"`, a folder of class folders, a
            table such as `"cases.csv?label=finding"`, ... Files may be DICOM.
        image_size: Resize the images to this height and width, or to a square of this side.
        channels: Convert the images to greyscale (1) or RGB (3).
        resize: What to do with images of another aspect ratio: "pad" them with black borders, "crop" their borders,
            or "stretch" them.
        window: Show DICOM images with this window instead of that of their headers: a name such as "lung", or its
            center and width.
        bits: The depth of values in files of more than 8 bits, such as 12; found by default.
        value_range: The values that become black and white, such as `(0, 1)`; found by default.
        frames: The frame of files with several: "first", "middle", or "all" of them as images of the same patient.
        root: The folder that the paths of a table are relative to, instead of that of the table.
        patient_pattern: A regular expression with a group that is the patient in the path of each file, such as
            `"(p[0-9]+)_"`; "" if the folders below the classes are not patients.
        positive: The positive class of two; by default a class such as "malignant" or "pneumonia" is recognised.
        seed: Seed of the validation split.
        fold: `(2, 5)` divides the training and validation images into five folds and validates on the second.
        split_at: A date such as `"2023-01-01"`, or the column and the date, such as `"study_date=2023-01-01"`: images
            from the date on are the test split, and earlier ones are divided into training and validation images.
        leaks: What to do about images that are in two splits: "drop" them from the earlier one (train, validation,
            test), raise an "error", or "allow" them and patients that are in two splits.
        skip_broken: Skip files that cannot be read, and note them.
        keep_ids: Let patient IDs appear in what is logged; by default they are replaced by pseudonyms there.
        stream: Keep the decoded images in a file instead of in memory; by default, if they do not fit in memory.
        ranges: The ranges of values that a network was trained with, as in `Dataset.ranges`.

    Raises:
        DataError: The source does not exist, is broken, or cannot be used to train a classifier.
    """
    options = {name: value for name, value in locals().items() if name not in NOT_RECORDED}
    check_options(seed=seed, fold=fold, leaks=leaks)
    conversion, range_options = choose_conversion(
        image_size=image_size, channels=channels, resize=resize, window=window, frames=frames, bits=bits,
        value_range=value_range, ranges=ranges,
    )  # fmt: skip
    found = find_source(source, root)
    if isinstance(found, ImageFiles) and found.problems:
        raise DataError(found.problems[0])
    dataset = read(
        found, conversion, range_options,
        patient_pattern=patient_pattern, split_at=split_at, skip_broken=skip_broken, stream=stream,
    )  # fmt: skip
    check_labels(dataset)
    dataset = split_dataset(choose_positive(dataset, positive), seed=seed, fold=fold, leaks=leaks)
    reading = json.loads(json.dumps(options, default=str))
    return replace(add_notes(dataset), reading=reading, keep_ids=keep_ids)


def check_options(*, seed: int, fold: tuple[int, int] | None, leaks: str) -> None:
    """Raise a `DataError` if an option of the splits is not possible."""
    if not 0 <= seed < 2**32:
        raise DataError(f"seed {seed} is not possible; use a whole number from 0 to {2**32 - 1}.")
    check_fold(fold)
    check_choice(leaks)


def choose_conversion(
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str = "pad",
    window: str | tuple[float, float] | None = None,
    frames: str | None = None,
    bits: int | None = None,
    value_range: tuple[float, float] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Conversion, RangeOptions]:
    """Return how images are converted and how the range of their values is chosen, from the options of `load`."""
    conversion = Conversion(
        image_size=image_size, channels=channels, resize=resize, window=find_window(window), frames=frames
    )
    known = {kind: ValueRange(*limits) for kind, limits in (ranges or {}).items()}
    limits = None if value_range is None else (value_range[0], value_range[1])
    return conversion, RangeOptions(bits=bits, value_range=limits, known=known)


def find_source(source: str | Path, root: str | Path | None) -> Dataset | ImageFiles:
    """Read the arrays of a source, or list its files."""
    return read_source(str(source) if root is None else with_root(str(source), root))


def read(
    found: Dataset | ImageFiles, conversion: Conversion, options: RangeOptions, *, patient_pattern: str | None,
    split_at: str | None, skip_broken: bool, stream: bool | None,
) -> Dataset:  # fmt: skip
    """Read the splits of a source as they are, and convert the images."""
    if not isinstance(found, ImageFiles):
        if patient_pattern:
            raise DataError(f"{found.name}: its images are not files, so a patient pattern cannot be used.")
        if split_at:
            raise DataError(f"{found.name}: its images have no dates, so it cannot be split by date (split_at).")
        return convert_arrays(found, conversion, options)
    if patient_pattern is not None:
        patients = patients_from_names(found.samples.files, patient_pattern) if patient_pattern else None
        samples = replace(found.samples, patients=patients)
        notes = [note for note in found.notes if PATIENT_FOLDERS not in note]
        notes += [f"Patients are read from the names of files with {patient_pattern!r}."] if patient_pattern else []
        found = replace(found, samples=samples, notes=tuple(notes))
    if split_at is None:
        return read_files(found, conversion, options, skip_broken=skip_broken, stream=stream)
    by_date = split_by_date(found, split_at)
    return drop_tested_patients(read_files(by_date, conversion, options, skip_broken=skip_broken, stream=stream))


def add_notes(dataset: Dataset) -> Dataset:
    """Add notes on patients, on the levels of grey and on a missing test split."""
    notes = [*dataset.notes, *describe_patients(dataset)]
    for name, split in dataset.splits.items():
        notes += level_notes(split.images, scaled=bool(dataset.ranges), split=name)
    if "test" not in dataset.splits:
        notes.append("No test split: the source does not have one.")
    return replace(dataset, notes=tuple(notes))


def describe_patients(dataset: Dataset) -> list[str]:
    """Return notes on unknown patients and on patients whose IDs are similar."""
    if any(split.patients is not None for split in dataset.splits.values()):
        return similar_patient_notes(dataset.splits)
    files = [file for split in dataset.splits.values() for file in split.files]
    if dataset.root is None:
        return [UNKNOWN_PATIENTS]
    return [guess_patient_groups(files) or UNKNOWN_PATIENTS]
