"""Perceptual hashes of images, by which copies of them are found later, without the images.

A hash consists of the brightness gradients of a thumbnail, see `brightness_gradients`, rounded to 8 bits each. A copy
can have another size, brightness, contrast or compression, noise, a few cropped pixels, and can be mirrored or rotated
by a multiple of 90 degrees. `benchmarks/near_duplicates.py` measures how many copies of each kind are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_cnns.data.duplicates import (
    MIN_CONTRAST,
    MIN_SIMILARITY,
    NEIGHBOUR,
    THUMBNAIL,
    brightness_gradients,
    kth_largest,
    min_outstanding,
)

LEVELS = 127
BLOCK = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Copies:
    """Images that are copies of known images.

    Attributes:
        indices: The indices of the copies, the most similar ones first.
        similarities: The correlation of each with the known image, from 0.95 to 1.
    """

    indices: np.ndarray
    similarities: np.ndarray


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """Return the perceptual hashes of images.

    Args:
        images: Shape (images, height, width, channels), uint8.

    Returns:
        The different hashes, shape (hashes, 264), int8. Images of a single colour, which have no content that could be
        recognised, have none.
    """
    gradients = brightness_gradients(images)
    return np.unique(round_gradients(gradients[has_contrast(gradients)]), axis=0)


def find_copies(images: np.ndarray, hashes: np.ndarray) -> Copies:
    """Find the images that are copies of known images.

    As in `near_duplicates`, the correlation with the known image must be at least 0.95 and stand out: the known image
    must be at most half as far away as the tenth-nearest one.

    Args:
        images: Shape (images, height, width, channels), uint8.
        hashes: The `perceptual_hashes` of the known images.
    """
    known = to_directions(hashes)
    gradients = brightness_gradients(images)
    candidates = np.flatnonzero(has_contrast(gradients) & (len(known) > 0))
    best = np.full(len(images), -1.0)
    for start in range(0, len(candidates), BLOCK):
        indices = candidates[start : start + BLOCK]
        for versions in symmetric_versions(to_directions(round_gradients(gradients[indices]))):
            similarity = versions @ known.T
            nearest = similarity.max(axis=1)
            for row in np.flatnonzero(nearest >= np.maximum(MIN_SIMILARITY, best[indices])):
                kth = kth_largest(similarity[row], NEIGHBOUR)
                if nearest[row] >= min_outstanding(np.array(kth)):
                    best[indices[row]] = nearest[row]
    found = np.flatnonzero(best > 0)
    found = found[np.argsort(-best[found], kind="stable")]
    return Copies(indices=found, similarities=np.minimum(best[found], 1.0))


def has_contrast(gradients: np.ndarray) -> np.ndarray:
    """Return which images are not of a single colour."""
    return np.asarray(np.linalg.norm(gradients, axis=1) > MIN_CONTRAST)


def round_gradients(gradients: np.ndarray) -> np.ndarray:
    """Return brightness gradients as int8, scaled for each image so that the largest one is 127."""
    largest = np.abs(gradients).max(axis=1, keepdims=True, initial=0)
    scaled = gradients * (LEVELS / np.maximum(largest, np.finfo(np.float32).tiny))
    return np.asarray(np.rint(scaled), np.int8)


def to_directions(hashes: np.ndarray) -> np.ndarray:
    """Return hashes as vectors of float32 with a length of 1."""
    vectors = hashes.astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def symmetric_versions(gradients: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the directions of images in all eight orientations: mirrored, rotated by multiples of 90 degrees, or both.

    Args:
        gradients: The directions of their brightness gradients, shape (images, 264).
    """
    count, half = len(gradients), THUMBNAIL * (THUMBNAIL - 1)
    vertical = gradients[:, :half].reshape(count, THUMBNAIL - 1, THUMBNAIL)
    horizontal = gradients[:, half:].reshape(count, THUMBNAIL, THUMBNAIL - 1)
    for down, across in ((vertical, horizontal), (horizontal.swapaxes(1, 2), vertical.swapaxes(1, 2))):
        for rows in (1, -1):
            for columns in (1, -1):
                turned = rows * down[:, ::rows, ::columns], columns * across[:, ::rows, ::columns]
                yield np.concatenate([part.reshape(count, half) for part in turned], axis=1)
