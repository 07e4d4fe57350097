"""The comparison page: its content, and sorting and filtering in Chromium if it is installed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from keras_cnns.cli import main
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.curve_plots import curves_figure
from keras_cnns.comparing.page.row_groups import group_rows, infer_domain
from keras_cnns.comparing.page.tables import make_tables
from keras_cnns.comparing.page.writing import write_page
from keras_cnns.comparing.scored_trials import axis_limits, axis_position
from keras_cnns.errors import SettingError
from keras_cnns.evaluation.confusion import ConfusionMatrix, compute_confusion_matrix, draw_confusion_matrix
from keras_cnns.evaluation.record import RECORD_FILE
from keras_cnns.networks.settings import Choice
from keras_cnns.plotting import make_figure
from keras_cnns.tracking import Run, RunDescription, Store, Stores

SCORES = {("narrow <i>", 8): [0.91, 0.92, 0.93], ("wide", 16): [0.95, 0.97, 0.96], ("odd", 12): [0.5]}


def no_url(_: Run) -> str:
    return ""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
    for (name, growth_rate), scores in SCORES.items():
        for seed, score in enumerate(scores):
            run_id = store.start(
                RunDescription(
                    name=f"{name}-{seed}", model="densenet121", family="densenet",
                    settings={"growth_rate": growth_rate}, recipe={"epochs": 2}, seed=seed,
                    data_name="digits", data_fingerprint="f00d",
                    parameters=1000 * growth_rate, macs=5000 * growth_rate,
                ),
                experiment="page",
            )  # fmt: skip
            for epoch in (1, 2):
                store.record(run_id, epoch, {"val_accuracy": score / (3 - epoch), "seconds": 1.0})
            store.finish(run_id)
    matrix = compute_confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), ("cat", "dog"))
    record = tmp_path_factory.mktemp("evaluation") / RECORD_FILE
    record.write_text(json.dumps({"confusion": matrix.as_dict()}))
    measured = next(run for run in store.runs() if run.name == "wide-1")
    store.log(measured.id, metrics={"test_brier": 0.25})
    store.log_files(measured.id, record, into="evaluation/test")
    return store


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["compare", "--tracking-uri", store.uri, "--html", str(path), "--json"]) == 0
    return path


def test_the_page_has_the_tables_of_the_comparison_and_loads_nothing(page: Path, store: Store) -> None:
    text = page.read_text("utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(found) == json.loads(json.dumps(make_tables(Comparison(store.runs()), no_url)))
    assert not re.findall(r"""(?:src|href)=["']?(?!#)""", re.sub(r"xlink:href", "", text))
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "<i>" not in text, "names must be escaped"
    assert text.count("<svg") == 6, "parameters, MACs, seconds, parallel coordinates, confusion matrices, curves"
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text)} <= {*ids}


def test_cells_have_a_text_and_a_value_to_sort_by(store: Store) -> None:
    (table,) = make_tables(Comparison(store.runs()), no_url)
    columns = [column["name"] for column in table["columns"]]
    assert table["title"] == "7 runs on digits"
    assert [row["cells"][0][0] for row in table["rows"]] == ["wide-0 (×3)", "narrow <i>-0 (×3)", "odd-0"]
    first = dict(zip(columns, table["rows"][0]["cells"], strict=True))
    assert first["validation accuracy"] == ["0.9600 ±0.0248", pytest.approx(0.96)]
    assert first["growth_rate"] == ["16", 16.0]
    assert first["parameters"] == ["16.0K", 16000.0]
    assert [row["front"] for row in table["rows"]] == [True, True, False]


TEXTS = st.one_of(
    st.lists(st.integers(-9, 10**6).map(str), min_size=2, max_size=9),
    st.lists(st.floats(1e-9, 1e9).map(str), min_size=2, max_size=9),
    st.lists(st.sampled_from(["none", "2", "4", "nan", "relu", "0.5"]), min_size=2, max_size=9),
)


@given(texts=TEXTS)
def test_the_inferred_domain_covers_all_values(texts: list[str]) -> None:
    domain = infer_domain(texts)
    low, high = axis_limits(domain)
    for text in texts:
        value = text if isinstance(domain, Choice) else float(text)
        assert low <= axis_position(domain, value) <= high


def test_rows_are_grouped_with_the_settings_that_vary_within_their_family(store: Store) -> None:
    (group,) = group_rows(Comparison(store.runs()))
    assert (group.name, list(group.domains)) == ("densenet", ["growth_rate"])
    assert [(trial.name, trial.values, trial.score) for trial in group.trials] == [
        ("wide-0 (×3)", {"growth_rate": 16.0}, pytest.approx(0.96)),
        ("narrow <i>-0 (×3)", {"growth_rate": 8.0}, pytest.approx(0.92)),
        ("odd-0", {"growth_rate": 12.0}, 0.5),
    ]
    assert group_rows(Comparison(store.runs()).head(2)) == []
    assert group_rows(Comparison([])) == []


def test_only_large_families_are_sampled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.comparing.page.row_groups.MAX_ROWS", 3)
    (run, *_) = store.runs()
    families = ["densenet"] * 7 + ["resnet"] + ["vgg"] * 3
    runs = [
        replace(run, id=str(number), family=family, settings={"growth_rate": str(number)}, seed=None)
        for number, family in enumerate(families)
    ]
    groups = group_rows(Comparison(runs))
    assert [(group.name, len(group.trials)) for group in groups] == [("densenet", 3), ("vgg", 3)]


@pytest.mark.parametrize(("lengths", "limits"), [((1, 1), (0.5, 1.5)), ((9, 1), (1, 9)), ((1, 9), (1, 9))])
def test_curves_of_different_lengths_are_shown_completely(
    lengths: tuple[int, int], limits: tuple[float, float]
) -> None:
    curves = {
        str(index): {"loss": [(epoch, 1.0 / epoch) for epoch in range(1, length + 1)]}
        for index, length in enumerate(lengths)
    }
    low, high = curves_figure(curves).axes[0].get_xlim()
    assert low <= limits[0] < limits[1] <= high


def test_the_confusion_matrix_of_several_labels_is_computed_and_plotted() -> None:
    labels, predicted = np.array([[1, 0], [1, 1], [0, 1]]), np.array([[1, 0], [0, 1], [1, 1]])
    confusion = compute_confusion_matrix(labels, predicted, ("ill", "old"))
    assert confusion.counts.tolist() == [[1, 1, 1, 0], [2, 0, 0, 1]]
    assert confusion.fractions.tolist() == [[0.5, 0.5, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]
    assert ConfusionMatrix.from_dict(confusion.as_dict()).counts.tolist() == confusion.counts.tolist()
    panel = make_figure(4, 4).add_subplot()
    draw_confusion_matrix(panel, confusion)
    assert [text.get_text() for text in panel.texts] == ["1", "1", "1", "0", "2", "0", "0", "1"]


def test_a_page_that_cannot_be_written_raises_an_error(store: Store) -> None:
    with pytest.raises(SettingError, match=r"cannot write /nowhere/page\.html"):
        write_page(Comparison((stores := Stores([store])).runs()), stores, "/nowhere/page.html", title="x")


def names(opened: Page) -> list[str]:
    return opened.locator("tbody tr th").all_text_contents()


@pytest.mark.slow
def test_the_table_can_be_sorted_and_filtered_by_keyboard(page: Path, browser: Browser) -> None:
    opened = browser.new_page()
    opened.goto(page.as_uri())
    assert names(opened) == ["wide-0 (×3)", "narrow <i>-0 (×3)", "odd-0"]
    heading = opened.get_by_role("button", name="parameters")
    heading.focus()
    opened.keyboard.press("Enter")
    assert names(opened) == ["narrow <i>-0 (×3)", "odd-0", "wide-0 (×3)"]
    opened.keyboard.press("Enter")
    assert names(opened) == ["wide-0 (×3)", "odd-0", "narrow <i>-0 (×3)"]
    assert opened.locator("[aria-sort=descending]").inner_text().startswith("parameters")
    opened.get_by_label("Filter").press_sequentially("narrow")
    assert names(opened) == ["narrow <i>-0 (×3)"]
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_is_accessible(page: Path, browser: Browser, scheme: Literal["light", "dark"], width: int) -> None:
    opened = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    opened.goto(page.as_uri())
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the window"
    opened.close()
