"""The report of an evaluation: summary, curves with bands, misclassified images, setup, accessibility."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser
from saved_networks import save_run, train_network

from keras_cnns import Dataset, Evaluation, evaluate, load
from keras_cnns.data import Split
from keras_cnns.evaluation.error_analysis import MAX_MISTAKES, overlay
from keras_cnns.evaluation.report.bands import compute_bands
from keras_cnns.evaluation.report.page import render
from keras_cnns.evaluation.report.summary import summarize
from keras_cnns.tracking import Store


@dataclass(frozen=True)
class Made:
    """An evaluation of digits below five or not on another dataset, with its report."""

    evaluation: Evaluation
    report: Path

    @property
    def text(self) -> str:
        return self.report.read_text("utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("report")
    train = load("digits").splits["train"]
    labels = (train.labels >= 5).astype(np.int64)
    names = ("train", "validation", "test")
    splits = {}
    for name, part in zip(names, np.split(np.arange(900), [400, 650]), strict=True):
        numbers = 2 * (np.arange(len(part)) // 6) + labels[part]
        patients = np.array([f"{name}-{number:03}" for number in numbers])
        sites = np.array(["<b>A</b>", "B"])[np.arange(len(part)) % 2]
        splits[name] = Split(train.images[part], labels[part], patients=patients, columns={"site": sites})
    data = Dataset(name="halves", source="halves", splits=splits, class_names=("low", "<i>high"), positive="<i>high")
    store = Store(f"sqlite:///{folder}/mlflow.db")
    run = save_run(store, train_network(data), data, recipe={"epochs": "1"})
    external = Dataset(name="elsewhere", source="elsewhere", splits={"test": splits["test"]},
                       class_names=data.class_names, positive=data.positive)  # fmt: skip
    report = folder / "report.html"
    found = evaluate(run, external, by="site", at_sensitivity=0.9, prevalence=0.1, tracking_uri=store.uri,
                     report=report)  # fmt: skip
    return Made(found, report)


def test_the_summary_has_three_sentences_with_the_numbers_of_the_evaluation(made: Made) -> None:
    sentences = list(summarize(made.evaluation))
    assert len(sentences) == 3
    metrics = made.evaluation.metrics
    for number in (f"{100 * metrics['sensitivity']:.1f} %", f"{100 * metrics['specificity']:.1f} %",
                   f"{metrics['auc']:.3f}", f"{100 * metrics['ppv']:.1f} %", "250 test images"):  # fmt: skip
        assert any(number in sentence for sentence in sentences), number
    assert made.text.index("250 test images") < made.text.index("<h2>")


def test_the_report_shows_the_most_confident_mistakes_first_with_class_patient_and_heatmap(made: Made) -> None:
    found, cases = made.evaluation, made.evaluation.cases
    wrong = cases[cases["true_class"] != cases["predicted_class"]]
    assert found.mistake_count == len(wrong) > MAX_MISTAKES == len(found.mistakes)
    confidence = [row[f"probability_{row['predicted_class']}"] for _, row in wrong.iterrows()]
    assert [mistake.probability for mistake in found.mistakes] == sorted(confidence, reverse=True)[:MAX_MISTAKES]
    for mistake in found.mistakes:
        row = cases[cases["image"] == mistake.name].iloc[0]
        assert (mistake.true_class, mistake.predicted_class) == (row["true_class"], row["predicted_class"])
        assert mistake.patient == row["patient"]
        assert mistake.patient in made.text
        assert mistake.heatmap not in (None, mistake.image)


def test_the_report_states_the_setup_and_escapes_names(made: Made) -> None:
    for part in ("For research use; not a medical device", "8x8 greyscale images", "training set", "recipe",
                 "epochs 1", "seed", "versions", "tensorflow", made.evaluation.created):  # fmt: skip
        assert part in made.text, part
    assert "<i>high" not in made.text
    assert "<b>A</b>" not in made.text
    assert not re.findall(r"""(?<!xlink:)\b(?:src|href)=["'](?!#|data:)""", made.text)
    assert not re.findall(r"url\((?!#)|@import", made.text)
    ids = re.findall(r'\bid="([^"]+)"', made.text)
    assert len(ids) == len(set(ids))


def test_what_questions_the_result_is_on_top(made: Made) -> None:
    evaluation = replace(made.evaluation, notes=("worrying <&>", "by the way"), warning_count=1)
    text = render(evaluation, "")
    assert (
        text.index("worrying &lt;&amp;&gt;")
        < text.index("<h2>Metrics")
        < text.index("<h2>Notes")
        < text.index("by the way")
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_report_is_accessible_and_fits_the_screen(
    made: Made, browser: Browser, scheme: Literal["light", "dark"], width: int
) -> None:
    opened = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    opened.goto(made.report.as_uri())
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_bands_contain_the_curve_and_are_wider_for_groups(seed: int) -> None:
    generator = np.random.default_rng(seed)
    patients = np.repeat(np.arange(40), 5)
    positive = np.repeat(generator.random(40) < 0.5, 5)
    positive[:5], positive[-5:] = True, False
    probability = 0.5 * positive + np.repeat(generator.random(40), 5) + 0.01 * generator.random(200)
    single, grouped = (compute_bands(positive, probability, groups) for groups in (None, patients))
    curve = [(probability[positive] > np.quantile(probability[~positive], 1 - position, method="higher")).mean()
             for position in single.positions]  # fmt: skip
    for bands in (single, grouped):
        low, high = bands.sensitivity
        assert (low <= high).all()
        assert np.mean((low - 0.02 <= curve) & (curve <= high + 0.02)) > 0.9
    assert np.ptp(grouped.sensitivity, axis=0).mean() > np.ptp(single.sensitivity, axis=0).mean()


def test_an_overlay_shows_the_image_where_nothing_contributes() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    assert (overlay(image, np.zeros((4, 4))) == image).all()
    assert (overlay(image, np.ones((4, 4)))[..., 0] > image[..., 0]).all()
