"""Temporal splits: images before a date to train and validate on, and images from that date on to test on.

Scanners, protocols and patients change, so a test on later patients is closer to the use of a network than a test on
patients of the same time (Altman and Royston, "What do we mean by validating a prognostic model?", 2000).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from datetime import date

import numpy as np

from keras_cnns.data.dataset import IMAGE_COLUMN, MISSING, Dataset, list_examples
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.errors import DataError, nearest

YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?")
COMPACT = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)")
DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[T ].*)?")
UNKNOWN_ORDER = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:[T ].*)?")
YEAR = re.compile(r"(?:19|20)\d\d")
OPTION = "--split-at (split_at)"


def split_by_date(files: ImageFiles, option: str) -> ImageFiles:
    """Make the images from a date on the test split of a source that has only training images.

    Args:
        files: The images, with a column of dates.
        option: The date, such as "2023-01-01"; or the column and the date, such as "study_date=2023-01-01".

    Raises:
        DataError: The source has splits already, the column is missing or ambiguous, an image does not have a date, or
            all images are on one side.
    """
    column, first = parse_option(option)
    splits = list(dict.fromkeys(files.splits.tolist()))
    if splits != ["train"]:
        raise DataError(
            f"{files.name}: has splits already ({', '.join(splits)}), which {OPTION} would replace; leave it out, or "
            f"use a source without splits."
        )
    texts = {name: to_texts(values) for name, values in files.samples.columns.items() if name != IMAGE_COLUMN}
    column, dates = find_dates(files.name, texts, column, first)
    missing = [file for file, day in zip(files.samples.files, dates, strict=True) if day is None]
    if missing:
        raise DataError(
            f"{files.name}: {len(missing):,} of {len(dates):,} images have no date in {column!r} "
            f"({list_examples(missing)}), which {OPTION} needs; add the dates, or leave these images out."
        )
    later = np.array([day >= first for day in dates if day is not None])
    if later.all() or not later.any():
        days = [day for day in dates if day is not None]
        raise DataError(
            f"{files.name}: all images are {'from' if later.all() else 'before'} {first}{' on' * bool(later.all())}; "
            f"the dates in {column!r} are {min(days)} to {max(days)}, so choose one between them."
        )
    order = np.argsort(later, kind="stable")
    note = (
        f"Temporal split by {column!r}: {int((~later).sum()):,} images before {first} to train and validate on, "
        f"{int(later.sum()):,} from {first} on to test on."
    )
    return dataclasses.replace(
        files,
        samples=files.samples.take(order),
        splits=np.where(later, "test", "train")[order],
        notes=(*files.notes, note),
    )


def drop_tested_patients(dataset: Dataset) -> Dataset:
    """Leave out the training images of patients that also have images in the test split, and add a note."""
    train, test = dataset.splits.get("train"), dataset.splits.get("test")
    if train is None or test is None or train.patients is None or test.patients is None:
        return dataset
    shared = np.isin(train.patients, test.patients[test.patients != ""])
    if not shared.any():
        return dataset
    patients = np.unique(train.patients[shared]).tolist()
    if shared.all():
        raise DataError(
            f"{dataset.name}: every patient before the date of {OPTION} has images from that date on, too, so none is "
            f"left to train on; choose an earlier or a later date."
        )
    note = (
        f"Temporal split: {len(patients):,} patient{'s have' if len(patients) > 1 else ' has'} images on both sides of "
        f"the date ({list_examples(patients)}); their {int(shared.sum()):,} earlier images are left out of training."
    )
    splits = {**dataset.splits, "train": train.take(np.flatnonzero(~shared))}
    return dataclasses.replace(dataset, splits=splits, notes=(*dataset.notes, note))


def parse_option(option: str) -> tuple[str | None, date]:
    """Return the column, if it is named, and the date."""
    column, equals, text = option.rpartition("=")
    days = parse_dates([text.strip()], years=True)
    if not days or days[0] is None:
        raise DataError(
            f"{OPTION} {option!r}: write a date as YEAR-MONTH-DAY, such as 2023-01-01, or the column and a date, such "
            f"as study_date=2023-01-01."
        )
    return (column.strip() if equals else None), days[0]


def to_texts(values: np.ndarray) -> list[str]:
    """Return the values of a column as texts, whole numbers without a fraction and missing values as ""."""
    texts = [
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        for value in values.tolist()
    ]
    return ["" if text.lower() in MISSING else text for text in texts]


def find_dates(
    name: str, texts: dict[str, list[str]], column: str | None, first: date
) -> tuple[str, list[date | None]]:
    """Return the column of dates, and the date of each image, None where it is missing.

    Raises:
        DataError: There is no such column, none or several could be meant, or its values are not dates.
    """
    if column is not None:
        if column not in texts:
            known = f"it has {', '.join(texts)}.{nearest(column, texts)}" if texts else "it has none."
            raise DataError(f"{OPTION} {column}={first}: {name} has no column {column!r}; {known}")
        dates = parse_dates(texts[column], years=True)
        if dates is None:
            examples = list_examples(dict.fromkeys(filter(None, texts[column])))
            raise DataError(
                f"{name}: not all values of column {column!r} are dates, or day and month cannot be distinguished "
                f"({examples}); write them as YEAR-MONTH-DAY, such as 2023-01-31."
            )
        return column, dates
    found = {name: dates for name, values in texts.items() if (dates := parse_dates(values)) is not None}
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        listed = " and ".join(map(repr, found))
        raise DataError(
            f"{name}: {listed} could be the date of {OPTION}; choose one, as in --split-at {next(iter(found))}={first}."
        )
    listed = f"its columns are {', '.join(texts)}" if texts else "it has no columns, as a table of images can have"
    raise DataError(
        f"{name}: no column has only dates, which {OPTION} needs; {listed}. Name one, as in --split-at COLUMN={first}."
    )


def parse_dates(texts: Sequence[str], *, years: bool = False) -> list[date | None] | None:
    """Return the dates of texts, None for empty ones; None if they are not dates of one form.

    The forms are 2023-01-31 (also with a time, points or slashes), 20230131, 31.1.2023, and 31/1/2023 or 1/31/2023 if
    a number above 12 shows which is the day.

    Args:
        texts: The texts.
        years: Whether a year, such as 2023, stands for its first day.
    """
    filled = [text for text in texts if text]
    for form, order in ((YEAR_FIRST, (0, 1, 2)), (COMPACT, (0, 1, 2)), (DAY_FIRST, (2, 1, 0))):
        if filled and all(map(form.fullmatch, filled)):
            return convert(texts, form, order)
    if years and filled and all(map(YEAR.fullmatch, filled)):
        return [date(int(text), 1, 1) if text else None for text in texts]
    if filled and all(map(UNKNOWN_ORDER.fullmatch, filled)):
        possible = [
            dates for order in ((2, 1, 0), (2, 0, 1)) if (dates := convert(texts, UNKNOWN_ORDER, order)) is not None
        ]
        return possible[0] if len(possible) == 1 or (possible and possible[0] == possible[1]) else None
    return None


def convert(texts: Sequence[str], form: re.Pattern[str], order: tuple[int, int, int]) -> list[date | None] | None:
    """Return the dates of texts of a form, whose groups are year, month and day in this order; None if one is wrong."""
    dates: list[date | None] = []
    for text in texts:
        match = form.fullmatch(text)
        numbers = match.groups() if match else None
        try:
            dates.append(date(*(int(numbers[index]) for index in order)) if numbers else None)
        except ValueError:
            return None
    return dates
