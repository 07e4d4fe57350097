"""Time that a folder of JPEGs takes to be loaded, beside one pass of Keras over it; and memory when it is streamed.

python benchmarks/reading.py --images 20000
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from PIL import Image

from keras_cnns.data import load

SIDE = 256
BATCH = 32
STREAMED = """
import re, sys, threading, time
from pathlib import Path
from keras_cnns.data import load

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


def keras_pass(root: Path) -> None:
    """Read every image once as Keras does."""
    for _ in keras.utils.image_dataset_from_directory(root, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False):
        pass


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    """Print times, their ratio and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "images", Path(folder) / "cache"
        root.mkdir()
        make_folder(root, arguments.images)
        ours, theirs = [], []
        for _ in range(arguments.repeats):
            ours.append(seconds(lambda: load(root, stream=False)))
            theirs.append(seconds(lambda: keras_pass(root)))
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"load: {statistics.median(ours):.2f} s; a pass of Keras: {statistics.median(theirs):.2f} s; {ratio:.2f}")
        environment = os.environ | {"KERAS_CNNS_CACHE": str(cache)}
        decoded = arguments.images * SIDE * SIDE * 3 / 2**20
        for when in ("first", "second"):
            command = [sys.executable, "-c", STREAMED, str(root)]
            said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            taken, peak = map(float, re.findall(r"[\d.]+", said))
            print(f"streamed, {when} load: {taken:.2f} s, {peak:.0f} MiB of memory for {decoded:.0f} MiB of images")


if __name__ == "__main__":
    main()
