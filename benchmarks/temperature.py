"""How much temperature scaling helps or harms, by simulation: rules that estimate it from few validation images.

A simulated network predicts the probabilities of two or of five classes. Its logits are those of calibrated
probabilities times a factor, the true temperature. The temperature is estimated from validation images with each rule,
and the mean log loss and Brier score of other images are compared with those without temperature scaling. In half of
the settings, the validation images are easier than the others, as those that chose the epoch are.

    python benchmarks/temperature.py [REPEATS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize_scalar

from keras_cnns.evaluation.calibration import apply_temperature, fit_temperature

TEST_IMAGES = 20_000
FOLDS = 5
PLAIN = 1e6
"""A standard deviation of the prior that leaves the likelihood as it is."""


@dataclass(frozen=True)
class Setting:
    """A simulated network and its validation images.

    Attributes:
        images: Number of validation images.
        temperature: The temperature that calibrates the network.
        classes: Number of classes.
        distance: Distance between the classes, in standard deviations.
        easier: Factor of this distance for the validation images.
    """

    images: int
    temperature: float
    classes: int
    distance: float
    easier: float

    def draw(self, generator: np.random.Generator, images: int, easier: float) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and predicted probabilities, which the temperature calibrates if no image is easier."""
        labels = generator.integers(0, self.classes, images)
        logits = generator.normal(size=(images, self.classes)) * self.distance
        logits[np.arange(images), labels] += easier * self.distance**2
        logits *= self.temperature
        return labels, apply_temperature(np.exp(logits - logits.max(axis=1, keepdims=True)), 1.0)


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross-entropy in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-30)).mean())


def accept_if_better(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the plain temperature if the temperatures of the other folds lower the log loss of each fold."""
    fold_of_image = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    scaled = probabilities.copy()
    for fold in range(FOLDS):
        inside = fold_of_image == fold
        temperature = fit_temperature(labels[~inside], probabilities[~inside], spread=PLAIN)
        if temperature is not None:
            scaled[inside] = apply_temperature(probabilities[inside], temperature)
    better = log_loss(labels, scaled) < log_loss(labels, probabilities)
    return fit_temperature(labels, probabilities, spread=PLAIN) if better else None


def with_log_prior(spread: float) -> Callable[[np.ndarray, np.ndarray], float | None]:
    """Return the rule with a normal prior on the logarithm of the temperature."""

    def fit(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
        if fit_temperature(labels, probabilities, spread=PLAIN) is None:
            return None

        def loss(logarithm: float) -> float:
            fitted = log_loss(labels, apply_temperature(probabilities, np.exp(logarithm)))
            return fitted * len(labels) + (logarithm / spread) ** 2 / 2

        return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))

    return fit


def with_prior(spread: float) -> Callable[[np.ndarray, np.ndarray], float | None]:
    """Return the rule with a normal prior on the inverse temperature."""
    return lambda labels, probabilities: fit_temperature(labels, probabilities, spread=spread)


RULES: dict[str, Callable[[np.ndarray, np.ndarray], float | None]] = {
    "plain": with_prior(PLAIN),
    "cross-validated": accept_if_better,
    "log prior 0.3": with_log_prior(0.3),
    "log prior 0.5": with_log_prior(0.5),
    "prior 0.25": with_prior(0.25),
    "prior 0.5": with_prior(0.5),
    "prior 1": with_prior(1.0),
}


def measure(setting: Setting, seed: int) -> dict[str, tuple[float, float]]:
    """Return the change of the test log loss and Brier score by temperature scaling with each rule."""
    generator = np.random.default_rng(seed)
    labels, probabilities = setting.draw(generator, setting.images, setting.easier)
    test_labels, test = setting.draw(generator, TEST_IMAGES, 1.0)
    truth = np.eye(setting.classes)[test_labels]
    before = log_loss(test_labels, test), ((test - truth) ** 2).sum(axis=1).mean()
    changes = {}
    for name, fit in {"true": lambda *_: setting.temperature, **RULES}.items():
        temperature = fit(labels, probabilities)
        scaled = test if temperature is None else apply_temperature(test, temperature)
        after = log_loss(test_labels, scaled), ((scaled - truth) ** 2).sum(axis=1).mean()
        changes[name] = float(after[0] - before[0]), float(after[1] - before[1])
    return changes


def main(repeats: int) -> None:
    """Print the mean change, and the highest of the settings, for each number of validation images."""
    settings = list(product((0.6, 1.0, 1.8), (2, 5), (2.0, 3.0), (1.0, 1.15)))
    names = ("true", *RULES)
    print(f"change by temperature scaling, {len(settings)} settings, {repeats} repeats; in parentheses the worst one")
    print("images", *(f"{name:>20}" for name in names))
    with ProcessPoolExecutor() as pool:
        for images in (50, 100, 200, 500, 2000, 10_000):
            means = []
            for temperature, classes, distance, easier in settings:
                setting = Setting(images, temperature, classes, distance, easier)
                results = list(pool.map(measure, [setting] * repeats, range(repeats), chunksize=10))
                means.append([np.mean([result[name] for result in results], axis=0) for name in names])
            for score, title in enumerate(("log loss", "Brier")):
                values = np.array(means)[..., score]
                cells = zip(values.mean(axis=0), values.max(axis=0), strict=True)
                shown = (f"{1000 * mean:+8.2f} ({1000 * worst:+8.2f})" for mean, worst in cells)
                print(f"{images:6} {title:9}", *(f"{text:>20}" for text in shown), "(thousandths)", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
