"""Parts of the images: every image in one, named as a person reads it and as MLflow takes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.ensembles import Settled
from keras_cnns.evaluation.measured import Measured, Predicted, as_named, in_names
from keras_cnns.evaluation.metrics import measure
from keras_cnns.evaluation.subgroups import UNKNOWN, in_words, incomparable, ordered, subgroups


def predicted(images: int, *, groups: np.ndarray | None = None) -> Predicted:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, images)
    positive = np.clip(labels * 0.4 + generator.random(images) * 0.6, 0.01, 0.99)
    return Predicted(
        labels=labels,
        probabilities=np.stack([1 - positive, positive], axis=1),
        settled=Settled(threshold=0.45, temperature=1.2, where="made up"),
        groups=groups,
    )


numbers = st.lists(st.none() | st.integers(-50, 50) | st.floats(-1e6, 1e6), min_size=1, max_size=80)


@settings(max_examples=100, deadline=None)
@given(values=numbers)
def test_numbers_are_cut_where_no_equal_ones_are_parted(values: list[float | None]) -> None:
    column = np.array([np.nan if value is None else value for value in values], float)
    words = in_words("age", column)
    assert ((words == UNKNOWN) == np.isnan(column)).all()
    by_value: dict[float, set[str]] = {}
    for value, word in zip(column, words, strict=True):
        if word != UNKNOWN:
            by_value.setdefault(value, set()).add(word)
    assert all(len(found) == 1 for found in by_value.values())
    if len(by_value) > 8:
        assert len(set(words) - {UNKNOWN}) <= 4
    assert sorted(ordered(words)) == sorted(set(words))


def test_quarters_are_named_by_what_is_in_them_and_come_in_order() -> None:
    ages = np.array([str(age) for age in range(20, 100)] + ["", "nan"])
    words = in_words("age", ages)
    assert list(ordered(words)) == ["20 to 39", "40 to 59", "60 to 79", "80 to 99", UNKNOWN]
    assert list(ordered(in_words("stage", np.array([10.0, 2.0, 1.0])))) == ["1", "2", "10"]
    assert list(ordered(in_words("sex", np.array(["M", "F", " F ", None], object)))) == ["F", "M", UNKNOWN]
    with pytest.raises(EvaluationError, match="--by id: 30 different values"):
        in_words("id", np.array([f"patient {number}" for number in range(30)]))


def test_each_value_is_measured_as_if_it_were_alone() -> None:
    everything = predicted(200)
    words = np.array(["F", "M"] * 95 + ["other"] * 10)
    found = subgroups(everything, words)
    assert list(found) == ["F", "M", "other"]
    women = words == "F"
    alone = measure(everything.labels[women], everything.probabilities[women], threshold=0.45, temperature=1.2)
    assert found["F"].metrics == alone
    assert found["F"].positives == (everything.labels[women] == 1).sum()
    assert found["F"].intervals["auc"].low < alone["auc"] < found["F"].intervals["auc"].high
    assert (found["other"].images, found["other"].metrics, found["other"].intervals) == (10, {}, {})


def test_images_of_few_patients_are_too_few() -> None:
    words = np.array(["a"] * 40 + ["b"] * 40)
    patients = np.array([f"p{number // 10}" for number in range(40)] + [f"q{number // 2}" for number in range(40)])
    found = subgroups(predicted(80, groups=patients), words)
    assert not found["a"].metrics, "40 images of 4 patients"
    assert found["b"].metrics


def test_means_over_other_labels_are_told() -> None:
    labels = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]])
    words = {"sex": np.array(["F", "F", "M", "M"])}
    assert list(incomparable(labels, words, ("a", "b", "never"))) == [
        "All or none of the images of sex F have b: the means there are over other labels, and cannot be compared.",
        "All or none of the images of sex M have a: the means there are over other labels, and cannot be compared.",
    ]


@given(words=st.lists(st.text(max_size=100), min_size=1, max_size=6, unique=True))
def test_names_are_what_mlflow_takes_and_no_two_alike(words: list[str]) -> None:
    one = Measured(images=1, positives=None, metrics={"auc": 0.5}, intervals={})
    named = as_named(dict.fromkeys(words, one), "test_by_sex_")
    assert len(named) == len(words)
    assert all(set(in_names(word)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
               for word in words)  # fmt: skip
    assert max(map(len, named)) < 150
