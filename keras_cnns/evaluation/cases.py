"""The table of cases of an evaluation: one row per image, for analyses with other tools.

It has these columns: `path` (or `image` if the images are not files), `patient` if patients are known, `split`,
`true_class`, `predicted_class`, `probability_NAME` for each class, and the columns of subgroups. In multi-label
classification there are `true_NAME` and `predicted_NAME` (0 or 1) and `probability_NAME` for each label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from keras_cnns.atomic import atomic_write
from keras_cnns.data.dataset import IMAGE_COLUMN, Dataset, Split, describe_shape

if TYPE_CHECKING:
    from keras_cnns.evaluation.labelled_predictions import LabelledPredictions

CASES = "predictions"
PATH, PATIENT, SPLIT, TRUE_CLASS, PREDICTED_CLASS, PROBABILITY = (
    "path", "patient", "split", "true_class", "predicted_class", "probability_",
)  # fmt: skip

CONVERSION = ("resize", "window", "bits", "value_range", "frames")
"""The options of `load` that change pixels, besides the size and the channels."""


def case_table(
    split: Split,
    split_name: str,
    *,
    labels: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str],
    columns: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return the table of cases.

    Args:
        split: The images, with the names of files and patients as they are to be shown.
        split_name: The name of the split.
        labels: The true class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        probabilities: Shape (images, classes), on one scale for all images.
        predicted: The predicted class or labels, of the shape of `labels`.
        class_names: The classes or labels.
        columns: Further columns, such as those of subgroups; a name that the table has already gets a number.
    """
    images = [split.image_name(split_name, index) for index in range(len(split))]
    table: dict[str, object] = {PATH if split.files else IMAGE_COLUMN: images}
    if split.patients is not None:
        table[PATIENT] = split.patients.astype(str)
    table[SPLIT] = split_name
    if labels.ndim == 2:
        for index, name in enumerate(class_names):
            table |= {f"true_{name}": labels[:, index], f"predicted_{name}": predicted[:, index]}
    else:
        names = np.array(class_names, object)
        table |= {TRUE_CLASS: names[labels], PREDICTED_CLASS: names[predicted]}
    for index, name in enumerate(class_names):
        table[f"{PROBABILITY}{name}"] = probabilities[:, index]
    for name, values in (columns or {}).items():
        unused = next(text for text in (name, *(f"{name}_{number}" for number in range(2, 99))) if text not in table)
        table[unused] = values
    return pd.DataFrame(table)


def make_cases(
    split: Split,
    split_name: str,
    predictions: LabelledPredictions,
    class_names: Sequence[str],
    columns: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Return the table of cases, with probabilities after temperature scaling."""
    point = predictions.operating_point
    probabilities = point.scale(predictions.probabilities, multi_label=predictions.multi_label)
    return case_table(
        split, split_name, labels=predictions.labels, probabilities=probabilities,
        predicted=predictions.predicted, class_names=class_names, columns=columns,
    )  # fmt: skip


def write_cases(table: pd.DataFrame, folder: Path, *, name: str = CASES) -> None:
    """Write a table of cases as NAME.csv and NAME.parquet."""
    with atomic_write(folder / f"{name}.csv") as temporary:
        table.to_csv(temporary, index=False)
    with atomic_write(folder / f"{name}.parquet") as temporary:
        table.to_parquet(temporary, index=False)


def describe_conversion(dataset: Dataset) -> str:
    """Describe how the images of a dataset were converted."""
    shown = {name: value for name, value in dataset.reading.items() if name in CONVERSION and value is not None}
    ranges = [
        f"{kind} values {found.low:g} to {found.high:g} become 0 to 255" for kind, found in dataset.ranges.items()
    ]
    parts = [describe_shape(dataset.image_shape), *(f"{name} {value}" for name, value in shown.items()), *ranges]
    return ", ".join(parts)
