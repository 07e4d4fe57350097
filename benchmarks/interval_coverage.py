"""Coverage of the 95 % intervals of an evaluation, by simulation.

A simulated network assigns each image a score that is normally distributed in each class, and a probability that is
correct except for overconfidence (a temperature of 1.5). The true value of every metric is computed from four million
images. Test sets are drawn repeatedly, of independent images and of patients with one to seven images whose scores have
a correlation of one half, and intervals are computed for each. The last three settings show where intervals should not
be trusted. A second number is the share of test sets without an interval, if there are any.

    python benchmarks/interval_coverage.py [REPEATS [METRIC ...]]
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metric import Metric
from keras_cnns.evaluation.metrics import all_metrics, compute_metrics
from keras_cnns.evaluation.operating_point import OperatingPoint

MANY_IMAGES = 4_000_000


@dataclass(frozen=True)
class Setting:
    """A distribution of test sets.

    Attributes:
        name: Description for the table.
        images: Mean number of images of a test set.
        share: Prevalence of class 1.
        distance: Distance between the means of the classes, in standard deviations.
        threshold: Decision threshold for class 1.
        grouped: Whether several images come from one patient.
        naive: Whether the intervals ignore the patients.
    """

    name: str
    images: int
    share: float = 0.4
    distance: float = 2.0
    threshold: float = 0.35
    grouped: bool = False
    naive: bool = False

    def draw(self, generator: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return labels, probabilities and patients of a test set."""
        sizes = np.ones(images, int)
        if self.grouped:
            sizes = generator.integers(1, 8, round(images / 4))
        patients = np.repeat(np.arange(len(sizes)), sizes)
        labels = (generator.random(len(sizes)) < self.share).astype(int)[patients]
        common = generator.normal(size=len(sizes))[patients]
        own = generator.normal(size=len(patients))
        noise = np.sqrt(0.5) * (common + own) if self.grouped else own
        seen = noise + labels * self.distance
        logit = np.log(self.share / (1 - self.share)) + self.distance * seen - self.distance**2 / 2
        positive = 1 / (1 + np.exp(-1.5 * logit))
        return labels, np.stack([1 - positive, positive], axis=1), patients

    def truth(self, metrics: list[Metric]) -> dict[str, float]:
        """Return metrics in the limit of many images, which do not depend on patients."""
        labels, probabilities, _ = Setting("", 0, self.share, self.distance).draw(np.random.default_rng(1), MANY_IMAGES)
        return compute_metrics(labels, probabilities, threshold=self.threshold, temperature=1.5, metrics=metrics)


SETTINGS = (
    Setting("600 images", 600),
    Setting("200 images", 200),
    Setting("200 images, prevalence 20 %", 200, share=0.2),
    Setting("75 patients of 4 images", 300, grouped=True),
    Setting("150 patients of 4 images", 600, grouped=True),
    Setting("75 patients treated as 300 images", 300, grouped=True, naive=True),
    Setting("600 images, prevalence 5 %", 600, share=0.05, threshold=0.05),
    Setting("100 images, two of them misclassified", 100, distance=4.0, threshold=0.3),
)


def covered(setting: Setting, truth: dict[str, float], seed: int) -> dict[str, bool]:
    """Draw a test set and return which intervals contain the true value."""
    labels, probabilities, patients = setting.draw(np.random.default_rng(seed), setting.images)
    predictions = LabelledPredictions(
        labels=labels,
        probabilities=probabilities,
        operating_point=OperatingPoint(threshold=setting.threshold, temperature=1.5, source="simulated"),
        groups=patients if setting.grouped and not setting.naive else None,
        seed=seed,
    )
    intervals = predictions.compute_intervals([all_metrics()[name] for name in truth])
    return {name: interval.low <= truth[name] <= interval.high for name, interval in intervals.items()}


def main(repeats: int, names: list[str]) -> None:
    """Print the coverage of these metrics, or of all, in each setting."""
    metrics = [metric for name, metric in all_metrics().items() if not names or name in names]
    print(f"coverage of 95 % intervals, {repeats} test sets, one standard error "
          f"{100 * np.sqrt(0.95 * 0.05 / repeats):.1f}")  # fmt: skip
    with ProcessPoolExecutor() as pool:
        for setting in SETTINGS:
            begun, truth = time.perf_counter(), setting.truth(metrics)
            results = list(pool.map(covered, [setting] * repeats, [truth] * repeats, range(repeats), chunksize=25))
            print(f"\n{setting.name} ({time.perf_counter() - begun:.0f} s)")
            for name, value in truth.items():
                held = [result[name] for result in results if name in result]
                missing = 100 * (1 - len(held) / repeats)
                print(f"  {name:28} {value:7.4f}  {100 * np.mean(held):5.1f}{f'  {missing:.1f}' if missing else ''}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, sys.argv[2:])
