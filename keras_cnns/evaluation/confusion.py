"""Confusion matrices: computed from predictions, stored in a run, and plotted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_cnns.evaluation.plot_style import label_axes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CLASSES_WITH_COUNTS = 12
ON_DARK = "#FFFFFE"  # not the colour of the page, which is dark on dark pages
MAX_CLASSES_WITH_NAMES = 40
MAX_HORIZONTAL_CHARACTERS = 40
LABEL_OUTCOMES = ("true\npositive", "false\nnegative", "false\npositive", "true\nnegative")


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """How many images of each class are predicted as each class.

    In multi-label classification the columns are the true positives, false negatives, false positives and true
    negatives of each label.

    Attributes:
        class_names: The classes or labels, one per row.
        counts: Number of images, shape (classes, classes), true classes in rows; or (labels, 4).
        multi_label: Whether an image can have several labels.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    multi_label: bool = False

    @property
    def fractions(self) -> np.ndarray:
        """The counts divided by the images of the true class; for labels, by the images with or without the label."""
        if self.multi_label:
            with_label, without = self.counts[:, :2].sum(axis=1), self.counts[:, 2:].sum(axis=1)
            totals = np.stack([with_label, with_label, without, without], axis=1)
        else:
            totals = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.counts / np.maximum(totals, 1))

    def as_dict(self) -> dict[str, Any]:
        """Return the matrix as JSON-compatible values."""
        return {"class_names": list(self.class_names), "counts": self.counts.tolist(), "multi_label": self.multi_label}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ConfusionMatrix:
        """Return the matrix that `as_dict` describes."""
        return cls(
            class_names=tuple(fields["class_names"]),
            counts=np.array(fields["counts"], np.int64),
            multi_label=fields["multi_label"],
        )


def compute_confusion_matrix(
    labels: np.ndarray, predicted: np.ndarray, class_names: tuple[str, ...]
) -> ConfusionMatrix:
    """Count how many images of each class are predicted as each class.

    Args:
        labels: The class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        predicted: The predictions, of the same shape.
        class_names: The names of the classes or labels.
    """
    if labels.ndim == 2:
        true, positive = labels == 1, predicted == 1
        cells = (true & positive, true & ~positive, ~true & positive, ~true & ~positive)
        counts = np.stack([cell.sum(axis=0) for cell in cells], axis=1)
        return ConfusionMatrix(class_names=class_names, counts=counts, multi_label=True)
    classes = len(class_names)
    counts = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return ConfusionMatrix(class_names=class_names, counts=counts)


def draw_confusion_matrix(axes: Axes, confusion: ConfusionMatrix) -> None:
    """Draw a confusion matrix with counts, coloured by the fraction of the true class."""
    names = [shorten(name) for name in confusion.class_names]
    columns = list(LABEL_OUTCOMES) if confusion.multi_label else names
    fractions = confusion.fractions
    few = len(names) <= MAX_CLASSES_WITH_COUNTS
    axes.pcolormesh(fractions, cmap="Blues", vmin=0, vmax=1, rasterized=not few)
    axes.invert_yaxis()
    if few:
        for row, column in np.ndindex(fractions.shape):
            count = f"{confusion.counts[row, column]:,}"
            colour = ON_DARK if fractions[row, column] > 0.5 else "#222222"
            axes.text(column + 0.5, row + 0.5, count, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if len(names) <= MAX_CLASSES_WITH_NAMES:
        longest = max(len(line) for column in columns for line in column.split("\n"))
        is_wide = longest * len(columns) > MAX_HORIZONTAL_CHARACTERS
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90 if is_wide else 0)
        axes.set_yticks(np.arange(len(names)) + 0.5, names)
    if confusion.multi_label:
        label_axes(axes, "Predictions of each label (images)", "", "")
    else:
        label_axes(axes, "Confusion matrix (images)", "Predicted class", "True class")
