"""How much faster ResNet-50 predicts on a processor with batch normalization folded into its convolutions.

    python benchmarks/folding.py [--network resnet50] [--side 224] [--batch 16] [--turns 9]

The networks predict the same images in turn, in Keras's compiled function, in float32 and in bfloat16; the ratios are
those of the medians. Batch normalization takes the same time in both, but convolutions take less in bfloat16 where the
processor supports it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_cnns import build
from keras_cnns.networks.inference import inference_network

DTYPES = ("float32", "mixed_bfloat16")


def main() -> None:
    """Measure and print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    side = arguments.side
    network = build(arguments.network, input_shape=(side, side, 3), classes=10)
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch, side, side, 3)).astype(np.float32)
    forms: dict[str, Callable[[], Any]] = {}
    for dtype in DTYPES:
        forms[f"{dtype}, unfolded"] = predictor(inference_network(network, dtype=dtype), images)
        forms[f"{dtype}, folded"] = predictor(inference_network(network, fold_batch_norm=True, dtype=dtype), images)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(arguments.turns):
        for name, predict in forms.items():
            start = time.perf_counter()
            predict()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name}: {1000 * median / arguments.batch:.1f} ms per image of {side}x{side}")
    for dtype in DTYPES:
        ratio = medians[f"{dtype}, unfolded"] / medians[f"{dtype}, folded"]
        print(f"{dtype}: folded is {ratio:.2f} times as fast")


def predictor(network: keras.Model, images: np.ndarray) -> Callable[[], Any]:
    """Return a function that predicts the images, compiled and called once."""
    network.predict_on_batch(images)
    return lambda: network.predict_on_batch(images)


if __name__ == "__main__":
    main()
