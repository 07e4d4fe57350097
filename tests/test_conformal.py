"""Conformal prediction sets: equal to MAPIE's, and the true class is in them as often as promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from keras_cnns.evaluation.conformal import (
    ClassQuantiles,
    class_quantiles,
    conformal_quantile,
    prediction_sets,
    true_class_scores,
)

LEVELS = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
SEEDS = st.integers(0, 2**32 - 1)


class Repeater(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are the probabilities that it predicts."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes
        self.classes_ = np.arange(classes)
        self.n_features_in_ = classes

    def fit(self, inputs: np.ndarray, labels: np.ndarray) -> Repeater:
        del inputs, labels
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return inputs.argmax(axis=1)

    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        return inputs


def mapie_sets(labels: np.ndarray, probabilities: np.ndarray, new: np.ndarray, level: float) -> np.ndarray:
    """Return the sets of MAPIE, shape (images, classes), calibrated on labels and probabilities."""
    reference = SplitConformalClassifier(Repeater(probabilities.shape[1]), confidence_level=level)
    return reference.conformalize(probabilities, labels).predict_set(new)[1][..., 0]


def draw(generator: np.random.Generator, images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random labels and probabilities, which depend on the labels."""
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes)) * 2
    logits[np.arange(images), labels] += 2
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@given(
    scores=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1), min_size=1, max_size=60),
    level=LEVELS,
)
def test_the_quantile_is_a_rank_of_the_scores_or_infinite_if_there_are_too_few(
    scores: list[float], level: float
) -> None:
    rank = math.ceil(round((len(scores) + 1) * level, 9))
    expected = sorted(scores)[rank - 1] if rank <= len(scores) else math.inf
    assert conformal_quantile(np.array(scores), level) == expected
    assert conformal_quantile(np.array(scores), level, groups=np.arange(len(scores))) == expected
    tripled = np.repeat(scores, 3), np.repeat(np.arange(len(scores)), 3)
    assert conformal_quantile(tripled[0], level, groups=tripled[1]) == expected, "images repeat what a patient shows"


@pytest.mark.filterwarnings("ignore:.*conformalization dataset has less labels")
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, images=st.integers(150, 300), classes=st.integers(2, 5), level=LEVELS.filter(lambda x: x < 0.99))
def test_sets_equal_those_of_mapie(seed: int, images: int, classes: int, level: float) -> None:
    generator = np.random.default_rng(seed)
    labels, probabilities = draw(generator, images, classes)
    labels[: 30 * classes] = np.repeat(np.arange(classes), 30)  # enough images of each class
    _, new = draw(generator, 40, classes)
    predicted = new.argmax(axis=1)

    common = conformal_quantile(true_class_scores(labels, probabilities), level)
    found = prediction_sets(new, ClassQuantiles(np.full(classes, common), np.ones(classes, bool)), predicted)
    expected = mapie_sets(labels, probabilities, new, level)
    expected[~expected.any(axis=1), predicted[~expected.any(axis=1)]] = True  # sets of MAPIE may be empty
    np.testing.assert_array_equal(found, expected)

    quantiles = class_quantiles(labels, probabilities, level)
    assert not quantiles.shared.any()
    for label in range(classes):
        own = labels == label
        expected = mapie_sets(labels[own], probabilities[own], new, level)[:, label]
        np.testing.assert_array_equal(1 - new[:, label] <= quantiles.values[label], expected)


@given(seed=SEEDS, images=st.integers(1, 80), classes=st.integers(2, 6), level=LEVELS, grouped=st.booleans())
def test_no_set_is_empty_and_quantiles_increase_with_the_level(
    seed: int, images: int, classes: int, level: float, grouped: bool
) -> None:
    generator = np.random.default_rng(seed)
    labels, probabilities = draw(generator, images, classes)
    groups = generator.integers(0, max(1, images // 3), images) if grouped else None
    lower, higher = (class_quantiles(labels, probabilities, each, groups) for each in (level - 0.2, level))
    _, new = draw(generator, 30, classes)
    assert prediction_sets(new, lower, new.argmax(axis=1)).any(axis=1).all()
    own = ~higher.shared
    assert (lower.values[own] <= higher.values[own]).all()
    assert (lower.shared <= higher.shared).all()


def test_classes_with_too_few_images_share_a_quantile_and_all_are_in_every_set_if_there_are_too_few_images() -> None:
    generator = np.random.default_rng(0)
    labels, probabilities = draw(generator, 200, 4)
    labels = np.repeat([0, 1, 2, 3], [170, 20, 6, 4])
    quantiles = class_quantiles(labels, probabilities, 0.9)
    assert quantiles.shared.tolist() == [False, False, True, True]
    rare = labels >= 2
    common = conformal_quantile(true_class_scores(labels[rare], probabilities[rare]), 0.9)
    assert quantiles.values[2:].tolist() == [common, common]

    few = class_quantiles(labels[:-3], probabilities[:-3], 0.9)
    assert few.shared.tolist() == [False, True, True, True], "7 images of classes 2 and 3 are too few"
    assert np.isfinite(few.values).all()
    _, new = draw(generator, 50, 4)
    none = class_quantiles(labels[:4], probabilities[:4], 0.9)
    assert prediction_sets(new, none, new.argmax(axis=1)).all()
    one_patient = class_quantiles(labels, probabilities, 0.9, groups=np.zeros(200))
    assert np.isinf(one_patient.values).all()


@pytest.mark.parametrize("sizes", [(1, 1), (1, 9)], ids=["one image per patient", "patients of up to nine images"])
def test_the_true_class_is_in_the_set_as_often_as_promised(sizes: tuple[int, int]) -> None:
    """Patients with many images are easier here, so that sets are too small if images count as independent."""
    generator = np.random.default_rng(0)
    covered, pooled = [], []
    for _ in range(400):
        numbers = generator.integers(sizes[0], sizes[1] + 1, 61)
        patients = np.repeat(np.arange(61), numbers)
        difficulty = (generator.normal(size=61) + numbers / 3)[patients]
        labels = generator.integers(0, 2, 61)[patients]
        logit = (2 * labels - 1) * (1 + difficulty + generator.normal(size=len(patients)))
        positive = 1 / (1 + np.exp(-logit))
        probabilities = np.stack([1 - positive, positive], axis=1)
        known = patients < 60
        for groups, found in ((patients[known], covered), (None, pooled)):
            quantiles = class_quantiles(labels[known], probabilities[known], 0.8, groups)
            scores = true_class_scores(labels[~known], probabilities[~known])
            found.append((scores <= quantiles.values[labels[~known]]).mean())
    error = np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) >= 0.8 - 2 * error
    assert np.mean(covered) <= 0.8 + 2 / 30 + 2 * error, "the sets are not much larger than necessary"
    if sizes[1] > 1:
        assert np.mean(pooled) < 0.8 - 2 * error
