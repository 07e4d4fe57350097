"""Images that are there twice: pixel by pixel, or nearly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

UNIDENTIFIED = np.uint64(0)
THUMBNAIL = 12
LEAST_SIMILARITY = 0.95
NEIGHBOUR = 10
LARGEST_RATIO = 0.5
SKETCH = 64
BLOCK = 1024
LEAST_CONTRAST = 1e-3
ROUNDING = 1e-4
# A tenth-nearest image that is less similar than this excludes no pair that is similar enough.
LEAST_RELEVANT = 1 - (1 - LEAST_SIMILARITY) / LARGEST_RATIO**2
PIXELS_AT_A_TIME = 2**24


def pixel_hashes(images: np.ndarray) -> np.ndarray:
    """Return a number for each image that is the same where all pixels are.

    An image of one colour, a blank one, shows nothing that could be recognised again and is never the same as
    another: its number is 0.

    Args:
        images: Shape (images, height, width, channels), uint8.

    Returns:
        Shape (images,), uint64: the first 64 bits of SHA-256.
    """
    rows = np.asarray(images)  # a row of a memory map is slow to make, one of a plain view of it is not

    def digest(part: np.ndarray) -> bytes:
        return b"".join(hashlib.sha256(np.ascontiguousarray(row).data).digest()[:8] for row in part)

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        digests = b"".join(pool.map(digest, np.array_split(rows, cores)))
    hashes = np.frombuffer(digests, np.uint64).copy()
    hashes[blank(rows)] = UNIDENTIFIED
    return hashes


def blank(images: np.ndarray) -> np.ndarray:
    """Return where in an array of images those of one colour are."""
    first = images[:, 0, 0]
    middle = images[:, images.shape[1] // 2, images.shape[2] // 2]
    suspects = np.flatnonzero((first == middle).all(axis=-1) & (first == images[:, -1, -1]).all(axis=-1))
    return np.array([place for place in suspects if (images[place] == first[place]).all()], np.int64)


def exact_duplicates(hashes: np.ndarray) -> list[np.ndarray]:
    """Return the places of images that are the same pixel by pixel, a group of two or more at a time."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[order], prepend=hashes[order][:1] + np.uint64(1)))
    groups = np.split(order, starts[1:])
    repeated = [group for group in groups if len(group) > 1 and hashes[group[0]] != UNIDENTIFIED]
    return sorted(repeated, key=lambda group: int(group[0]))


def joined_groups(hashes: np.ndarray, patients: np.ndarray | None) -> np.ndarray:
    """Number images so that those of one patient, or of the same pixels, or linked by both, have one number.

    Args:
        hashes: What `pixel_hashes` returns.
        patients: Whose image each one is; "" where that is not known.

    Returns:
        Shape (images,): the group of each image, from 0.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415 - slow to import
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    images = np.arange(len(hashes))
    ends = [links(hashes, hashes != UNIDENTIFIED)]
    if patients is not None:
        ends.append(links(patients, patients != ""))
    places, firsts = np.concatenate(ends, axis=1)
    graph = coo_array((np.ones(len(places), np.int8), (places, firsts)), shape=(len(images), len(images)))
    return np.asarray(connected_components(graph, directed=False)[1])


def links(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Link each place with a known value to the first place that has the same one: shape (2, links)."""
    places = np.flatnonzero(known)
    _, first, inverse = np.unique(values[places], return_index=True, return_inverse=True)
    return np.stack((places, places[first[inverse]]))


def near_duplicates(steps: np.ndarray, hashes: np.ndarray) -> list[tuple[int, int, float]]:
    """Find pairs of images that show the same but are not the same pixel by pixel.

    Images are compared by the correlation of their brightness steps. In some data sets all images are alike, so a pair
    counts only if it also stands out: each of the two is at most half as far from the other as from its tenth-nearest
    image (a ratio test as in Lowe 2004, section 7.1). Ten or more versions of one image are therefore not found.

    Args:
        steps: What `brightness_steps` returns.
        hashes: What `pixel_hashes` returns for the same images. Of images that are the same pixel by pixel, the first
            stands for all.

    Returns:
        The places of both images, the smaller one first, and their correlation, at least 0.95; the most similar first.
    """
    known, first = np.unique(hashes, return_index=True)
    contrast = np.linalg.norm(steps, axis=1)
    places = np.sort(first[(known != UNIDENTIFIED) & (contrast[first] > LEAST_CONTRAST)])
    if len(places) < 2:
        return []
    directions = steps[places] / contrast[places, np.newaxis]
    found = {(min(one, other), max(one, other)): alike for one, other, alike in outstanding(directions)}
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [(int(places[one]), int(places[other]), similarity) for (one, other), similarity in ranked]


def brightness_steps(images: np.ndarray) -> np.ndarray:
    """Return how brightness changes from cell to cell of 12x12 thumbnails of images.

    Neither brightness nor contrast, noise, compression or size changes much of it.

    Args:
        images: Shape (images, height, width, channels), uint8.

    Returns:
        The steps across and down, shape (images, 264), float32.
    """
    count, height, width, channels = images.shape
    down, across = cell_weights(height), np.repeat(cell_weights(width), channels, axis=1) / channels
    steps = np.empty((count, 2 * THUMBNAIL * (THUMBNAIL - 1)), np.float32)
    block = max(1, PIXELS_AT_A_TIME // (height * width * channels))
    for start in range(0, count, block):
        pixels = np.asarray(images[start : start + block], np.float32).reshape(-1, height, width * channels)
        thumbnails = down @ (pixels @ across.T)
        changes = [np.diff(thumbnails, axis=axis).reshape(len(pixels), -1) for axis in (1, 2)]
        steps[start : start + block] = np.concatenate(changes, axis=1)
    return steps


def cell_weights(side: int) -> np.ndarray:
    """Return how much each pixel of a side counts for each of 12 cells, as its area does: shape (12, side)."""
    edges, pixels = np.linspace(0, side, THUMBNAIL + 1), np.arange(side)
    overlap = np.minimum(edges[1:, np.newaxis], pixels + 1) - np.maximum(edges[:-1, np.newaxis], pixels)
    return np.asarray(overlap.clip(0) * (THUMBNAIL / side), np.float32)


def outstanding(directions: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs of rows of length 1 that are similar and, seen from both, stand out among all rows."""
    suspects = suspects_of(directions)
    kth = min(NEIGHBOUR, len(directions) - 1)
    nearest = np.full(len(directions), -1.0)
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(suspects), BLOCK):
        rows = suspects[start : start + BLOCK]
        similarity = directions[rows] @ directions.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest[rows] = [kth_largest(of_row[of_row > LEAST_RELEVANT], kth) for of_row in similarity]
        least = np.maximum(LEAST_SIMILARITY, least_outstanding(nearest[rows]))
        for row, other in np.argwhere(similarity >= least[:, np.newaxis]):
            pairs.append((int(rows[row]), int(other), float(similarity[row, other])))
    for one, other, similarity_of_both in pairs:
        if similarity_of_both >= least_outstanding(nearest[other]):
            yield one, other, similarity_of_both


def kth_largest(values: np.ndarray, k: int) -> float:
    """Return the k-th largest value, or -1 where there are fewer."""
    return float(np.partition(values, -k)[-k]) if len(values) >= k else -1.0


def least_outstanding(similarity: np.ndarray) -> np.ndarray:
    """Return the correlation at half the distance of another correlation: the squared distance is 2 - 2r."""
    return np.asarray(1 - LARGEST_RATIO**2 * (1 - similarity))


def suspects_of(directions: np.ndarray) -> np.ndarray:
    """Return the rows of length 1 that may be similar enough to another; none that is gets lost.

    Rows are compared in their 64 principal directions. With the length of what is left as one more entry, the product
    of two rows is never less than their correlation.
    """
    _, axes = np.linalg.eigh(directions.T @ directions)
    sketch = directions @ axes[:, -SKETCH:]
    left = np.sqrt((1 - np.square(sketch).sum(axis=1)).clip(0))
    sketch = np.column_stack((sketch, left)).astype(np.float32)
    suspected = np.zeros(len(sketch), bool)
    for start in range(0, len(sketch), BLOCK):
        similar = sketch[start : start + BLOCK] @ sketch[start:].T > LEAST_SIMILARITY - ROUNDING
        np.fill_diagonal(similar, val=False)
        suspected[start : start + BLOCK] |= similar.any(axis=1)
        suspected[start:] |= similar.any(axis=0)
    return np.flatnonzero(suspected)
