"""Matching of the classes of a dataset with those of a network, and which of two classes is positive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.classes import find_class
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.ensemble import Ensemble

MAX_LISTED_CLASSES = 10


def match_classes(ensemble: Ensemble, dataset: Dataset, class_map: Mapping[str, str] | None) -> dict[str, str]:
    """Return the class of the network for each class of a dataset.

    Classes are matched by name, without regard to case, spaces and Unicode form, unless the map names them.

    Args:
        ensemble: The networks.
        dataset: The dataset.
        class_map: The class of the network for classes of the dataset, by name; several can map to the same one.

    Raises:
        EvaluationError: A class of the dataset is neither in the map nor a class of the network, a name in the map does
            not exist, or a label of a multi-label network is missing in the dataset.
    """
    names, targets, run = dataset.class_names, ensemble.first.class_names, ensemble.first.run.id
    sides = (
        f"the classes are {list_classes(names)} in {dataset.name} and {list_classes(targets)} in the network of run "
        f"{run}"
    )
    chosen: dict[str, str] = {}
    for name, target in (class_map or {}).items():
        index, target_index = find_class(name, names), find_class(target, targets)
        if index is None or target_index is None:
            wrong, owner = (name, dataset.name) if index is None else (target, f"run {run}")
            raise EvaluationError(
                f"class map {name}={target}: {owner} has no class {wrong!r}; {sides}. Write DATASET_CLASS=RUN_CLASS."
            )
        if chosen.setdefault(names[index], targets[target_index]) != targets[target_index]:
            raise EvaluationError(f"class map {name}={target}: {names[index]!r} is mapped twice; name it once.")
    matched, unknown = {}, []
    for name in names:
        index = find_class(name, targets)
        if name in chosen or index is not None:
            matched[name] = chosen[name] if name in chosen else targets[index or 0]
        else:
            unknown.append(name)
    if unknown:
        example = ",".join(f"{name}=NAME" for name in unknown[:MAX_LISTED_CLASSES])
        raise EvaluationError(
            f"{sides}, and {list_classes(unknown)} cannot be matched by name; say which is which with --class-map "
            f"{example} (class_map={{{unknown[0]!r}: NAME, ...}}), where NAME is a class of the run."
        )
    missing = [target for target in targets if target not in matched.values()]
    if missing and ensemble.first.multi_label:
        raise EvaluationError(
            f"{sides}, and the labels {list_classes(missing)} are missing in the dataset; use images with all labels."
        )
    return matched


def convert_labels(labels: np.ndarray, matched: Mapping[str, str], targets: Sequence[str]) -> np.ndarray:
    """Return labels of a dataset as labels of the network, given the classes as `match_classes` returns them."""
    indices = [list(targets).index(target) for target in matched.values()]
    if labels.ndim == 1:
        return np.asarray(np.array(indices, np.int64)[labels])
    converted = np.zeros((len(labels), len(targets)), np.int64)
    for column, index in enumerate(indices):
        converted[:, index] |= labels[:, column]
    return converted


def reorder_classes(dataset: Dataset, targets: Sequence[str]) -> Dataset:
    """Return a dataset with the classes in the order of a network, if they have the same names.

    The dataset that a network was trained on then has the fingerprint of the training, whichever class is positive.
    """
    names = dataset.class_names
    if names == tuple(targets) or sorted(names) != sorted(targets):
        return dataset
    matched = dict(zip(names, names, strict=True))
    splits = {
        name: replace(split, labels=convert_labels(split.labels, matched, targets))
        for name, split in dataset.splits.items()
    }
    return replace(dataset, class_names=tuple(targets), splits=splits)


def find_positive(ensemble: Ensemble, dataset: Dataset, matched: Mapping[str, str], positive: str | None) -> str | None:
    """Return which of the two classes of a network is positive; None if that is unknown, or there are not two classes.

    It is the chosen one, else that of the runs, else that of the dataset.

    Args:
        ensemble: The networks.
        dataset: The evaluated dataset.
        matched: The class of the network for each class of the dataset.
        positive: The name of the chosen class; None if none is chosen.

    Raises:
        EvaluationError: The chosen class does not exist, there are not two classes, or the runs do not agree.
    """
    network = ensemble.first
    names = network.class_names
    if network.multi_label or len(names) != 2:
        if positive is not None:
            kind = "is multi-label" if network.multi_label else f"has {len(names)} classes"
            raise EvaluationError(
                f"the network of run {network.run.id} {kind}, and only one of two classes can be positive; leave out "
                f"{positive!r}."
            )
        return None
    if positive is not None:
        index = find_class(positive, names)
        if index is None:
            raise EvaluationError(
                f"the network of run {network.run.id} has no class {positive!r} that could be positive; choose "
                f"{' or '.join(names)}."
            )
        return names[index]
    found = {
        names[find_class(member.positive, names) or 0] for member in ensemble.members if member.positive is not None
    }
    if len(found) > 1:
        raise EvaluationError(
            f"the runs were trained with different positive classes, {' and '.join(sorted(found))}; choose one with "
            f"--positive NAME (positive=NAME)."
        )
    return found.pop() if found else matched.get(dataset.positive or "")


def list_classes(names: Sequence[str]) -> str:
    """Format the names of classes, at most ten of them."""
    more = len(names) - MAX_LISTED_CLASSES
    return ", ".join([*names[:MAX_LISTED_CLASSES], *([f"and {more:,} more"] if more > 0 else [])])
