"""Coverage of the intervals of paired differences of two networks, and level of their tests, by simulation.

Two simulated networks score the same images: their scores have a correlation of 0.6, and each is normally distributed
in each class. Images are independent, or of patients with one to seven images whose scores have a correlation of one
half. For networks of equal quality, the share of p-values below 5 % should be at most 5 %. The last setting ignores
patients.

    python benchmarks/paired_coverage.py [REPEATS]
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from keras_cnns.comparing.paired_differences import paired_differences
from keras_cnns.evaluation.calibration import binary_probabilities
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.evaluation.operating_point import OperatingPoint

MANY_IMAGES = 1_000_000
NAMES = ("auc", "accuracy", "sensitivity", "specificity", "brier")
CHOSEN = [all_metrics()[name] for name in NAMES]


@dataclass(frozen=True)
class Setting:
    """Two networks and a distribution of test sets.

    Attributes:
        name: Description for the table.
        images: Mean number of images of a test set.
        distances: Distance between the means of the classes for each network, in standard deviations.
        grouped: Whether several images come from one patient.
        naive: Whether the comparison ignores the patients.
    """

    name: str
    images: int
    distances: tuple[float, float] = (1.8, 1.8)
    grouped: bool = False
    naive: bool = False

    def draw(self, generator: np.random.Generator, images: int) -> tuple[LabelledPredictions, LabelledPredictions]:
        """Return the predictions of both networks for a test set."""
        sizes = generator.integers(1, 8, round(images / 4)) if self.grouped else np.ones(images, int)
        patients = np.repeat(np.arange(len(sizes)), sizes)
        labels = (generator.random(len(sizes)) < 0.4).astype(int)[patients]
        shared = self.noise(generator, sizes, patients)
        found = []
        for distance in self.distances:
            score = np.sqrt(0.6) * shared + np.sqrt(0.4) * self.noise(generator, sizes, patients) + distance * labels
            probability = 1 / (1 + np.exp(-(distance * score - distance**2 / 2)))
            found.append(LabelledPredictions(
                labels=labels, probabilities=binary_probabilities(probability),
                operating_point=OperatingPoint(threshold=0.5, temperature=None, source="simulated"),
                groups=patients if self.grouped and not self.naive else None,
            ))  # fmt: skip
        return found[0], found[1]

    def noise(self, generator: np.random.Generator, sizes: np.ndarray, patients: np.ndarray) -> np.ndarray:
        """Return normal noise, with a correlation of one half between the images of a patient."""
        own = generator.normal(size=len(patients))
        return np.sqrt(0.5) * (generator.normal(size=len(sizes))[patients] + own) if self.grouped else own

    def truth(self) -> dict[str, float]:
        """Return the true differences, which do not depend on patients."""
        first, second = replace(self, grouped=False).draw(np.random.default_rng(1), MANY_IMAGES)
        metrics = [predictions.weighted_metrics(CHOSEN)(np.ones((MANY_IMAGES, 1))) for predictions in (first, second)]
        equal = self.distances[0] == self.distances[1]
        return {name: 0.0 if equal else float(metrics[1][name][0] - metrics[0][name][0]) for name in NAMES}


SETTINGS = (
    Setting("200 images, equal", 200),
    Setting("200 images", 200, (1.6, 2.1)),
    Setting("75 patients of 4 images, equal", 300, grouped=True),
    Setting("75 patients of 4 images", 300, (1.6, 2.1), grouped=True),
    Setting("75 patients of 4 images, equal, treated as 300 images", 300, grouped=True, naive=True),
)


def measure(setting: Setting, truth: dict[str, float], seed: int) -> dict[str, tuple[bool | None, bool | None]]:
    """Draw a test set; return whether each interval contains the truth, and whether each p-value is below 5 %."""
    found = paired_differences(*setting.draw(np.random.default_rng(seed), setting.images))
    return {
        name: (
            None if found[name].interval is None else found[name].interval[0] <= truth[name] <= found[name].interval[1],
            None if found[name].p is None else found[name].p < 0.05,
        )
        for name in NAMES
    }


def main(repeats: int) -> None:
    """Print the coverage and the share of significant differences in each setting."""
    with ProcessPoolExecutor() as pool:
        for setting in SETTINGS:
            truth = setting.truth()
            results = list(pool.map(measure, [setting] * repeats, [truth] * repeats, range(repeats), chunksize=10))
            print(f"\n{setting.name}, {repeats} test sets: true difference, coverage in %, p below 5 % in %")
            for name in NAMES:
                covered = [result[name][0] for result in results if result[name][0] is not None]
                below = [result[name][1] for result in results if result[name][1] is not None]
                rejected = f"{100 * np.mean(below):5.1f}" if below else ""
                print(f"  {name:12} {truth[name]:+.4f}  {100 * np.mean(covered):5.1f}  {rejected}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
