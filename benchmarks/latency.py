"""How far predicted latencies are from measured ones, for networks that were never used to fit, and what they cost.

python benchmarks/latency.py

For each size of images the machine is calibrated anew, then other networks are drawn from all families, their latency
is predicted and measured. The last lines are the processor time of counting, predicting and rejecting a candidate.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import time

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.stats import spearmanr

from keras_cnns import Recipe
from keras_cnns.registry import all_families
from tuning.candidates.latency import Latency
from tuning.candidates.limits import Limits
from tuning.candidates.space import make_space
from tuning.candidates.timing import draw_networks, measure, time_of, work_of

SHAPES = ((8, 8, 1), (28, 28, 1), (64, 64, 3))


def main() -> None:
    """Print the errors, then the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=56, help="networks to check with, of each size of images")
    arguments = parser.parse_args()
    print("images     fitted  held out (half, nine in ten)  new  median  nine in ten  largest  rank correlation")
    for shape in SHAPES:
        with contextlib.redirect_stdout(io.StringIO()):
            latency = measure(shape)
        print(f"{shape[0]}x{shape[1]}x{shape[2]}".ljust(9), check(latency, arguments.networks))
    time_rejections(latency)


def check(latency: Latency, count: int) -> str:
    """Return how far predictions are from what is measured for networks drawn with another seed."""
    networks = list(draw_networks(latency.image_shape, seed=1))[:count]
    predicted = np.asarray([latency.predict(work_of(network, latency.image_shape)) for network in networks])
    measured = np.asarray([time_of(network, latency.image_shape) for network in networks])
    factors = np.maximum(predicted / measured, measured / predicted)
    return (
        f"{latency.networks:7} {latency.typical_factor:15.2f} {latency.usual_factor:8.2f} {len(networks):8}"
        f"{np.median(factors):8.2f} {np.quantile(factors, 0.9):12.2f} {factors.max():8.2f}"
        f"{spearmanr(predicted, measured).statistic:18.3f}"
    )


def time_rejections(latency: Latency) -> None:
    """Print the processor time of drawing a candidate, predicting its latency and rejecting it."""
    for name in (*all_families(), "all"):
        limits = Limits(latency=1e-3)
        space = make_space(
            name, recipe=Recipe(), image_shape=latency.image_shape, classes=10, limits=limits, latency=latency
        )
        source = random.Random(0)  # noqa: S311
        times = []
        for _ in range(500):
            begun = time.process_time()
            candidate = space.candidate(space.draw_values(source))
            _ = candidate is None or space.excess(candidate)
            times.append(1000 * (time.process_time() - begun))
        print(f"{name:10} mean {sum(times) / len(times):.3f} ms, slowest {max(times):.3f} ms")


if __name__ == "__main__":
    main()
