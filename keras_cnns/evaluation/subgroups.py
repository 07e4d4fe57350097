"""The same metrics for parts of the images: women and men, young and old, one hospital and the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_cnns.data.dataset import Split
from keras_cnns.errors import EvaluationError, nearest
from keras_cnns.evaluation.measured import Measured, Predicted

FEWEST_IMAGES = 20
FEWEST_GROUPS = 10
MOST_VALUES = 20
MOST_NUMBERS = 8
UNKNOWN = "unknown"
MISSING = ("", "nan", "none", "<na>", "nat")


def subgroups(predicted: Predicted, values: np.ndarray) -> dict[str, Measured]:
    """Measure the images of each value apart.

    Args:
        predicted: All images.
        values: The value that each has, in words, shape (images,).

    Returns:
        The values in order, those of unknown value last. Where there are fewer than 20 images of one, or they come
        from fewer than 10 patients, only their number.
    """
    parts = {value: predicted.take(np.flatnonzero(values == value)) for value in ordered(values)}
    return {value: part.measured() if enough(part) else part.counted() for value, part in parts.items()}


def enough(part: Predicted) -> bool:
    """Return whether there are enough images for metrics to say anything."""
    drawn = FEWEST_GROUPS if part.groups is None else len(np.unique(part.groups))
    return len(part.labels) >= FEWEST_IMAGES and drawn >= FEWEST_GROUPS


def find_columns(split: Split, names: Sequence[str], data_name: str, option: str) -> dict[str, np.ndarray]:
    """Return columns of a split.

    Raises:
        EvaluationError: There is no such column.
    """
    for name in names:
        if name not in split.columns:
            there = ", ".join(split.columns)
            works = f"it has {there}.{nearest(name, split.columns)}" if there else (
                "it has none; a table of images (CSV or Parquet) can have some."
            )  # fmt: skip
            raise EvaluationError(f"{option} {name}: {data_name} has no such column; {works}")
    return {name: np.asarray(split.columns[name]) for name in names}


def in_words(name: str, column: np.ndarray) -> np.ndarray:
    """Return the value of each image in words; numbers of many values are cut into quarters.

    Raises:
        EvaluationError: There are too many values for a table.
    """
    # Minus zero, which 0.0 is added to, is 0.
    written = [f"{value + 0.0:g}" if isinstance(value, float) else str(value).strip() for value in column.tolist()]
    words = np.array(written, dtype=object)
    missing = np.array([word.lower() in MISSING for word in words])
    words[missing] = UNKNOWN
    numbers = as_numbers(words, missing)
    if numbers is not None and len(np.unique(numbers[~missing])) > MOST_NUMBERS:
        return quarters(numbers, missing)
    different = len(set(words[~missing]))
    if different > MOST_VALUES:
        raise EvaluationError(
            f"--by {name}: {different:,} different values are too many for a table, {MOST_VALUES} at most; choose a "
            f"column of fewer, or of numbers, which are cut into quarters."
        )
    return words


def as_numbers(words: np.ndarray, missing: np.ndarray) -> np.ndarray | None:
    """Return values as numbers, NaN where one is missing; None where they are no numbers."""
    try:
        numbers = np.array([np.nan if lacks else float(word) for word, lacks in zip(words, missing, strict=True)])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers[~missing]).all() else None


def quarters(numbers: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return the quarter, by its edges, that each number lies in; equal numbers lie in the same one."""
    known = numbers[~missing]
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    place = np.searchsorted(edges, numbers, side="left")
    words = np.full(len(numbers), UNKNOWN, dtype=object)
    for quarter in range(len(edges) + 1):
        inside = (place == quarter) & ~missing
        if inside.any():
            words[inside] = f"{numbers[inside].min():g} to {numbers[inside].max():g}"
    return words


def ordered(words: np.ndarray) -> Iterator[str]:
    """Yield each value once: numbers, and quarters by where they begin, in their order, words in the alphabet's."""

    def place(word: str) -> tuple[bool, float, str]:
        try:
            return False, float(word.partition(" to ")[0]), word
        except ValueError:
            return True, 0.0, word

    yield from sorted(set(words.tolist()) - {UNKNOWN}, key=place)
    if UNKNOWN in words:
        yield UNKNOWN


def incomparable(labels: np.ndarray, words: Mapping[str, np.ndarray], names: Sequence[str]) -> Iterator[str]:
    """Say which subgroups' means are over other labels than those of all images.

    Args:
        labels: 0 or 1 for each label, shape (images, labels).
        words: For each column the value of each image.
        names: The labels.
    """
    told_apart = np.ptp(labels, axis=0) > 0
    for column, values in words.items():
        for value in ordered(values):
            lacking = told_apart & (np.ptp(labels[values == value], axis=0) == 0)
            if lacking.any():
                yield (
                    f"All or none of the images of {column} {value} have {', '.join(np.array(names)[lacking])}: the "
                    f"means there are over other labels, and cannot be compared."
                )
