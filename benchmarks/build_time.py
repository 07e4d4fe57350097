"""Time that `build` takes beside `keras.applications`, both in turn in one process.

    python benchmarks/build_time.py

The second figure leaves out what Gaussian first weights (He et al. 2015, and the authors' code of both networks) take
longer to draw than Glorot's uniform ones, which `keras.applications` has.
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


def draw(shapes: list[tuple[int, ...]], initializer: Any) -> None:
    """Draw weights of these shapes."""
    for shape in shapes:
        initializer(shape)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    gaussian = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    for ours, theirs in PAIRS.items():
        shapes = [tuple(layer.kernel.shape) for layer in build(ours).layers if isinstance(layer, keras.layers.Conv2D)]
        makers: dict[str, Callable[[], Any]] = {
            "ours": lambda name=ours: build(name),
            "theirs": lambda name=theirs: getattr(keras.applications, name)(weights=None),
            "gaussian": lambda shapes=shapes: draw(shapes, gaussian),
            "uniform": lambda shapes=shapes: draw(shapes, keras.initializers.GlorotUniform()),
        }
        times: dict[str, list[float]] = {name: [] for name in makers}
        for turn in range(repeats + 1):
            for name, make in makers.items():
                taken = seconds(make)
                if turn:
                    times[name].append(taken)
        median = {name: statistics.median(values) for name, values in times.items()}
        extra = median["gaussian"] - median["uniform"]
        print(
            f"{ours}: {median['ours'] / median['theirs']:.2f} of keras.applications' time; "
            f"{(median['ours'] - extra) / median['theirs']:.2f} without what Gaussian weights take longer to draw"
        )


if __name__ == "__main__":
    main()
