"""What images are taken for: counted, kept with a run, and drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.evaluation.colours import LIGHT, Colours, heading, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONFUSION = "confusion.json"
MOST_NUMBERED = 12
MOST_LABELLED = 40
ANSWERS = ("found", "missed", "false\nalarm", "rightly\nnot")


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many images of each class were taken for each class.

    With any number of labels: of each label, how many images that have it were found or missed, and how many that do
    not have it were taken for having it, or rightly not.

    Attributes:
        class_names: The classes or labels, a row each.
        counts: Images, shape (classes, classes), or (labels, 4).
        multi_label: Whether an image has any number of labels.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    multi_label: bool = False

    @property
    def shares(self) -> np.ndarray:
        """What part that is of the row's images; of a label, of those that have it, or of those that do not."""
        if self.multi_label:
            has, has_not = self.counts[:, :2].sum(axis=1), self.counts[:, 2:].sum(axis=1)
            return np.asarray(self.counts / np.maximum(np.stack([has, has, has_not, has_not], axis=1), 1))
        return np.asarray(self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1))

    def to_json(self) -> str:
        """Write it for a file."""
        return json.dumps(
            {"class_names": self.class_names, "counts": self.counts.tolist(), "multi_label": self.multi_label}
        )

    @classmethod
    def from_json(cls, text: str) -> Confusion:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        return cls(
            class_names=tuple(found["class_names"]),
            counts=np.array(found["counts"], np.int64),
            multi_label=found["multi_label"],
        )


def confusion_of(labels: np.ndarray, predicted: np.ndarray, class_names: tuple[str, ...]) -> Confusion:
    """Count what images are taken for.

    Args:
        labels: The class of each image, shape (images,), or 0 or 1 for each label, shape (images, labels).
        predicted: What it is taken for, of the same shape.
        class_names: What the classes or labels are called.
    """
    if labels.ndim == 2:
        has, taken = labels == 1, predicted == 1
        cells = (has & taken, has & ~taken, ~has & taken, ~has & ~taken)
        counts = np.stack([cell.sum(axis=0) for cell in cells], axis=1)
        return Confusion(class_names=class_names, counts=counts, multi_label=True)
    classes = len(class_names)
    counts = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return Confusion(class_names=class_names, counts=counts)


def draw_confusion(panel: Axes, confusion: Confusion, colours: Colours = LIGHT) -> None:
    """Draw the counts; the colour is the share of the row."""
    names = [short(name) for name in confusion.class_names]
    answers = list(ANSWERS) if confusion.multi_label else names
    shares = confusion.shares
    panel.pcolormesh(shares, cmap=colours.cells, vmin=0, vmax=1)
    panel.invert_yaxis()
    if len(names) <= MOST_NUMBERED:
        for row, column in np.ndindex(shares.shape):
            strong = shares[row, column] > 0.5
            ink = "white" if strong == (colours is LIGHT) else "#222222"
            count = f"{confusion.counts[row, column]:,}"
            panel.text(column + 0.5, row + 0.5, count, ha="center", va="center", color=ink, fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])
    if len(names) <= MOST_LABELLED:
        wide = max(map(len, answers)) * len(answers) > 40
        panel.set_xticks(np.arange(len(answers)) + 0.5, answers, rotation=90 if wide else 0)
        panel.set_yticks(np.arange(len(names)) + 0.5, names)
    if confusion.multi_label:
        heading(panel, "Decisions on each label, images", "", "", colours)
    else:
        heading(panel, "Confusion matrix, images", "taken for", "is", colours)
