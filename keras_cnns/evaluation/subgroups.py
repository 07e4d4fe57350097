"""Metrics of subgroups: the images of each value of a column, such as the sex, the age or the hospital."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_cnns.data.dataset import MISSING, Split, column_texts
from keras_cnns.errors import EvaluationError, nearest
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.results import MetricResult

MIN_IMAGES = 20
MIN_GROUPS = 10
MAX_SUBGROUPS = 20
MAX_DISTINCT_NUMBERS = 8
UNKNOWN = "unknown"


def compute_subgroups(predictions: LabelledPredictions, names: np.ndarray) -> dict[str, MetricResult]:
    """Compute the metrics of each subgroup.

    Args:
        predictions: The predictions for all images.
        names: The subgroup of each image, shape (images,).

    Returns:
        The results in the order of `sort_subgroups`. A subgroup of fewer than 20 images, or of images from fewer than
        10 patients, has no metrics, only the number of its images.
    """
    subgroups = {name: predictions.take(np.flatnonzero(names == name)) for name in sort_subgroups(names)}
    return {name: part.compute() if is_large_enough(part) else part.count() for name, part in subgroups.items()}


def is_large_enough(subgroup: LabelledPredictions) -> bool:
    """Return whether a subgroup has enough images and groups for metrics."""
    groups = MIN_GROUPS if subgroup.groups is None else len(np.unique(subgroup.groups))
    return len(subgroup.labels) >= MIN_IMAGES and groups >= MIN_GROUPS


def get_columns(split: Split, names: Sequence[str], data_name: str, option: str) -> dict[str, np.ndarray]:
    """Return columns of a split.

    Raises:
        EvaluationError: There is no such column.
    """
    for name in names:
        if name not in split.columns:
            hint = "it has none; a table of images (CSV or Parquet) can have columns."
            if split.columns:
                hint = f"it has {', '.join(split.columns)}.{nearest(name, split.columns)}"
            raise EvaluationError(f"{option} {name}: {data_name} has no such column; {hint}")
    return {name: np.asarray(split.columns[name]) for name in names}


def name_subgroups(column_name: str, column: np.ndarray) -> np.ndarray:
    """Return the name of the subgroup of each image: the value or, for many different numbers, the quartile.

    Raises:
        EvaluationError: The column has too many different values.
    """
    texts = column_texts(column)
    names = np.array(texts, dtype=object)
    missing = np.array([text.lower() in MISSING for text in texts])
    names[missing] = UNKNOWN
    numbers = parse_numbers(names, missing)
    if numbers is not None and len(np.unique(numbers[~missing])) > MAX_DISTINCT_NUMBERS:
        return name_quartiles(numbers, missing)
    if (distinct := len(set(names[~missing]))) > MAX_SUBGROUPS:
        raise EvaluationError(
            f"--by {column_name}: the column has {distinct:,} different values, and at most {MAX_SUBGROUPS} are "
            f"possible; choose a column with fewer values, or with numbers, which are grouped into quartiles."
        )
    return names


def parse_numbers(texts: np.ndarray, missing: np.ndarray) -> np.ndarray | None:
    """Return the values as numbers, NaN where one is missing; None if some are not finite numbers."""
    try:
        numbers = np.where(missing, "nan", texts).astype(np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers[~missing]).all() else None


def name_quartiles(numbers: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return the quartile of each number, named by its smallest and largest number; equal numbers share a quartile."""
    edges = np.unique(np.quantile(numbers[~missing], [0.25, 0.5, 0.75]))
    quartiles = np.searchsorted(edges, numbers, side="left")
    names = np.full(len(numbers), UNKNOWN, dtype=object)
    for quartile in np.unique(quartiles[~missing]):
        inside = (quartiles == quartile) & ~missing
        names[inside] = f"{numbers[inside].min():g} to {numbers[inside].max():g}"
    return names


def sort_subgroups(names: np.ndarray) -> list[str]:
    """Return each subgroup once: numbers and quartiles in ascending order, then texts, then unknown values."""

    def sort_key(name: str) -> tuple[bool, bool, float, str]:
        try:
            return name == UNKNOWN, False, float(name.partition(" to ")[0]), name
        except ValueError:
            return name == UNKNOWN, True, 0.0, name

    return sorted(set(names.tolist()), key=sort_key)


def find_incomparable(
    labels: np.ndarray, subgroups: Mapping[str, np.ndarray], label_names: Sequence[str]
) -> Iterator[str]:
    """Yield a note for each subgroup of a column whose means are over fewer labels than those of all images."""
    varies = np.ptp(labels, axis=0) > 0
    for column, names in subgroups.items():
        for name in sort_subgroups(names):
            constant = varies & (np.ptp(labels[names == name], axis=0) == 0)
            if constant.any():
                left_out = ", ".join(np.array(label_names)[constant])
                yield (
                    f"Either all or none of the images of {column} {name} have {left_out}: the means of this subgroup "
                    f"leave out these labels and cannot be compared with the others."
                )
