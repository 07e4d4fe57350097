"""Certificates of exports: how far the probabilities and decisions of a file are from those of the run's network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_cnns.data.dataset import Split
from keras_cnns.evaluation.classifier import Classifier
from keras_cnns.evaluation.operating_point import predict_classes
from keras_cnns.evaluation.proportion import Proportion, proportion
from keras_cnns.exporting.formats import Runtime

BATCH = 32
MAX_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What an exported file computes, compared with the run's network on the same images.

    Attributes:
        run: The run.
        format: The format.
        form: "float32", "folded" (batch normalization in convolutions) or "int8".
        file: The name of the file or folder.
        sha256: Its checksum; for a folder, that of its files in the order of their names.
        bytes: Its size.
        runtime: The runtime that executed it, with its version.
        checked_on: The images.
        images: Their number.
        largest_difference: The largest absolute difference of a probability, after temperature scaling.
        changed_decisions: The number of images with another predicted class, or other predicted labels.
        tolerance: The largest difference or, for int8, the largest loss of accuracy that was accepted.
        accuracy: The accuracy of the file on these images, with a 95 % confidence interval.
        accuracy_of_run: That of the run's network.
        calibrated_on: For int8, the number of training images on which the ranges were calibrated; else 0.
    """

    run: str
    format: str
    form: str
    file: str
    sha256: str
    bytes: int
    runtime: str
    checked_on: str
    images: int
    largest_difference: float
    changed_decisions: int
    tolerance: float
    accuracy: Proportion
    accuracy_of_run: Proportion
    calibrated_on: int = 0

    @property
    def loss(self) -> float:
        """What the tolerance limits: the largest difference or, for int8, the loss of accuracy."""
        if self.form == "int8":
            return self.accuracy_of_run.value - self.accuracy.value
        return self.largest_difference

    @property
    def passed(self) -> bool:
        """Whether the tolerance is kept; a difference that is not a number exceeds every tolerance."""
        return self.loss <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON-compatible values."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The answers of a run's network for the images of a check.

    Attributes:
        classifier: The network.
        split: The images with their labels.
        source: What the images are.
        probabilities: After temperature scaling, shape (images, classes).
    """

    classifier: Classifier
    split: Split
    source: str
    probabilities: np.ndarray

    def compare(self, runtime: Runtime) -> dict[str, Any]:
        """Return the fields of a certificate that come from executing a file."""
        found = np.concatenate([runtime(batch) for batch in batches_of(self.split.images)]).astype(np.float64)
        expected, decided = self.decide(self.probabilities), self.decide(found)
        differs = (expected != decided).reshape(len(expected), -1).any(axis=1)
        return {
            "images": len(found),
            "largest_difference": float(np.abs(found - self.probabilities).max()),
            "changed_decisions": int(differs.sum()),
            "accuracy": self.measure_accuracy(decided),
            "accuracy_of_run": self.measure_accuracy(expected),
        }

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the predicted classes or labels."""
        return predict_classes(probabilities, self.classifier.threshold)

    def measure_accuracy(self, decided: np.ndarray) -> Proportion:
        """Return the proportion of images whose class, or all of whose labels, are predicted."""
        correct = (decided == self.split.labels).reshape(len(decided), -1).all(axis=1)
        return proportion(correct, self.split.patients)


def make_reference(classifier: Classifier, split: Split, source: str) -> Reference:
    """Return the answers of a run's network for at most `MAX_IMAGES` images, evenly spaced."""
    chosen = split.take(spread(len(split), MAX_IMAGES))
    network = classifier.network
    outputs = network.predict(np.asarray(chosen.images))
    probabilities = network.operating_point.scale(outputs.probabilities, multi_label=network.multi_label)
    return Reference(classifier=classifier, split=chosen, source=source, probabilities=probabilities)


def spread(count: int, limit: int) -> np.ndarray:
    """Return at most `limit` evenly spaced indices of `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))


def batches_of(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield batches of images as float32."""
    for begin in range(0, len(images), BATCH):
        yield np.ascontiguousarray(images[begin : begin + BATCH], np.float32)
