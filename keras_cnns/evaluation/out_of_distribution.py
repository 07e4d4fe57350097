"""Detection of images that are unlike the training images of a network.

The distance of an image is the Mahalanobis distance of its features from those of the training images (Lee, Lee, Lee
and Shin 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks"). The
features are those of the last layer before the classifier and the means of the feature maps of all blocks: after
training, the last layer has kept little but the difference between the classes, and hardly distinguishes a photograph
of the skin from a chest X-ray; earlier layers do. There is one mean for all classes, which detects as well as one for
each (Kamoi and Kobayashi 2020, "Why Is the Mahalanobis Distance Effective for Anomaly Detection?") and needs no labels.
The covariance has the shrunk form of probabilistic principal component analysis (Tipping and Bishop 1999): up to 64
directions have a variance of their own, all others a common one.

An image is out of distribution if its distance exceeds a quantile of the distances of validation images. The quantile
is conformal (`keras_cnns.evaluation.conformal`), so that at most 1 % of the images of new patients like those of
validation are false alarms on average (Bates, Candès, Lei, Romano and Sesia 2023, "Testing for Outliers With Conformal
p-Values").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.utils.extmath import randomized_svd

from keras_cnns.evaluation.conformal import ROUNDING, conformal_quantile, equal_weights
from keras_cnns.evaluation.intervals import number_groups
from keras_cnns.evaluation.proportion import Proportion, proportion

MAX_DIRECTIONS = 64
IMAGES_PER_DIRECTION = 10
FALSE_ALARM_RATE = 0.01
SMALLEST = 1e-12
SMALLEST_SHARE = 1e-5  # of the mean variance; below are rounding errors


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureDistribution:
    """A normal distribution of the features of the training images.

    Attributes:
        mean: Shape (features,).
        directions: Orthogonal unit vectors, the directions of largest variance, shape (directions, features).
        variances: The variance in each of them, shape (directions,).
        remainder: The variance in every other direction, shape ().
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    remainder: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distances of features, shape (images, features), from the mean, shape (images,)."""
        centred = features - self.mean
        inside = np.square(centred @ self.directions.T)
        outside = (np.square(centred).sum(axis=1) - inside.sum(axis=1)).clip(0)
        return np.asarray(np.sqrt((inside / self.variances).sum(axis=1) + outside / self.remainder))


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """A detector of images that are out of distribution.

    Attributes:
        distribution: The distribution of the training images.
        threshold: The largest distance that is not out of distribution.
        false_alarm_rate: The fraction of ordinary images that the threshold allows to be out of distribution.
        measured: The fraction of validation images beyond a threshold that was chosen without their patient.
    """

    distribution: FeatureDistribution
    threshold: float
    false_alarm_rate: float
    measured: Proportion

    def is_unusual(self, features: np.ndarray) -> np.ndarray:
        """Return whether images are out of distribution, given their features, shape (images, features)."""
        return np.asarray(self.distribution.distances(features) > self.threshold)

    def to_metrics(self) -> dict[str, float]:
        """Return the false-alarm rate under its names in MLflow."""
        return self.measured.to_metrics("false_alarm_rate")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all values as arrays, for a file."""
        values = {"threshold": self.threshold, "false_alarm_rate": self.false_alarm_rate, **asdict(self.measured)}
        return {**vars(self.distribution), **{name: np.array(value) for name, value in values.items()}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Detector:
        """Return the detector with the values of `to_arrays`."""
        fields = FeatureDistribution.__dataclass_fields__
        return cls(
            distribution=FeatureDistribution(**{name: arrays[name] for name in fields}),
            threshold=float(arrays["threshold"]),
            false_alarm_rate=float(arrays["false_alarm_rate"]),
            measured=Proportion(**{name: float(arrays[name]) for name in Proportion.__dataclass_fields__}),
        )


@dataclass(frozen=True, kw_only=True)
class UnusualImages:
    """How many images are out of distribution.

    Attributes:
        images: Their number.
        share: Their proportion.
        expected: The proportion to expect of images like those of training, the false-alarm rate of the detector.
    """

    images: int
    share: Proportion
    expected: float


def fit_distribution(features: np.ndarray) -> FeatureDistribution:
    """Fit the distribution of features of at least two images, shape (images, features)."""
    images, number = features.shape
    mean = features.mean(axis=0)
    centred = (features - mean).astype(np.float32)
    rank = max(1, min(MAX_DIRECTIONS, images // IMAGES_PER_DIRECTION, number - 1))
    _, lengths, directions = randomized_svd(centred, rank, random_state=0)
    variances = np.square(lengths.astype(np.float64)) / (images - 1)
    total = np.square(centred, dtype=np.float64).sum() / (images - 1)
    remainder = max((total - variances.sum()) / max(number - rank, 1), SMALLEST_SHARE * total / number, SMALLEST)
    return FeatureDistribution(
        mean=mean.astype(np.float32),
        directions=directions.astype(np.float32),
        variances=np.maximum(variances, remainder),
        remainder=np.array(remainder),
    )


def fit_detector(training: np.ndarray, validation: np.ndarray, patients: np.ndarray | None = None) -> Detector | None:
    """Fit a detector; None if there are fewer than two training images or validation patients, or not finite features.

    It allows 1 % false alarms. Fewer than 99 patients do not determine such a threshold: it is then their largest
    distance, and the rate is that at which a new patient exceeds it.

    Args:
        training: The features of training images, shape (images, features).
        validation: The features of validation images, shape (images, features).
        patients: The patient of each validation image; by default each image is a patient.
    """
    groups = number_groups(patients, len(validation))
    number = len(np.unique(groups))
    if len(training) < 2 or number < 2 or not (np.isfinite(training).all() and np.isfinite(validation).all()):
        return None
    distribution = fit_distribution(training)
    distances = distribution.distances(validation)
    rate = max(FALSE_ALARM_RATE, 1 / (number + 1))
    return Detector(
        distribution=distribution,
        threshold=conformal_quantile(distances, 1 - rate, groups),
        false_alarm_rate=rate,
        measured=proportion(find_alarms(distances, groups), groups),
    )


def find_alarms(distances: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return whether each image is beyond the threshold that the images of the other patients determine.

    Args:
        distances: The distances of images, shape (images,).
        patients: The patient of each image, of two patients at least.
    """
    weights, number = equal_weights(patients), len(np.unique(patients))
    rate = max(FALSE_ALARM_RATE, 1 / number)
    needed = (1 - rate) * number - ROUNDING  # weight of the smaller distances
    order = np.argsort(distances, kind="stable")
    below = np.append(0.0, weights[order].cumsum())[np.searchsorted(distances[order], distances, side="left")]
    alarms = np.zeros(len(distances), bool)
    for patient in np.unique(patients[below >= needed]):  # no image of another one can be beyond the threshold
        own = patients == patient
        alarms[own] = distances[own] > conformal_quantile(distances[~own], 1 - rate, patients[~own])
    return alarms
