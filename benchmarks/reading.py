"""Reading and training from a folder of 256x256 JPEGs, compared with Keras, and memory use when streaming.

    python benchmarks/reading.py --images 20000 [--only-reading]

Prints ratios of medians: reading alone and the first epoch of LeNet-5 including reading, compared with
`image_dataset_from_directory`; the second epoch, from memory and streamed, compared with numpy arrays given to `fit`.

Reading keeps all images in memory, and Keras keeps none, so three ratios are printed: both keep them, ours alone does,
and none does. Memory that a virtual machine has to get from its host can take longer than decoding: the time for this
memory alone is printed too.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_cnns import Dataset, build
from keras_cnns.data import load
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.decoding.parallel import decode_in_order
from keras_cnns.data.pipeline import training_batches

SIDE = 256
BATCH = 32
STREAMED = """
import re, sys, threading, time
from pathlib import Path
import tensorflow as tf
from keras_cnns.data import load
from keras_cnns.data.pipeline import training_batches

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before, peak, done = anonymous(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.02)

watcher = threading.Thread(target=watch)
watcher.start()
begun = time.perf_counter()
dataset = load(sys.argv[1], stream=True)
seconds = time.perf_counter() - begun
dataset.fingerprint, dataset.pixel_std
epoch = tf.Variable(0, dtype=tf.int64)
for _ in training_batches(dataset.training, classes=2, batch_size=32, seed=0, epoch=epoch):
    pass
done = True
watcher.join()
print(seconds, (peak - before) / 1024)
"""


def make_folder(root: Path, count: int) -> None:
    """Save colour images of noise over a gradient, in two classes."""
    ramp = np.linspace(0, 200, SIDE)

    def save(index: int) -> None:
        random = np.random.default_rng(index)
        image = np.add.outer(ramp, ramp)[..., np.newaxis] / 2 + random.normal(0, 20, (SIDE, SIDE, 3))
        path = root / "ab"[index % 2] / f"{index:06}.jpg"
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=90)

    for name in "ab":
        (root / name).mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(save, range(count)))


def keras_set(root: Path) -> Any:
    """Return the folder as Keras reads it, four fifths of it as in ours."""
    return keras.utils.image_dataset_from_directory(
        root, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False, validation_split=0.2, subset="training", seed=0
    )


def keras_pass(root: Path) -> None:
    """Read every image once as Keras does."""
    for _ in keras.utils.image_dataset_from_directory(root, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False):
        pass


def keras_arrays(root: Path) -> np.ndarray:
    """Read every image into memory with Keras."""
    batches = keras.utils.image_dataset_from_directory(
        root, image_size=(SIDE, SIDE), batch_size=BATCH, shuffle=False, verbose=False
    )
    images, start = np.empty((len(batches.file_paths), SIDE, SIDE, 3), np.uint8), 0
    for batch, _ in batches:
        images[start : start + len(batch)] = batch
        start += len(batch)
    return images


def our_pass(root: Path) -> None:
    """Read every image once without keeping any."""
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.jpg"))]
    for _ in decode_in_order(root, names, Conversion()):
        pass


def our_batches(dataset: Dataset) -> Any:
    """Return the training batches as `train` makes them."""
    epoch = tf.Variable(0, dtype=tf.int64)
    return training_batches(dataset.training, classes=2, batch_size=BATCH, seed=0, epoch=epoch)


def network(loss: str) -> keras.Model:
    """Return LeNet-5, compiled and traced."""
    model = build("lenet5", input_shape=(SIDE, SIDE, 3), classes=2)
    model.compile("sgd", loss=loss)
    labels = np.zeros((BATCH, 2)) if loss == "categorical_crossentropy" else np.zeros(BATCH)
    model.fit(np.zeros((BATCH, SIDE, SIDE, 3)), labels, batch_size=BATCH, verbose=0)
    return model


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def race(name: str, repeats: int, ours: Callable[[], float], theirs: Callable[[], float]) -> None:
    """Take turns and print medians, and how fast ours is of theirs."""
    times = [(ours(), theirs()) for _ in range(repeats)]
    our, their = (statistics.median(each) for each in zip(*times, strict=True))
    print(f"{name}: ours {our:.1f} s, the other {their:.1f} s, speed {their / our:.2f}", flush=True)


def reading(root: Path, repeats: int, count: int) -> None:
    """Race reading, with and without keeping the images."""

    def ours() -> float:
        return seconds(lambda: load(root, stream=False))

    memory = [seconds(lambda: np.full((count, SIDE, SIDE, 3), 1, np.uint8)) for _ in range(repeats)]
    print(f"memory for all images alone: {statistics.median(memory):.1f} s", flush=True)
    race("reading, both keep the images", repeats, ours, lambda: seconds(lambda: keras_arrays(root)))
    race("reading, ours keeps the images", repeats, ours, lambda: seconds(lambda: keras_pass(root)))
    race(
        "reading, neither does",
        repeats,
        lambda: seconds(lambda: our_pass(root)),
        lambda: seconds(lambda: keras_pass(root)),
    )


def first_epochs(root: Path, repeats: int) -> None:
    """Race first epochs."""
    mine, theirs = network("categorical_crossentropy"), network("sparse_categorical_crossentropy")
    race(
        "reading and first epoch",
        repeats,
        lambda: seconds(lambda: mine.fit(our_batches(load(root, stream=False)), verbose=0)),
        lambda: seconds(lambda: theirs.fit(keras_set(root), verbose=0)),
    )


def second_epochs(root: Path, repeats: int) -> None:
    """Race epochs of images that are read already."""
    mine, theirs = network("categorical_crossentropy"), network("categorical_crossentropy")
    dataset = load(root, stream=False)
    shares = np.eye(2, dtype=np.float32)[dataset.training.labels]

    def arrays() -> float:
        return seconds(lambda: theirs.fit(dataset.training.images, shares, batch_size=BATCH, verbose=0))

    for name, images in (("in memory", dataset), ("streamed", load(root, stream=True))):
        batches = our_batches(images)
        race(f"second epoch, {name}", repeats, lambda used=batches: seconds(lambda: mine.fit(used, verbose=0)), arrays)


def main() -> None:
    """Print times, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only-reading", action="store_true", help="do not train")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        make_folder(root, arguments.images)
        reading(root, arguments.repeats, arguments.images)
        if arguments.only_reading:
            return
        os.environ["KERAS_CNNS_CACHE"] = str(Path(folder) / "cache")
        decoded = arguments.images * SIDE * SIDE * 3 / 2**20
        for when in ("first", "second"):
            command = [sys.executable, "-c", STREAMED, str(root)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            taken, peak = map(float, re.findall(r"[\d.]+", said))
            print(f"streamed, {when} load: {taken:.1f} s, {peak:.0f} MiB of memory for {decoded:.0f} MiB of images")
        first_epochs(root, arguments.repeats)
        second_epochs(root, arguments.repeats)


if __name__ == "__main__":
    main()
