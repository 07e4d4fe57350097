"""Subgroups of the images: their names, their metrics, and the names of these in MLflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metrics import compute_metrics
from keras_cnns.evaluation.operating_point import OperatingPoint
from keras_cnns.evaluation.results import MetricResult, name_metrics, to_metric_name
from keras_cnns.evaluation.subgroups import (
    UNKNOWN,
    compute_subgroups,
    find_incomparable,
    name_subgroups,
    sort_subgroups,
)


def make_predictions(images: int, *, groups: np.ndarray | None = None) -> LabelledPredictions:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, images)
    positive = np.clip(labels * 0.4 + generator.random(images) * 0.6, 0.01, 0.99)
    return LabelledPredictions(
        labels=labels,
        probabilities=np.stack([1 - positive, positive], axis=1),
        operating_point=OperatingPoint(threshold=0.45, temperature=1.2, source="made up"),
        groups=groups,
    )


numbers = st.lists(st.none() | st.integers(-50, 50) | st.floats(-1e6, 1e6), min_size=1, max_size=80)


@settings(max_examples=100, deadline=None)
@given(values=numbers)
def test_equal_numbers_are_in_the_same_quartile(values: list[float | None]) -> None:
    column = np.array([np.nan if value is None else value for value in values], float)
    names = name_subgroups("age", column)
    assert ((names == UNKNOWN) == np.isnan(column)).all()
    by_value: dict[float, set[str]] = {}
    for value, name in zip(column, names, strict=True):
        if name != UNKNOWN:
            by_value.setdefault(value, set()).add(name)
    assert all(len(found) == 1 for found in by_value.values())
    if len(by_value) > 8:
        assert len(set(names) - {UNKNOWN}) <= 4
    assert sorted(sort_subgroups(names)) == sorted(set(names))


def test_quartiles_are_named_by_their_range_and_sorted() -> None:
    ages = np.array([str(age) for age in range(20, 100)] + ["", "nan"])
    names = name_subgroups("age", ages)
    assert sort_subgroups(names) == ["20 to 39", "40 to 59", "60 to 79", "80 to 99", UNKNOWN]
    assert sort_subgroups(name_subgroups("stage", np.array([10.0, 2.0, 1.0]))) == ["1", "2", "10"]
    assert sort_subgroups(name_subgroups("sex", np.array(["M", "F", " F ", None], object))) == ["F", "M", UNKNOWN]
    with pytest.raises(EvaluationError, match="--by id: the column has 30 different values"):
        name_subgroups("id", np.array([f"patient {number}" for number in range(30)]))


def test_the_metrics_of_a_subgroup_are_those_of_its_images_alone() -> None:
    everything = make_predictions(200)
    names = np.array(["F", "M"] * 95 + ["other"] * 10)
    found = compute_subgroups(everything, names)
    assert list(found) == ["F", "M", "other"]
    women = names == "F"
    alone = compute_metrics(everything.labels[women], everything.probabilities[women], threshold=0.45, temperature=1.2)
    assert found["F"].metrics == alone
    assert found["F"].positives == (everything.labels[women] == 1).sum()
    assert found["F"].intervals["auc"].low < alone["auc"] < found["F"].intervals["auc"].high
    assert (found["other"].images, found["other"].metrics, found["other"].intervals) == (10, {}, {})


def test_a_subgroup_of_few_patients_has_no_metrics() -> None:
    names = np.array(["a"] * 40 + ["b"] * 40)
    patients = np.array([f"p{number // 10}" for number in range(40)] + [f"q{number // 2}" for number in range(40)])
    found = compute_subgroups(make_predictions(80, groups=patients), names)
    assert not found["a"].metrics, "40 images, but only 4 patients"
    assert found["b"].metrics


def test_means_over_fewer_labels_are_noted() -> None:
    labels = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]])
    notes = find_incomparable(labels, {"sex": np.array(["F", "F", "M", "M"])}, ("a", "b", "never"))
    assert list(notes) == [
        f"Either all or none of the images of sex {sex} have {label}: the means of this subgroup leave out these "
        f"labels and cannot be compared with the others."
        for sex, label in (("F", "b"), ("M", "a"))
    ]


@given(names=st.lists(st.text(max_size=100), min_size=1, max_size=6, unique=True))
def test_metric_names_are_unique_and_allowed_in_mlflow(names: list[str]) -> None:
    one = MetricResult(images=1, positives=None, metrics={"auc": 0.5}, intervals={})
    named = name_metrics(dict.fromkeys(names, one), "test_by_sex_")
    assert len(named) == len(names)
    assert all(set(to_metric_name(name)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
               for name in names)  # fmt: skip
    assert max(map(len, named)) < 150
