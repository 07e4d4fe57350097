"""The training images whose features are most similar to those of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.run_images import load_for_run
from keras_cnns.evaluation.run_network import RunNetwork, predict_with_features

MAX_IMAGES = 4000
IMAGES_PER_CHUNK = 500
SHOWN = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingCases:
    """Training images with their features, without the names of files and patients.

    Attributes:
        images: Shape (images, height, width, channels), uint8.
        labels: The names of the class or the labels of each image.
        features: The features of the images, shape (images, features), float32, divided by `scale`.
        scale: The standard deviation of each feature, shape (features,).
    """

    images: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    features: np.ndarray
    scale: np.ndarray

    def find_similar(self, features: np.ndarray) -> np.ndarray:
        """Return the indices of the images with the most similar features, the nearest first.

        Similarity is the Euclidean distance of features that have a standard deviation of 1 on the training images.

        Args:
            features: The features of one image, shape (features,).
        """
        distances = np.square(self.features - features / self.scale).sum(axis=1)
        return np.asarray(np.argsort(distances, kind="stable")[:SHOWN])


def load_training_cases(network: RunNetwork) -> TrainingCases:
    """Load the training images of a network, at most 4,000 of them, and compute their features.

    Raises:
        EvaluationError: They are not recorded, no longer there, or have changed since the training.
        DataError: They cannot be read.
    """
    dataset = load_for_run(network, None, {}, hint="put them back, or leave out --show-training-cases")
    run = network.run
    if run.data_fingerprint and dataset.fingerprint != run.data_fingerprint:
        raise EvaluationError(
            f"the images of {network.source} have changed since the training of run {run.id}; restore them, or leave "
            f"out --show-training-cases (show_training_cases)."
        )
    indices = np.sort(np.random.default_rng(0).permutation(len(dataset.training))[:MAX_IMAGES])
    chosen = dataset.training.take(indices)
    chunks = range(0, len(chosen), IMAGES_PER_CHUNK)
    features = np.concatenate([
        predict_with_features(network.with_features, chosen.images[begin : begin + IMAGES_PER_CHUNK])[0]
        for begin in chunks
    ])  # fmt: skip
    scale = features.std(axis=0)
    scale[scale == 0] = 1
    members = chosen.labels if chosen.labels.ndim == 2 else np.eye(len(dataset.class_names), dtype=bool)[chosen.labels]
    labels = tuple(tuple(dataset.class_names[index] for index in np.flatnonzero(row).tolist()) for row in members)
    return TrainingCases(images=chosen.images, labels=labels, features=features / scale, scale=scale)
