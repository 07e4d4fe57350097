"""Stratified partition of images, keeping groups of images together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import train_test_split

from keras_cnns.data.duplicates import BLANK


def group_images(hashes: np.ndarray, patients: np.ndarray | None, linked: Iterable[tuple[int, int]] = ()) -> np.ndarray:
    """Group the images that share a patient or all pixels, or are linked, directly or through other images.

    Args:
        hashes: The `pixel_hashes` of the images.
        patients: The patient ID of each image, "" where it is unknown.
        linked: The indices of two images each that belong together for another reason, such as near duplicates.

    Returns:
        The group of each image, counted from 0, shape (images,).
    """
    edges = [np.array(list(linked), np.int64).reshape(-1, 2).T]  # each of shape (2, links)
    for values, unknown in ((hashes, BLANK), (patients, "")):
        if values is not None:  # link each known value to the first equal one
            known = np.flatnonzero(values != unknown)
            _, first, inverse = np.unique(values[known], return_index=True, return_inverse=True)
            edges.append(np.stack((known, known[first[inverse]])))
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1], np.int8), tuple(ends)), shape=(len(hashes), len(hashes)))
    return np.asarray(connected_components(graph, directed=False)[1])


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split single images, stratified by class, with scikit-learn's `train_test_split`.

    Args:
        labels: The class of each image.
        fraction: The share of the images to hold out.
        seed: Seed of the split.

    Returns:
        The sorted indices of the images to train on and of those held out.
    """
    train, held_out = train_test_split(np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels)
    return np.sort(train), np.sort(held_out)


def assign_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign whole groups of images to folds, stratified by class or label.

    As in scikit-learn's `StratifiedGroupKFold`, large groups and rare classes come first, and each group goes to the
    fold where the shares of the classes then vary least between folds. This version supports multi-label data and
    takes less than a second for 60,000 groups.

    Args:
        labels: The class of each image, or 0 or 1 for each label: shape (images,) or (images, labels).
        groups: The group of each image, counted from 0.
        folds: The number of folds.
        seed: Seed of the order of equal groups.

    Returns:
        The fold of each image, counted from 0, shape (images,).
    """
    counts = count_per_group(labels, groups)
    weights = 1 / np.maximum(np.asarray(counts.sum(axis=0)), 1)
    shuffled = np.random.default_rng(seed).permutation(counts.shape[0])
    order = shuffled[np.argsort(-(counts @ weights)[shuffled], kind="stable")]
    filled = np.zeros((folds, counts.shape[1]))
    fold_of_group = np.empty(counts.shape[0], np.int64)
    for group in order:
        entries = slice(counts.indptr[group], counts.indptr[group + 1])
        columns, images = counts.indices[entries], counts.data[entries]
        # The sum of squared shares over the classes grows by twice this, plus a term that is equal for all folds.
        growth = filled[:, columns] @ (images * weights[columns] ** 2)
        fold_of_group[group] = np.lexsort((filled[:, -1], growth))[0]
        filled[fold_of_group[group], columns] += images
    return np.asarray(fold_of_group[groups])


def hold_out_groups(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Hold out whole groups of images, stratified by class or label.

    The images are assigned to folds of this fraction. A very large group makes one fold too large, so the fold whose
    size is closest to the fraction is held out.

    Args:
        labels: As in `assign_folds`.
        groups: As in `assign_folds`.
        fraction: The share of the images to hold out.
        seed: Seed of the folds.

    Returns:
        Whether each image is held out, shape (images,).
    """
    assigned = assign_folds(labels, groups, round(1 / fraction), seed)
    closest = np.abs(np.bincount(assigned) - fraction * len(labels)).argmin()
    return np.asarray(assigned == closest)


def count_per_group(labels: np.ndarray, groups: np.ndarray) -> Any:
    """Count the images of each group by class or label and, in the last column, all of them: a sparse matrix."""
    images = np.arange(len(labels))
    image, column = (images, labels) if labels.ndim == 1 else np.nonzero(labels)
    columns = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    rows = np.concatenate((groups[image], groups))
    entries = np.concatenate((column, np.full(len(labels), columns)))
    counts = csr_array((np.ones(len(rows)), (rows, entries)), shape=(int(groups.max()) + 1, columns + 1))
    counts.sum_duplicates()
    return counts
