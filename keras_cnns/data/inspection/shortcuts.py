"""The shortcut audit: how well facts that are not image content predict the class.

A network that is trained on images which differ between classes by device, format or size can learn that difference
instead of the disease, and fail elsewhere. Each fact alone, and all facts from headers and tables together, predict the
class of images that a decision tree was not trained on. Patients, and identical images, are never divided.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from keras_cnns.data.dataset import Dataset, Split
from keras_cnns.data.inspection.facts import BALANCE, Fact, collect_columns, column_facts, header_facts, pixel_facts
from keras_cnns.data.inspection.headers import Header, read_headers
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    from keras_cnns.data import partition
    from keras_cnns.data.inspection import prediction
else:
    partition = LazyModule("keras_cnns.data.partition")  # both import scikit-learn
    prediction = LazyModule("keras_cnns.data.inspection.prediction")

FOLDS = 5
MIN_UNITS = 4
MIN_AUC, MIN_LOWER_END, CHANCE = 0.7, 0.6, 0.5
SIGNIFICANCE = 0.05
USUAL = float(ndtri(1 - SIGNIFICANCE / 2))
"""The half-width of a 95 % interval in standard errors."""
MAX_IMAGES = 20_000
MAX_IMAGES_OF_NOTES = 2_000
TOGETHER = "the combination of all facts from headers and tables"


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """How well a fact that is not image content predicts the class.

    Attributes:
        fact: The name of the fact.
        label: The class, against all others, or the label that it predicts; None for the mean over all classes.
        auc: The cross-validated area under the ROC curve.
        low: The lower end of its 95 % interval.
        high: The upper end.
        tells_class: Whether the fact counts as a shortcut, as `audit` defines it.
        content: Whether it is computed from the pixels, and can therefore belong to what the image shows.
        advice: What to do about it.
    """

    fact: str
    label: str | None
    auc: float
    low: float
    high: float
    tells_class: bool
    content: bool
    advice: str

    def __str__(self) -> str:
        what = "the class" if self.label is None else repr(self.label)
        return f"{self.fact} tells {what}: AUC {self.auc:.2f} ({self.low:.2f} to {self.high:.2f})"


def audit_shortcuts(dataset: Dataset, hashes: np.ndarray, headers: Sequence[Header]) -> tuple[Shortcut, ...]:
    """Audit all facts of the images of all splits.

    Args:
        dataset: The images; of more than 20,000, as many are chosen at random.
        hashes: Their `pixel_hashes`, for all splits.
        headers: The headers of their files; empty if they are not files.
    """
    splits = list(dataset.splits.values())
    chosen = choose_images(len(hashes), MAX_IMAGES)
    starts = np.cumsum([0, *map(len, splits)])
    of_splits = [chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, end)] - start
                 for start, end in itertools.pairwise(starts)]  # fmt: skip
    facts = [
        *column_facts({name: values[chosen] for name, values in collect_columns(splits).items()}),
        *(header_facts([headers[index] for index in chosen]) if headers else ()),
        *pixel_facts(splits, of_splits),
    ]
    return audit(dataset, facts, partition.group_images(hashes, collect_patients(splits))[chosen], chosen)


def shortcut_notes(dataset: Dataset) -> list[str]:
    """Return a note on the strongest shortcut in headers and columns, if there is one.

    It takes a few seconds at most: of more than 2,000 images, as many are chosen at random, and no pixels are used.
    """
    splits = list(dataset.splits.values())
    chosen = choose_images(sum(map(len, splits)), MAX_IMAGES_OF_NOTES)
    files = [file for split in splits for file in split.files]
    headers = read_headers(dataset.root, [files[index] for index in chosen]) if dataset.root and files else []
    facts = [
        *column_facts({name: values[chosen] for name, values in collect_columns(splits).items()}),
        *(header_facts(headers) if headers else ()),
    ]
    different = np.arange(1, len(chosen) + 1, dtype=np.uint64)
    patients = collect_patients(splits)
    groups = partition.group_images(different, None if patients is None else patients[chosen])
    found = [shortcut for shortcut in audit(dataset, facts, groups, chosen) if shortcut.tells_class]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"Shortcut: {found[0]}{more}; see keras-cnns inspect."] if found else []


def choose_images(images: int, maximum: int) -> np.ndarray:
    """Return the sorted indices of all images or, if there are more than `maximum`, of as many at random."""
    if images <= maximum:
        return np.arange(images)
    return np.sort(np.random.default_rng(0).choice(images, maximum, replace=False))


def collect_patients(splits: Sequence[Split]) -> np.ndarray | None:
    """Return the patients of the images of all splits, "" where they are unknown; None if none are known."""
    if all(split.patients is None for split in splits):
        return None
    return np.concatenate([np.full(len(split), "") if split.patients is None else split.patients for split in splits])


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What facts are to predict.

    Attributes:
        kept: The indices of the images whose class has enough images or patients to be predicted.
        labels: Their labels for a classifier: classes, counted from 0, or 0 or 1 for each label.
        columns: Whether each image is of each class that is predicted, shape (images, classes), bool.
        names: The names of these classes.
        units: For each class, the number of positive and of negative images or, if they are known, of patients.
        folds: The fold of each image.
    """

    kept: np.ndarray
    labels: np.ndarray
    columns: np.ndarray
    names: tuple[str, ...]
    units: tuple[tuple[int, int], ...]
    folds: np.ndarray


def prepare_target(dataset: Dataset, labels: np.ndarray, groups: np.ndarray) -> Target | None:
    """Return the classes that can be predicted; None if there are none."""
    multi_label = labels.ndim == 2
    columns = labels.astype(bool) if multi_label else labels[:, np.newaxis] == np.arange(dataset.classes)
    enough = [min(count_units(groups, column)) >= MIN_UNITS for column in columns.T]
    kept = np.flatnonzero(columns[:, enough].any(axis=1)) if not multi_label else np.arange(len(labels))
    names = [name for name, each in zip(dataset.class_names, enough, strict=True) if each]
    columns = columns[np.ix_(kept, np.flatnonzero(enough))]
    if len(names) < (1 if multi_label else 2):
        return None
    target = columns.astype(np.int64) if multi_label else columns.argmax(axis=1)
    if not multi_label and len(names) == 2:
        columns, names = columns[:, 1:], names[1:]
    numbered = np.unique(groups[kept], return_inverse=True)[1]
    return Target(
        kept=kept,
        labels=target,
        columns=columns,
        names=tuple(names),
        units=tuple(count_units(numbered, column) for column in columns.T),
        folds=partition.assign_folds(target, numbered, FOLDS, 0),
    )


def count_units(groups: np.ndarray, positive: np.ndarray) -> tuple[int, int]:
    """Return the number of groups with a positive image and of those with a negative one."""
    return len(np.unique(groups[positive])), len(np.unique(groups[~positive]))


def audit(dataset: Dataset, facts: Iterable[Fact], groups: np.ndarray, chosen: np.ndarray) -> tuple[Shortcut, ...]:
    """Measure how well each fact predicts the class: shortcuts first, then other facts, the strongest first.

    A fact counts as a shortcut if its AUC is at least 0.7 and the lower end of its 95 % interval above 0.6, so that it
    would help a network clearly, and if the lower end is above 0.5 at a significance level of 5 % divided by the number
    of AUCs that are compared, so that chance finds one in at most 5 % of clean datasets. The intervals are based on the
    number of patients, if they are known.

    Of more than two classes, the mean AUC of each class against all others counts, or else that of a single class,
    unless the fact is computed from the pixels. Of several labels, the best predicted one counts.

    Args:
        dataset: The dataset.
        facts: The facts of the chosen images.
        groups: The group of each chosen image, such as its patient; groups are not divided between folds.
        chosen: The indices of the images among those of all splits.
    """
    labels = np.concatenate([split.labels for split in dataset.splits.values()])[chosen]
    target = prepare_target(dataset, labels, groups)
    if target is None:
        return ()
    varying = [fact for fact in (fact.take(target.kept) for fact in facts) if not fact.constant]
    outside = [fact.features for fact in varying if not fact.content]
    together = [Fact(TOGETHER, np.concatenate(outside, axis=1), BALANCE)] if len(outside) > 1 else []
    per_fact = len(target.names) + (labels.ndim == 1 and len(target.names) > 1)
    corrected = float(-ndtri(SIGNIFICANCE / 2 / max(1, per_fact * (len(varying) + len(together)))))
    shortcuts = [
        measure(fact, target, corrected, forest=fact in together, average=labels.ndim == 1)
        for fact in (*varying, *together)
    ]
    return tuple(sorted(shortcuts, key=lambda each: (not each.tells_class, -round(each.auc, 2), each.content)))


def measure(fact: Fact, target: Target, corrected: float, *, forest: bool, average: bool) -> Shortcut:
    """Measure how well a fact predicts the class, or the class or label that it predicts best.

    Args:
        fact: The fact.
        target: The classes.
        corrected: The half-width in standard errors of an interval that is corrected for the number of comparisons.
        forest: Use a random forest instead of a tree.
        average: Whether the mean over the classes counts first.
    """

    def judge(label: str | None, auc: float, usual: np.ndarray, careful: np.ndarray) -> Shortcut:
        low, high = usual.tolist()
        tells = auc >= MIN_AUC and low > MIN_LOWER_END and float(careful[0]) > CHANCE
        return Shortcut(fact=fact.name, label=label, auc=auc, low=low, high=high, tells_class=tells,
                        content=fact.content, advice=fact.advice)  # fmt: skip

    scores = prediction.predict_out_of_fold(fact.features, target.labels, target.folds, forest=forest)
    aucs = [prediction.area_under_curve(score, positive)
            for score, positive in zip(scores[:, -len(target.names):].T, target.columns.T, strict=True)]  # fmt: skip
    usual, careful = (
        np.array([prediction.auc_interval(auc, *units, z) for auc, units in zip(aucs, target.units, strict=True)])
        for z in (USUAL, corrected)
    )
    best = max(map(judge, target.names, aucs, usual, careful), key=lambda shortcut: shortcut.auc)
    if not average:
        return best
    mean = judge(None, float(np.mean(aucs)), usual.mean(axis=0), careful.mean(axis=0))
    return best if best.tells_class and not mean.tells_class and not fact.content else mean
