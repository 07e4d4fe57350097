"""Abstention by confidence: the risk-coverage curve, the chosen coverage and the confidence of decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.answer_results import compute_answers
from keras_cnns.evaluation.answering import AnswerChoice, calibrate, choose_answers
from keras_cnns.evaluation.operating_point import predict_classes
from keras_cnns.evaluation.selective import decision_confidence, min_confidence, risk_coverage_curve

CONFIDENCES = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.75, 0.9, 1.0]) | st.floats(0.5, 1), st.booleans()),
                       min_size=1, max_size=50)  # fmt: skip


@given(images=CONFIDENCES)
def test_the_curve_has_the_risk_of_all_images_at_least_as_confident(images: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(values) for values in zip(*images, strict=True))
    curve = risk_coverage_curve(confidence, correct)
    for coverage, risk, lowest in zip(curve.coverage, curve.risk, curve.confidence, strict=True):
        answered = confidence >= lowest
        assert coverage == pytest.approx(answered.mean())
        assert risk == pytest.approx((~correct[answered]).mean())
    assert (np.diff(curve.coverage) > 0).all()
    assert curve.coverage[-1] == 1
    per_image = [(~correct[confidence >= value]).mean() for value in confidence]
    assert curve.area == pytest.approx(np.mean(per_image))


@given(images=CONFIDENCES, coverage=st.sampled_from([0.1, 0.5, 0.8, 0.9, 1.0]))
def test_the_lowest_confidence_answers_the_chosen_fraction_and_no_more_than_ties_require(
    images: list[tuple[float, bool]], coverage: float
) -> None:
    confidence = np.array([value for value, _ in images])
    lowest = min_confidence(confidence, coverage)
    assert (confidence >= lowest).mean() >= coverage - 1e-9
    assert (confidence > lowest).sum() < coverage * len(confidence)


@given(positive=st.lists(st.floats(0, 1), min_size=2, max_size=30), threshold=st.floats(0.01, 0.99))
def test_decisions_are_least_confident_at_the_threshold(positive: list[float], threshold: float) -> None:
    chosen = np.array([*positive, threshold])
    probabilities = np.stack([1 - chosen, chosen], axis=1)
    confidence = decision_confidence(probabilities, threshold)
    assert confidence[-1] == pytest.approx(0.5)
    assert ((confidence >= 0.5 - 1e-12) & (confidence <= 1)).all()
    for side in (0, 1):
        predicted = predict_classes(probabilities, threshold) == side
        order = np.argsort(np.abs(chosen[predicted] - threshold))
        assert (np.diff(confidence[predicted][order]) >= -1e-12).all()
    np.testing.assert_allclose(decision_confidence(probabilities, 0.5), probabilities.max(axis=1))
    np.testing.assert_array_equal(decision_confidence(probabilities, None), probabilities.max(axis=1))


def make_predictions(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities and patients of 300 images in three classes; class 2 is the hardest."""
    generator = np.random.default_rng(seed)
    patients = np.repeat(np.arange(100), 3)
    labels = generator.integers(0, 3, 100)[patients]
    logits = generator.normal(size=(300, 3)) + generator.normal(size=(100, 3))[patients]
    logits[np.arange(300), labels] += np.array([3, 2, 1])[labels]
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True), patients


@pytest.mark.parametrize("options", [{"confidence_level": 0.8}, {"coverage": 0.7}])
def test_abstention_raises_the_accuracy_and_is_counted_by_class_and_subgroup(options: dict[str, float]) -> None:
    labels, probabilities, patients = make_predictions(0)
    rule = calibrate(AnswerChoice(**options), labels, probabilities, None, patients)
    assert (rule.images, rule.patients) == (300, 100)
    labels, probabilities, patients = make_predictions(1)
    young = patients % 2 == 0
    names = ("nevus", "keratosis", "melanoma")
    found = compute_answers(rule, labels, probabilities, names, patients=patients,
                            subgroups={"age": {"old": ~young, "young": young}})  # fmt: skip
    predicted = probabilities.argmax(axis=1)
    overall = found.overall
    assert overall.accuracy_answered is not None
    assert overall.accuracy_answered.value == (predicted == labels)[found.answered].mean()
    assert overall.accuracy_answered.value > overall.accuracy.value + 0.03
    assert overall.answered.value == found.answered.mean()
    assert overall.answered.low < overall.answered.value < overall.answered.high
    assert list(found.by_class) == list(names)
    assert sum(result.images for result in found.by_class.values()) == 300
    assert {name: result.images for name, result in found.by["age"].items()} == {"old": 150, "young": 150}
    if found.sets is None:
        assert overall.in_set is None
        assert overall.answered.value == pytest.approx(0.7, abs=0.1)
    else:
        assert overall.in_set is not None
        assert overall.in_set.value == found.sets[np.arange(300), labels].mean()
        assert overall.in_set.value == pytest.approx(found.in_set_by_patient), "all patients have three images"
        assert (found.sets.sum(axis=1)[found.answered] == 1).all()
        assert found.sets[np.arange(300), predicted][found.answered].all()
        for result in found.by_class.values():
            assert result.in_set is not None
            assert result.in_set.high >= 0.8
    unusual = np.arange(300) < 50
    with_unusual = compute_answers(rule, labels, probabilities, names, unusual=unusual)
    assert not with_unusual.answered[:50].any()
    assert (with_unusual.answered == (found.answered & ~unusual)).all()


def test_a_set_that_contradicts_the_decision_is_not_an_answer() -> None:
    """At a high decision threshold, class 0 is predicted although only class 1 is in the set."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    positive = np.clip(0.35 + 0.4 * labels + generator.normal(size=400) * 0.15, 0.01, 0.99)
    probabilities = np.stack([1 - positive, positive], axis=1)
    rule = calibrate(AnswerChoice(confidence_level=0.9), labels, probabilities, 0.8)
    new = np.array([[0.25, 0.75], [0.1, 0.9], [0.8, 0.2]])
    sets = rule.sets(new)
    assert sets is not None
    assert sets.tolist() == [[False, True], [False, True], [True, False]]
    assert rule.answers(new).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("confidence_level", "coverage", "words"),
    [(0.9, 0.8, "exclude each other"), (1.0, None, "between 0 and 1"), (0.0, None, "between 0 and 1"),
     (None, 1.1, "at most 1"), (None, 0.0, "above 0")],
)  # fmt: skip
def test_impossible_options_are_reported(confidence_level: float | None, coverage: float | None, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        choose_answers(confidence_level, coverage)
    assert choose_answers(None, None) is None
    assert choose_answers(0.9, None) == AnswerChoice(confidence_level=0.9)
    assert choose_answers(None, 1.0) == AnswerChoice(coverage=1.0)
