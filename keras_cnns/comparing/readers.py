"""Answers of readers, such as radiologists or other tools, in a table of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from keras_cnns.data.classes import find_class
from keras_cnns.data.dataset import list_examples
from keras_cnns.data.sources.cells import Table, read_table
from keras_cnns.errors import DataError

NAME_COLUMNS = ("path", "image", "file")
DECISION_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """The answers of a reader.

    Attributes:
        name: The name of the column.
        answered: Whether there is an answer for each image, shape (images,).
        predicted: The class of each image that is answered, 0 for the others, shape (images,).
        probability: The probability of class 1 of each image, shape (images,); None if the answers are classes.
    """

    name: str
    answered: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Readers:
    """The readers of a table.

    Attributes:
        readers: The readers in the order of the columns.
        notes: Which images and rows do not belong together, and how the table was read.
    """

    readers: tuple[Reader, ...]
    notes: tuple[str, ...]


def read_readers(path: Path, images: Sequence[str], class_names: Sequence[str]) -> Readers:
    """Read a table with a column of images, called path, image or file, and one column for each reader.

    The answers of a reader are classes or, for two classes, probabilities of the second one, which is the answer at or
    above 0.5. An empty cell is no answer. An image is matched by its path or, if no other has it, by its file name.

    Args:
        path: A CSV or Parquet file.
        images: The names of the evaluated images.
        class_names: The classes; of two classes, the positive one is the second.

    Raises:
        DataError: The table cannot be read, has no column of images or of readers, or no image of it is evaluated; an
            image is named twice; or a cell is neither a class nor a probability.
    """
    table = read_table(path)
    columns = {name.casefold(): name for name in table.columns}
    image_column = next((columns[name] for name in NAME_COLUMNS if name in columns), None)
    if image_column is None:
        raise DataError(
            f"{path}: has no column path, image or file, which names the image of each row; it has "
            f"{', '.join(table.columns)}."
        )
    row_of_image, notes = match_rows(table, image_column, images)
    readers = tuple(
        read_answers(table, name, row_of_image, class_names) for name in table.columns if name != image_column
    )
    if not readers:
        raise DataError(f"{path}: has no column besides {image_column!r}; add one for each reader.")
    for reader in readers:
        if not reader.answered.any():
            raise DataError(f"{path}: column {reader.name!r} has no answer for an evaluated image; remove or fill it.")
        if missing := int((~reader.answered).sum()):
            notes.append(
                f"{reader.name} has no answer for {missing:,} of {len(images):,} images, which are left out of the "
                f"comparison with {reader.name}."
            )
    return Readers(readers=readers, notes=(*table.notes, *notes))


def match_rows(table: Table, column: str, images: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the index of the row of each image, -1 if it has none, and notes on those without the other.

    Raises:
        DataError: An image has several rows, or no image has one.
    """
    texts = table.filled(column)
    position = {name: index for index, name in enumerate(images)}
    names = [file_name(name) for name in images]
    counts = Counter(names)
    unique = {name: index for index, name in enumerate(names) if counts[name] == 1}
    row_of_image = np.full(len(images), -1)
    unknown = []
    for row, text in enumerate(texts):
        index = position.get(text, unique.get(file_name(text)))
        if index is None:
            unknown.append(text)
        elif row_of_image[index] >= 0:
            first, second = table.rows[row_of_image[index]], table.rows[row]
            raise DataError(f"{table.path}: rows {first} and {second} are of the same image {text}; keep one of them.")
        else:
            row_of_image[index] = row
    if (row_of_image < 0).all():
        raise DataError(
            f"{table.path}: no row is of an evaluated image: column {column!r} has names such as {texts[0]!r}, and the "
            f"images are called {images[0]!r} and so on; use these names."
        )
    notes = []
    if unknown:
        examples = list_examples(unknown)
        notes.append(f"Rows of {table.path.name} without an evaluated image: {len(unknown):,}, {examples}.")
    without = [name for name, row in zip(images, row_of_image, strict=True) if row < 0]
    if without:
        notes.append(f"Images without a row in {table.path.name}: {len(without):,}, {list_examples(without)}.")
    return row_of_image, notes


def file_name(path: str) -> str:
    """Return the last part of a path, whatever its separators."""
    return PurePosixPath(path.replace("\\", "/")).name


def read_answers(table: Table, column: str, row_of_image: np.ndarray, class_names: Sequence[str]) -> Reader:
    """Read the answers of a reader, see `read_readers`."""
    cells = [table.columns[column][row] if row >= 0 else "" for row in row_of_image]
    answered = np.array([bool(cell) for cell in cells])
    filled = list(dict.fromkeys(cell for cell in cells if cell))
    classes = {cell: find_class(cell, class_names) for cell in filled}
    predicted, probability = np.zeros(len(cells), np.int64), None
    if None not in classes.values():
        predicted[answered] = [classes[cell] or 0 for cell in cells if cell]
        return Reader(name=column, answered=answered, predicted=predicted, probability=None)
    probabilities = {cell: parse_probability(cell) for cell in filled} if len(class_names) == 2 else {}
    neither = [cell for cell in filled if probabilities.get(cell) is None]
    if neither:
        wrong = min(neither, key=lambda cell: classes[cell] is not None)  # the first that is no class either, if any
        problem = f"is not a class ({', '.join(class_names)})"
        if len(class_names) == 2:
            problem = f"is neither a class ({', '.join(class_names)}) nor a probability of {class_names[1]} from 0 to 1"
        row = table.rows[table.columns[column].index(wrong)]
        raise DataError(
            f"{table.path}: {wrong!r} in column {column!r}, row {row}, {problem}; correct it, or remove the "
            f"column if it has no answers."
        )
    probability = np.zeros(len(cells))
    probability[answered] = [probabilities[cell] for cell in cells if cell]
    predicted = (answered & (probability >= DECISION_THRESHOLD)).astype(np.int64)
    return Reader(name=column, answered=answered, predicted=predicted, probability=probability)


def parse_probability(text: str) -> float | None:
    """Return a number from 0 to 1, which may have a decimal comma; None if it is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
