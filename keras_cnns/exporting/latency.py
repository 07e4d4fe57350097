"""How long predictions of exported files take on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from keras_cnns.exporting.formats import Runtime

SINGLE, BATCH = 1, 32
MIN_RUNS, MAX_RUNS, SECONDS = 5, 200, 1.5


@dataclass(frozen=True)
class Latency:
    """Medians of the measured times.

    Attributes:
        milliseconds: The time for one image.
        images_per_second: The number of images in a batch of 32, divided by its time.
    """

    milliseconds: float
    images_per_second: float


def measure_latency(runtime: Runtime, images: np.ndarray) -> Latency:
    """Measure a runtime on images, float32, which are repeated as often as necessary."""
    batch = np.resize(images, (BATCH, *images.shape[1:])).astype(np.float32)
    single, many = (median_seconds(runtime, np.ascontiguousarray(batch[:size])) for size in (SINGLE, BATCH))
    return Latency(milliseconds=single * 1000, images_per_second=BATCH / many)


def median_seconds(runtime: Runtime, batch: np.ndarray) -> float:
    """Return the median time of a call, after two that do not count."""
    for _ in range(2):
        runtime(batch)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < MIN_RUNS or (len(times) < MAX_RUNS and time.perf_counter() - begin < SECONDS):
        start = time.perf_counter()
        runtime(batch)
        times.append(time.perf_counter() - start)
    return float(np.median(times))
