"""Time of `build` compared with `keras.applications`, alternately in one process.

    python benchmarks/build_time.py

Both initialise weights: ours with Gaussian numbers (He et al. 2015, and the authors' code of both networks), drawn
ahead in another thread; `keras.applications` with Glorot's uniform ones, which are faster to draw.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from keras_cnns import build

PAIRS = {"densenet201": "DenseNet201", "resnet152-keras": "ResNet152"}


def seconds(make: Callable[[], Any]) -> float:
    """Time one build, from a clean start."""
    keras.backend.clear_session()
    gc.collect()
    begun = time.perf_counter()
    make()
    return time.perf_counter() - begun


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    for ours, theirs in PAIRS.items():
        makers: dict[str, Callable[[], Any]] = {
            "ours": lambda name=ours: build(name),
            "theirs": lambda name=theirs: getattr(keras.applications, name)(weights=None),
        }
        times: dict[str, list[float]] = {name: [] for name in makers}
        for turn in range(repeats + 1):
            for name, make in makers.items():
                taken = seconds(make)
                if turn:
                    times[name].append(taken)
        ratio = statistics.median(times["ours"]) / statistics.median(times["theirs"])
        print(f"{ours}: {ratio:.2f} of the time of keras.applications.{theirs}")


if __name__ == "__main__":
    main()
