"""Time of the shortcut audit of `keras-cnns inspect`, and how often it raises a false alarm.

    python benchmarks/shortcuts.py --images 20000 --clean 200

The images are random JPEGs of 256x256, of two classes. False alarms are counted on clean datasets of 24 to 200 images,
whose twelve facts are drawn at random, independently of the class.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from keras_cnns.data import Dataset, Split, load
from keras_cnns.data.duplicates import pixel_hashes
from keras_cnns.data.inspection.facts import Fact, one_hot
from keras_cnns.data.inspection.headers import read_headers
from keras_cnns.data.inspection.shortcuts import audit, audit_shortcuts, shortcut_notes

SIDE = 256
ORIGINALS = 200


def write_images(folder: Path, count: int) -> None:
    """Write JPEGs of two classes, each with other noise around one of 200 smooth images."""
    for name in ("ill", "well"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    coarse = [Image.fromarray(random.integers(0, 256, (7, 7, 3), np.uint8)) for _ in range(ORIGINALS)]
    smooth = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16) for image in coarse]
    for index in range(count):
        pixels = (smooth[index % ORIGINALS] + random.integers(-20, 20)).clip(0, 255).astype(np.uint8)
        pixels[index % SIDE, : index // SIDE % SIDE + 1] = 0
        Image.fromarray(pixels).save(folder / ("ill", "well")[index // ORIGINALS % 2] / f"{index}.jpg", quality=75)


def time_audit(count: int) -> None:
    """Print the seconds of each step for a number of images."""
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), count)
        start = time.perf_counter()
        dataset = load(folder)
        seconds = {"loading (not part of the audit)": time.perf_counter() - start}
        hashes = np.concatenate(pixel_hashes(*(split.images for split in dataset.splits.values())))
        start = time.perf_counter()
        headers = read_headers(Path(folder), [file for split in dataset.splits.values() for file in split.files])
        seconds["headers"] = time.perf_counter() - start
        start = time.perf_counter()
        found = audit_shortcuts(dataset, hashes, headers)
        seconds["facts of the pixels, and predictions"] = time.perf_counter() - start
        start = time.perf_counter()
        shortcut_notes(dataset)
        seconds["note of train"] = time.perf_counter() - start
        for step, duration in seconds.items():
            print(f"{step:40}{duration:8.1f} s")
        print(*found, sep="\n")


def count_false_alarms(datasets: int) -> None:
    """Print how many of a number of clean datasets have a shortcut."""
    for images, classes in ((24, 2), (60, 3), (200, 2)):
        labels = np.arange(images) % classes
        split = Split(np.zeros((images, 2, 2, 1), np.uint8), labels)
        names = tuple(f"class {label}" for label in range(classes))
        dataset = Dataset(name="clean", source="clean", splits={"train": split}, class_names=names)
        alarms = 0
        for seed in range(datasets):
            random = np.random.default_rng(seed)
            facts = [Fact(f"number {index}", random.normal(size=(images, 2)), "") for index in range(6)]
            texts = random.integers(0, 4, (6, images)).astype(str)
            facts += [Fact(f"text {index}", one_hot(values), "") for index, values in enumerate(texts)]
            alarms += any(each.tells_class for each in audit(dataset, facts, np.arange(images), np.arange(images)))
        print(f"{images:4} images, {classes} classes: a shortcut in {alarms} of {datasets} clean datasets")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--clean", type=int, default=100)
    arguments = parser.parse_args()
    time_audit(arguments.images)
    count_false_alarms(arguments.clean)
