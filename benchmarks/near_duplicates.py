"""Recall of `keras-cnns inspect` and of perceptual hashes for changed copies of real images, and false positives.

    python benchmarks/near_duplicates.py pneumoniamnist.npz mnist.npz

For each dataset, 200 images are drawn, copied with one change and appended to the others; then all are compared. Pairs
among the original images count as false positives, whatever they show. Second, half of the patients (or images) are
known by their perceptual hashes, as the training images of a run are. The copies of 200 of them should be found, and
the images of the other half count as false positives.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from keras_cnns.data import Dataset, load
from keras_cnns.data.copies import find_copies, perceptual_hashes
from keras_cnns.data.duplicates import brightness_gradients, near_duplicates, pixel_hashes

COPIES = 200
RANDOM = np.random.default_rng(0)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """Save as JPEG and read again."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Make smaller, and as large as before."""
    width, height = image.size
    small = image.resize((round(width * factor), round(height * factor)), Image.Resampling.BILINEAR)
    return small.resize((width, height), Image.Resampling.BILINEAR)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Cut a share of two sides off, one pixel at least, and make as large as before."""
    width, height = image.size
    left, top = max(1, round(width * share)), max(1, round(height * share))
    return image.crop((left, top, width, height)).resize((width, height), Image.Resampling.BILINEAR)


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """Turn; what comes into the picture is black."""
    return image.rotate(degrees, Image.Resampling.BILINEAR)


def with_pixels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Image.Image], Image.Image]:
    """Change an image's pixels, as numbers."""
    return lambda image: Image.fromarray(change(np.asarray(image, np.float64)).clip(0, 255).astype(np.uint8))


def mirrored(image: Image.Image) -> Image.Image:
    """Mirror left and right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 75": lambda image: compressed(image, 75),
    "JPEG, quality 40": lambda image: compressed(image, 40),
    "brighter by 25": with_pixels(lambda pixels: pixels + 25),
    "contrast 0.8": with_pixels(lambda pixels: (pixels - 128) * 0.8 + 128),
    "noise, deviation 3": with_pixels(lambda pixels: pixels + RANDOM.normal(0, 3, pixels.shape)),
    "half as large and back": lambda image: resized(image, 0.5),
    "turned by 2 degrees": lambda image: turned(image, 2),
    "turned by 5 degrees": lambda image: turned(image, 5),
    "3 % cut off": lambda image: cropped(image, 0.03),
    "mirrored, JPEG, quality 75": lambda image: compressed(mirrored(image), 75),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


def change_images(images: np.ndarray, name: str) -> np.ndarray:
    """Return changed copies of grey images."""
    return np.stack([np.asarray(CHANGES[name](Image.fromarray(image[..., 0]))) for image in images])[..., np.newaxis]


def measure_hashes(dataset: Dataset, images: np.ndarray) -> None:
    """Print how many copies of the images of half of the patients are found by their hashes."""
    patients = [split.patients for split in dataset.splits.values()]
    groups = (
        np.arange(len(images)) if patients[0] is None else np.unique(np.concatenate(patients), return_inverse=True)[1]
    )
    known = (RANDOM.permutation(groups.max() + 1) % 2 == 0)[groups]
    hashes = perceptual_hashes(images[known])
    begun = time.perf_counter()
    wrong = len(find_copies(images[~known], hashes).indices)
    print(f"  hashes of {known.sum():,} images, {hashes.nbytes / known.sum():.0f} bytes each: {wrong:,} of the other "
          f"{(~known).sum():,} images found, in {time.perf_counter() - begun:.1f} s")  # fmt: skip
    chosen = images[RANDOM.permutation(np.flatnonzero(known))[:COPIES]]
    for name in ("", *CHANGES):
        copies = change_images(chosen, name) if name else chosen
        print(f"  {name or 'unchanged':28}{len(find_copies(copies, hashes).indices) / len(copies):7.1%}")


def main() -> None:
    """Measure, and print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["digits"], help="grey images, as --data takes them")
    parser.add_argument("--image-size", type=int, help="resize the images")
    for source in parser.parse_args().data:
        dataset = load(source, channels=1, leaks="allow", image_size=parser.parse_args().image_size)
        images = np.concatenate([split.images for split in dataset.splits.values()])
        gradients, (hashes,) = brightness_gradients(images), pixel_hashes(images)
        begun = time.perf_counter()
        wrong = near_duplicates(gradients, hashes)
        spent = time.perf_counter() - begun
        print(f"{dataset.name}: {len(images):,} images, {len(wrong):,} pairs as they are, compared in {spent:.1f} s")
        known = {(one, other) for one, other, _ in wrong}
        chosen = RANDOM.permutation(len(images))[:COPIES]
        for name in CHANGES:
            copies = change_images(images[chosen], name)
            both = np.concatenate((gradients, brightness_gradients(copies)))
            hashed = np.concatenate(pixel_hashes(images, copies))
            found = {(one, other) for one, other, _ in near_duplicates(both, hashed)} - known
            same = hashed[len(images) :] == hashed[chosen]
            hits = [(place, len(images) + copy) in found for copy, place in enumerate(chosen.tolist())]
            print(f"  {name:28}{np.mean(same | np.array(hits)):7.1%}")
        measure_hashes(dataset, images)


if __name__ == "__main__":
    main()
