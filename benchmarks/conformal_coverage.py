"""How often conformal prediction sets contain the true class, by simulation, for independent and for grouped images.

    python benchmarks/conformal_coverage.py [REPEATS]

In each repeat, predictions for validation images calibrate the sets, and a new patient is drawn. The sets of "pooled"
ignore who the patients are, and those of "marginal" have one quantile for all classes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.conformal import class_quantiles, conformal_quantile, true_class_scores

LEVEL = 0.9


@dataclass(frozen=True)
class Setting:
    """A distribution of images.

    Attributes:
        name: Description for the table.
        patients: Number of validation patients.
        shares: Prevalence of each class.
        images: The largest number of images of a patient.
        harder: How much harder each further image of a patient makes all of them.
    """

    name: str
    patients: int
    shares: tuple[float, ...]
    images: int = 1
    harder: float = 0.0


SETTINGS = (
    Setting("200 images, two classes", 200, (0.7, 0.3)),
    Setting("400 images, a rare class of 5 %", 400, (0.75, 0.2, 0.05)),
    Setting("100 patients of 1 to 7 images", 100, (0.7, 0.3), images=7),
    Setting("the same, harder with many images", 100, (0.7, 0.3), images=7, harder=0.4),
    Setting("the same, easier with many images", 100, (0.7, 0.3), images=7, harder=-0.4),
)


def draw(setting: Setting, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities and patients of validation images and of those of one more patient."""
    count = setting.patients + 1
    sizes = generator.integers(1, setting.images + 1, count)
    patients = np.repeat(np.arange(count), sizes)
    labels = generator.choice(len(setting.shares), count, p=setting.shares)[patients]
    ease = (generator.normal(size=count) - setting.harder * (sizes - sizes.mean()))[patients]
    logits = np.log(setting.shares) + generator.normal(size=(len(patients), len(setting.shares)))
    logits[np.arange(len(patients)), labels] += 1 + ease
    exponentials = np.exp(logits)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True), patients


def main(repeats: int) -> None:
    """Print the fraction of sets with the true class in each setting."""
    error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / repeats)
    print(
        f"sets with the true class in percent, level {LEVEL:.0%}, {repeats} repeats, one standard error {error:.1f}\n"
    )
    print(f"{'':36}{'by patient':>12}{'by image':>12}{'rarest class':>14}{'pooled':>10}{'marginal, rarest':>18}")
    for setting in SETTINGS:
        generator = np.random.default_rng(0)
        found = []
        for _ in range(repeats):
            labels, probabilities, patients = draw(setting, generator)
            known = patients < setting.patients
            scores = true_class_scores(labels, probabilities)
            grouped, pooled = (
                class_quantiles(labels[known], probabilities[known], LEVEL, groups).values[labels[~known]]
                for groups in (patients[known], None)
            )
            marginal = conformal_quantile(scores[known], LEVEL, patients[known])
            new, is_rarest = scores[~known], labels[~known][0] == len(setting.shares) - 1
            found.append(
                (len(new), (new <= grouped).mean(), (new <= pooled).mean(), (new <= marginal).mean(), is_rarest)
            )
        sizes, grouped, pooled, marginal, rarest = np.array(found).T
        values = (
            grouped.mean(), np.average(grouped, weights=sizes), grouped[rarest == 1].mean(), pooled.mean(),
            marginal[rarest == 1].mean(),
        )  # fmt: skip
        widths = (12, 12, 14, 10, 18)
        row = "".join(f"{100 * value:{width}.1f}" for value, width in zip(values, widths, strict=True))
        print(f"{setting.name:36}{row}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
