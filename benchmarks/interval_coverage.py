"""How often the 95 % intervals of `keras_cnns.evaluation.intervals` hold the truth, by simulation.

A network gives each image a number that is normally distributed in each class, and from it the right probability, made
too sure by a temperature of 1.5. The truth of every metric is taken from four million images. Test sets are drawn again
and again, of independent images and of patients with one to seven images that have half of their variance in common;
each gets its intervals. The last three worlds show where intervals should not be believed.

    python benchmarks/interval_coverage.py [REPEATS]
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.intervals import intervals
from keras_cnns.evaluation.metrics import Measures, measure

ENOUGH = 4_000_000


@dataclass(frozen=True)
class World:
    """Where test sets are drawn from.

    Attributes:
        name: What it is called.
        images: How many images a test set has, on average.
        share: The share of class 1.
        distance: Between the classes' means, in standard deviations.
        threshold: From which probability an image counts as of class 1.
        grouped: Whether images come from patients.
        naive: Whether the intervals are told nothing of the patients.
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

    def truth(self) -> dict[str, float]:
        """Return the metrics of endless images; patients do not change them."""
        labels, probabilities, _ = World("", 0, self.share, self.distance).draw(np.random.default_rng(1), ENOUGH)
        return measure(labels, probabilities, threshold=self.threshold, temperature=1.5)


WORLDS = (
    World("600 images", 600),
    World("200 images", 200),
    World("200 images, a fifth of them ill", 200, share=0.2),
    World("75 patients of 4 images", 300, grouped=True),
    World("150 patients of 4 images", 600, grouped=True),
    World("75 patients taken for 300 images", 300, grouped=True, naive=True),
    World("600 images, 30 of them ill", 600, share=0.05, threshold=0.05),
    World("100 images, two of them taken for the wrong class", 100, distance=4.0, threshold=0.3),
)


def covered(world: World, truth: dict[str, float], seed: int) -> dict[str, bool]:
    """Draw a test set and say which intervals hold the truth."""
    labels, probabilities, patients = world.draw(np.random.default_rng(seed), world.images)
    found = intervals(
        Measures(labels, probabilities, threshold=world.threshold, temperature=1.5),
        len(labels),
        groups=patients if world.grouped and not world.naive else None,
        seed=seed,
    )
    return {name: interval.low <= truth[name] <= interval.high for name, interval in found.items()}


def main(repeats: int) -> None:
    """Print the coverage of each metric in each world."""
    names = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "mcc", "auc", "average_precision",
             "brier", "ece", "brier_scaled", "ece_scaled")  # fmt: skip
    print(f"share of 95 % intervals that hold the truth, {repeats} test sets, one standard error "
          f"{100 * np.sqrt(0.95 * 0.05 / repeats):.1f}")  # fmt: skip
    with ProcessPoolExecutor() as pool:
        for world in WORLDS:
            begun, truth = time.perf_counter(), world.truth()
            results = list(pool.map(covered, [world] * repeats, [truth] * repeats, range(repeats), chunksize=25))
            print(f"\n{world.name} ({time.perf_counter() - begun:.0f} s)")
            for name in names:
                held = [result[name] for result in results if name in result]
                print(f"  {name:18} {truth[name]:.4f}  {100 * np.mean(held):5.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
