"""A metric is one entry: it is in every output of an evaluation, and one that cannot be computed is reported."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_cnns.cli.evaluate import print_evaluation
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation import metrics as registry
from keras_cnns.evaluation.caveats import note_intervals, note_metrics
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.metric import Metric
from keras_cnns.evaluation.metrics import METRICS, all_metrics, compute_metrics
from keras_cnns.evaluation.operating_point import OperatingPoint, Threshold
from keras_cnns.evaluation.outcomes import WeightedOutcomes
from keras_cnns.evaluation.record import to_record
from keras_cnns.evaluation.report.formatting import metric_rows
from keras_cnns.evaluation.report.page import render
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.evaluation.subgroups import compute_subgroups
from keras_cnns.plugins import PluginWarning
from keras_cnns.tracking import Run

YOUDEN = Metric(
    name="informedness",
    title="<Youden> [b]",
    description="sensitivity + specificity - 1 of {positive} {not a field}",
    function=lambda outcomes: outcomes.sensitivity + outcomes.specificity - 1,
    minimum=-1.0,
    one_versus_rest=True,
)
LOG_LOSS = Metric(
    name="log_loss",
    title="log loss, scaled",
    description="mean cross-entropy after temperature scaling",
    function=lambda outcomes: outcomes.mean(
        -np.log(outcomes.probabilities[np.arange(len(outcomes.labels)), outcomes.labels])
    ),
    maximum=math.inf,
    higher_is_better=False,
    after_scaling=True,
)
ADDED = (YOUDEN, LOG_LOSS)
RUN = Run(
    id="0" * 32, name="run", experiment="train", status="finished", reason="", model="lenet5", family="lenet",
    settings={}, recipe={}, metrics={}, seed=0, data_name="cases", data_fingerprint="f00d", parent=None, tags={},
    started=datetime(2020, 1, 1, tzinfo=UTC),
)  # fmt: skip


@pytest.fixture(autouse=True)
def registered_again() -> Iterator[None]:
    """Make each test, and those of other files, look for metrics again."""
    all_metrics.cache_clear()
    yield
    all_metrics.cache_clear()


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add two entries to the table of metrics."""
    monkeypatch.setattr(registry, "METRICS", (*METRICS, *ADDED))


def evaluate_predictions(labels: np.ndarray, probabilities: np.ndarray, threshold: Threshold) -> Evaluation:
    """Evaluate predictions without a network, for all images, each label and two subgroups."""
    predictions = LabelledPredictions(
        labels=labels,
        probabilities=probabilities,
        operating_point=OperatingPoint(threshold=threshold, temperature=1.5, source="made up"),
        groups=None,
    )
    names = tuple(f"c{index}" for index in range(probabilities.shape[1]))
    subgroups = compute_subgroups(predictions, np.array(["F", "M"])[np.arange(len(labels)) % 2])
    return Evaluation(
        runs=(RUN,), data_name="cases", data_fingerprint="f00d", split="test", external=False, class_names=names,
        positive="c1" if len(names) == 2 else None, class_map=dict(zip(names, names, strict=True)),
        labels=labels, probabilities=probabilities, overall=predictions.compute(),
        by_label={name: predictions.select_label(label).compute() for label, name in enumerate(names)}
        if labels.ndim == 2 else {},
        by={"sex": subgroups}, operating_point=predictions.operating_point, grouped_by="", groups=None, tta=1,
        tta_augmentation="", test_set_evaluations=None, cases=pd.DataFrame(), created="",
    )  # fmt: skip


def draw_evaluation(task: str, images: int = 120) -> Evaluation:
    generator = np.random.default_rng(0)
    if task == "multi-label":
        labels = generator.integers(0, 2, (images, 3))
        return evaluate_predictions(labels, np.clip(0.3 * labels + 0.6 * generator.random((images, 3)), 0.05, 0.95),
                                    (0.5, 0.4, 0.5))  # fmt: skip
    classes = 2 if task == "binary" else 4
    labels = generator.integers(0, classes, images)
    weights = generator.random((images, classes)) + 0.5 * np.eye(classes)[labels] + 0.05
    return evaluate_predictions(
        labels, weights / weights.sum(axis=1, keepdims=True), 0.45 if task == "binary" else None
    )


TASKS = ("binary", "multi-class", "multi-label")


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("task", TASKS)
def test_every_metric_has_an_interval_in_its_range_and_is_in_every_output(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = draw_evaluation(task)
    rows = {row["name"]: row for row in metric_rows(evaluation)}
    of_positive = " (c1)" if task == "binary" else ""
    stored = evaluation.to_metrics()
    printed = json.loads(json.dumps(to_record(evaluation), allow_nan=False))
    print_evaluation(evaluation)
    terminal = capsys.readouterr().out
    results = {"": evaluation.overall} | {f"by_sex_{name}_": part for name, part in evaluation.by["sex"].items()}
    results |= {f"label_{name}_": part for name, part in evaluation.by_label.items()}
    defined = [metric for metric in all_metrics().values() if not (task == "multi-class" and metric.only_two_classes)]
    assert [metric.name for metric in defined[-2:]] == ["informedness", "log_loss"]
    assert list(evaluation.metrics) == [metric.name for metric in defined]
    for metric in defined:
        value, interval = evaluation.metrics[metric.name], evaluation.intervals[metric.name]
        row = rows[f"{metric.title}{of_positive if metric.needs_positive else ''}"]
        assert row["value"] == f"{value:.4f}"
        assert row["interval"] == f"{interval.low:.4f} to {interval.high:.4f}"
        assert ("lower is better" in row["meaning"]) != metric.higher_is_better
        one_versus_rest = task == "multi-class" and metric.one_versus_rest
        assert ("mean over" in row["meaning"]) == (one_versus_rest or task == "multi-label")
        assert f"{metric.title} " in terminal
        assert printed["metrics"][metric.name] == value
        assert printed["intervals"][metric.name] == [interval.low, interval.high]
        for prefix, result in results.items():
            found = result.intervals[metric.name]
            assert metric.minimum <= found.low <= found.high <= metric.maximum
            assert metric.minimum <= result.metrics[metric.name] <= metric.maximum
            names = [f"test_{prefix}{metric.name}{end}" for end in ("_low", "", "_high")]
            assert [stored[name] for name in names] == [found.low, result.metrics[metric.name], found.high]
    assert "{not a field}" in rows[YOUDEN.title]["meaning"]


def make_docs_table(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs" / "hooks")
    return str(import_module("pages").metrics_table())


@pytest.fixture(scope="module")
def page() -> str:
    """Return the text of a report."""
    return html.unescape(render(draw_evaluation("binary"), ""))


@pytest.mark.parametrize("name", [metric.name for metric in METRICS])
def test_the_report_and_the_docs_have_every_metric(name: str, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    title = all_metrics()[name].title
    assert f"<td>{title}{' (c1)' if all_metrics()[name].needs_positive else ''}</td>" in page
    assert f"| {title} | `{name}` |" in make_docs_table(monkeypatch)


@pytest.mark.usefixtures("added")
def test_the_report_and_the_docs_have_added_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    page = render(draw_evaluation("binary"), "")
    table = make_docs_table(monkeypatch)
    assert "<td>&lt;Youden&gt; [b]</td>" in page
    assert "sensitivity + specificity - 1 of class c1" in page
    assert (
        "| `informedness` | sensitivity + specificity - 1 of the class {not a field} | -1 to 1 | higher | mean, each"
        in table
    )
    assert "| `log_loss` | mean cross-entropy after temperature scaling | at least 0 | lower |  |" in table


@pytest.mark.usefixtures("added")
def test_metrics_that_are_not_defined_or_have_no_interval_are_noted_by_their_titles() -> None:
    evaluation = draw_evaluation("binary")
    one_class = evaluate_predictions(np.zeros(120, int), evaluation.probabilities, 0.45)
    (missing,) = (note for note in note_metrics(one_class) if note.startswith("Not defined"))
    titles = [metric.title for metric in all_metrics().values() if metric.name not in one_class.metrics]
    assert missing == f"Not defined on these images, and left out: {', '.join(titles)}."
    assert {"balanced accuracy", "sensitivity", "MCC", "AUC", "average precision", YOUDEN.title} <= set(titles)
    unscaled = replace(evaluation, overall=replace(evaluation.overall, metrics={}))
    point = replace(evaluation.operating_point, temperature=None)
    (missing,) = note_metrics(replace(unscaled, operating_point=point))
    assert "scaled" not in missing, "there is another note on the temperature"
    assert any("log loss, scaled" in note for note in note_metrics(unscaled))
    without = replace(evaluation, overall=replace(evaluation.overall, intervals={}))
    assert any("No interval for" in note and YOUDEN.title in note for note in note_intervals(without))


def test_labels_for_which_metrics_are_not_defined_are_noted() -> None:
    evaluation = draw_evaluation("multi-label")
    assert not any("Some metrics" in note for note in note_metrics(evaluation))
    labels = evaluation.labels * [1, 1, 0]
    partial = evaluate_predictions(labels, evaluation.probabilities, (0.5, 0.5, 0.5))
    assert "Some metrics are not defined for c2; the means are over the other labels." in list(note_metrics(partial))


FAILURES: dict[str, tuple[Callable[[WeightedOutcomes], object], str]] = {
    "an error": (lambda outcomes: outcomes.mean(np.ones(2)), "its function raises ValueError: matmul"),
    "one number": (lambda _: 0.5, r"returns an array of shape \(\) instead of \(1,\)"),
    "a value per image": (lambda outcomes: outcomes.weights, r"returns an array of shape \(3, 1\) instead of \(1,\)"),
    "text": (lambda _: ["high"], "its function raises ValueError: could not convert"),
    "a value out of range": (lambda outcomes: outcomes.total, "returns 3, and its range is 0 to 1"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_function_that_cannot_be_used_is_reported_in_one_line(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, message = FAILURES[failure]
    broken = Metric(name="broken", title="broken", description="", function=function)
    monkeypatch.setattr(registry, "METRICS", (*METRICS, broken))
    with pytest.raises(EvaluationError, match=f"^metric broken: .*{message}") as raised:
        compute_metrics(np.array([0, 1, 1]), np.full((3, 2), 0.5))
    assert str(raised.value).endswith("; correct it, or uninstall the package that provides it.")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Youden's J"}, 'metric "Youden\'s J": a name consists of lower-case letters'),
        ({"name": "auc_low"}, "does not end in _low or _high"),
        ({"minimum": 1.0}, "metric informedness: minimum=1.0 must be below maximum=1.0"),
        ({"maximum": math.nan}, "must be below maximum=nan"),
    ],
)
def test_an_entry_that_cannot_be_stored_is_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        replace(YOUDEN, **changes)


@pytest.mark.parametrize(
    ("minimum", "maximum", "text"),
    [(0, 1, "0 to 1"), (-1, 1.5, "-1 to 1.5"), (0, math.inf, "at least 0"), (-math.inf, 0, "at most 0"),
     (-math.inf, math.inf, "any")],
)  # fmt: skip
def test_the_range_of_a_metric_is_described(minimum: float, maximum: float, text: str) -> None:
    metric = replace(YOUDEN, minimum=minimum, maximum=maximum)
    assert metric.range == text
    assert (metric.clip(-2.0), metric.clip(2.0)) == (max(minimum, -2.0), min(maximum, 2.0))


@pytest.mark.parametrize(
    ("value", "reason"),
    [("YOUDEN", None), ("METRICS", "it is not a Metric"), ("TAKEN", "the name auc is taken"),
     ("NOTHING", "has no attribute 'NOTHING'")],
)  # fmt: skip
def test_metrics_of_other_packages_are_found_and_unusable_ones_are_skipped(
    value: str, reason: str | None, provide: list[EntryPoint]
) -> None:
    provide.append(EntryPoint("example", f"{__name__}:{value}", "keras_cnns.metrics"))
    if reason is None:
        assert list(all_metrics().values()) == [*METRICS, YOUDEN]
    else:
        with pytest.warns(PluginWarning, match=reason):
            assert list(all_metrics().values()) == list(METRICS)


TAKEN = replace(YOUDEN, name="auc")
