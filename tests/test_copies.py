"""Copies of known images are found by their perceptual hashes, and other images are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from keras_cnns.data import Dataset
from keras_cnns.data.copies import find_copies, perceptual_hashes


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Return 150 smooth colour images."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (150, 7, 7, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((60, 48), Image.Resampling.BICUBIC)) for image in small])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identical": lambda image: image,
    "half as large": lambda image: np.asarray(Image.fromarray(image).resize((30, 24))),
    "brighter": lambda image: (image * 0.7 + 60).astype(np.uint8),
    "noisy": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8),
    "grey": lambda image: np.asarray(Image.fromarray(image).convert("L"))[..., np.newaxis],
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "rotated by 90 degrees": np.rot90,
    "rotated by 270 degrees and mirrored": lambda image: np.rot90(image, 3)[:, ::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_other_images_are_not(change: str, photos: np.ndarray) -> None:
    known, others = photos[:100], photos[100:]
    hashes = perceptual_hashes(known)
    assert (hashes.dtype, hashes.shape) == (np.int8, (100, 264))
    changed = np.stack([CHANGES[change](image) for image in (*others[:5], *known[:5])])
    found = find_copies(changed, hashes)
    if change == "grey":  # images of other colours can be of the same brightness
        assert set(found.indices.tolist()) <= {5, 6, 7, 8, 9}
    else:
        assert set(found.indices.tolist()) == {5, 6, 7, 8, 9}
        assert (found.similarities >= 0.95).all()
    if change in ("identical", "mirrored"):
        assert found.similarities == pytest.approx(1, abs=1e-5)


def test_images_of_a_single_colour_are_copies_of_nothing(photos: np.ndarray) -> None:
    blank = np.full((3, 48, 60, 3), 128, np.uint8)
    assert perceptual_hashes(blank).shape == (0, 264)
    assert not len(find_copies(blank, perceptual_hashes(blank)).indices)
    assert not len(find_copies(blank, perceptual_hashes(photos)).indices)
    assert not len(find_copies(photos, perceptual_hashes(blank)).indices)
    assert not len(find_copies(photos[:0], perceptual_hashes(photos)).indices)


def test_hashes_contain_no_order_and_no_repetition(photos: np.ndarray) -> None:
    hashes = perceptual_hashes(photos)
    np.testing.assert_array_equal(perceptual_hashes(np.concatenate([photos[::-1], photos])), hashes)


def test_digits_by_other_people_are_hardly_ever_copies(digits: Dataset) -> None:
    """Many of the images of digits, which have 8x8 pixels, are very similar."""
    training, validation = digits.splits["train"].images, digits.splits["validation"].images
    hashes = perceptual_hashes(training)
    assert len(find_copies(validation, hashes).indices) < 0.05 * len(validation)
    assert len(find_copies(training[:200], hashes).indices) == 200
