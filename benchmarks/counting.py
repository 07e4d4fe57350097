"""Time of counting costs from the settings, for every variant, compared with building and profiling the graph.

python benchmarks/counting.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_cnns import build, count, list_models, profile

BUILT = ("lenet5", "resnet50", "densenet121", "resnet-cifar-1001-v2")


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> None:
    """Print the slowest variant, and ratios for a few."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    times = {name: seconds(lambda name=name: count(name), repeats) for name in list_models()}
    slowest = max(times, key=lambda name: times[name])
    print(f"slowest of {len(times)} variants: {slowest}, {1000 * times[slowest]:.3f} ms")
    for name in BUILT:
        built = seconds(lambda name=name: profile(build(name)), 3)
        print(f"{name}: {1000 * times[name]:.3f} ms; the graph takes {built / times[name]:,.0f} times as long")


if __name__ == "__main__":
    main()
