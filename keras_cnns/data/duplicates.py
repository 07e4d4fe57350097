"""Detection of exact and near duplicates among images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLANK = np.uint64(0)
"""The hash of every image of a single colour."""
THUMBNAIL = 12
MIN_SIMILARITY = 0.95
NEIGHBOUR = 10
MAX_DISTANCE_RATIO = 0.5
SKETCH = 64
BLOCK = 1024
MIN_CONTRAST = 1e-3
ROUNDING = 1e-4
# If the tenth-nearest image is less similar than this, all sufficiently similar pairs stand out.
MIN_RELEVANT = 1 - (1 - MIN_SIMILARITY) / MAX_DISTANCE_RATIO**2
PIXELS_PER_BLOCK = 2**24
HASHED_ROWS = slice(4, None, 8)
"""The rows by which images are compared first."""


def pixel_hashes(*splits: np.ndarray) -> list[np.ndarray]:
    """Hash the pixels of each image, so that two images have the same hash if they are identical.

    Every image is hashed by a few of its rows, and only those that are equal in these rows are hashed as a whole.
    Hashes of different calls must therefore not be compared.

    Images of a single colour contain nothing that could be recognised. They never count as duplicates, and their hash
    is `BLANK`.

    Args:
        splits: The images of each split, shape (images, height, width, channels), uint8.

    Returns:
        The first 64 bits of SHA-256 for each split, shape (images,), uint64.
    """
    # Rows of a memory map are slow to create, rows of a plain view of it are not.
    images = [image for split in splits for image in np.asarray(split)]
    hashes = hash_arrays([image[HASHED_ROWS] for image in images])
    alike = [index for group in exact_duplicates(hashes) for index in group.tolist()]
    hashes[alike] = hash_arrays([images[index] for index in alike])
    of_split = np.split(hashes, np.cumsum([len(split) for split in splits])[:-1])
    for found, split in zip(of_split, splits, strict=True):
        found[find_blank(np.asarray(split))] = BLANK
    return of_split


def hash_arrays(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the first 64 bits of the SHA-256 of each array."""

    def digest(part: Sequence[np.ndarray]) -> bytes:
        return b"".join(hashlib.sha256(np.ascontiguousarray(array).data).digest()[:8] for array in part)

    cores = os.cpu_count() or 1
    parts = [arrays[len(arrays) * core // cores : len(arrays) * (core + 1) // cores] for core in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        return np.frombuffer(b"".join(pool.map(digest, parts)), np.uint64).copy()


def find_blank(images: np.ndarray) -> np.ndarray:
    """Return the indices of the images of a single colour."""
    first = images[:, 0, 0]
    middle = images[:, images.shape[1] // 2, images.shape[2] // 2]
    candidates = np.flatnonzero((first == middle).all(axis=-1) & (first == images[:, -1, -1]).all(axis=-1))
    return np.array([index for index in candidates if (images[index] == first[index]).all()], np.int64)


def exact_duplicates(hashes: np.ndarray) -> list[np.ndarray]:
    """Return the indices of identical images, as groups of two or more."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[order], prepend=hashes[order][:1] + np.uint64(1)))
    groups = np.split(order, starts[1:])
    repeated = [group for group in groups if len(group) > 1 and hashes[group[0]] != BLANK]
    return sorted(repeated, key=lambda group: int(group[0]))


def near_duplicates(gradients: np.ndarray, hashes: np.ndarray) -> list[tuple[int, int, float]]:
    """Find pairs of images that are nearly but not exactly identical.

    The similarity of two images is the correlation of their brightness gradients. In some datasets all images are
    similar, so a pair must also stand out: each image must be at most half as far from the other as from its
    tenth-nearest image (a ratio test as in Lowe 2004, section 7.1). Ten or more versions of an image are therefore not
    found.

    Args:
        gradients: The `brightness_gradients` of the images.
        hashes: The `pixel_hashes` of the images. Only the first of several identical images is compared.

    Returns:
        The indices of both images, the smaller one first, and their correlation, which is at least 0.95; the most
        similar pairs first.
    """
    known, first = np.unique(hashes, return_index=True)
    contrast = np.linalg.norm(gradients, axis=1)
    indices = np.sort(first[(known != BLANK) & (contrast[first] > MIN_CONTRAST)])
    if len(indices) < 2:
        return []
    directions = gradients[indices] / contrast[indices, np.newaxis]
    found = {(min(one, other), max(one, other)): similarity for one, other, similarity in outstanding_pairs(directions)}
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [(int(indices[one]), int(indices[other]), similarity) for (one, other), similarity in ranked]


def brightness_gradients(images: np.ndarray) -> np.ndarray:
    """Return the differences in brightness between neighbouring cells of 12x12 thumbnails.

    They are robust to changes of brightness, contrast, noise, compression and size.

    Args:
        images: Shape (images, height, width, channels), uint8.

    Returns:
        The vertical and horizontal differences, shape (images, 264), float32.
    """
    count, height, width, channels = images.shape
    vertical, horizontal = cell_weights(height), np.repeat(cell_weights(width), channels, axis=1) / channels
    gradients = np.empty((count, 2 * THUMBNAIL * (THUMBNAIL - 1)), np.float32)
    block = max(1, PIXELS_PER_BLOCK // (height * width * channels))
    for start in range(0, count, block):
        pixels = np.asarray(images[start : start + block], np.float32).reshape(-1, height, width * channels)
        thumbnails = vertical @ (pixels @ horizontal.T)
        differences = [np.diff(thumbnails, axis=axis).reshape(len(pixels), -1) for axis in (1, 2)]
        gradients[start : start + block] = np.concatenate(differences, axis=1)
    return gradients


def cell_weights(side: int) -> np.ndarray:
    """Return the weight of each pixel of a side in the mean of each of 12 cells, by area: shape (12, side)."""
    edges, pixels = np.linspace(0, side, THUMBNAIL + 1), np.arange(side)
    overlap = np.minimum(edges[1:, np.newaxis], pixels + 1) - np.maximum(edges[:-1, np.newaxis], pixels)
    return np.asarray(overlap.clip(0) * (THUMBNAIL / side), np.float32)


def outstanding_pairs(directions: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs of unit vectors that are similar and stand out for both of them, with their correlation."""
    candidates = find_candidates(directions)
    kth = min(NEIGHBOUR, len(directions) - 1)
    nearest = np.full(len(directions), -1.0)
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(candidates), BLOCK):
        rows = candidates[start : start + BLOCK]
        similarity = directions[rows] @ directions.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest[rows] = [kth_largest(row[row > MIN_RELEVANT], kth) for row in similarity]
        minimum = np.maximum(MIN_SIMILARITY, min_outstanding(nearest[rows]))
        for row, other in np.argwhere(similarity >= minimum[:, np.newaxis]):
            pairs.append((int(rows[row]), int(other), float(similarity[row, other])))
    yield from (pair for pair in pairs if pair[2] >= min_outstanding(nearest[pair[1]]))


def kth_largest(values: np.ndarray, k: int) -> float:
    """Return the k-th largest value, or -1 if there are fewer."""
    return float(np.partition(values, -k)[-k]) if len(values) >= k else -1.0


def min_outstanding(similarity: np.ndarray) -> np.ndarray:
    """Return the correlation at half the distance of another correlation r: the squared distance is 2 - 2r."""
    return np.asarray(1 - MAX_DISTANCE_RATIO**2 * (1 - similarity))


def find_candidates(directions: np.ndarray) -> np.ndarray:
    """Return the indices of all unit vectors that may be similar enough to another one.

    Vectors are compared in their first 64 principal components. With the norm of the remainder as one more component,
    the product of two vectors is an upper bound of their correlation, so no pair is missed.
    """
    _, axes = np.linalg.eigh(directions.T @ directions)
    sketch = directions @ axes[:, -SKETCH:]
    remainder = np.sqrt((1 - np.square(sketch).sum(axis=1)).clip(0))
    sketch = np.column_stack((sketch, remainder)).astype(np.float32)
    is_candidate = np.zeros(len(sketch), bool)
    for start in range(0, len(sketch), BLOCK):
        similar = sketch[start : start + BLOCK] @ sketch[start:].T > MIN_SIMILARITY - ROUNDING
        np.fill_diagonal(similar, val=False)
        is_candidate[start : start + BLOCK] |= similar.any(axis=1)
        is_candidate[start:] |= similar.any(axis=0)
    return np.flatnonzero(is_candidate)
