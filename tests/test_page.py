"""The page of a comparison: whole, by itself, and sorted and filtered in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, sync_playwright

from keras_cnns.cli import main
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.curve_plots import curves_figure
from keras_cnns.comparing.page import write_page
from keras_cnns.comparing.page.observed import domain_of, observed_groups
from keras_cnns.comparing.page.tables import tables
from keras_cnns.comparing.scored import ends, place
from keras_cnns.errors import SettingError
from keras_cnns.evaluation.confusion import Confusion, confusion_of, draw_confusion
from keras_cnns.networks.settings import Choice
from keras_cnns.plotting import make_figure
from keras_cnns.tracking import Run, RunDescription, Store, Stores

SCORES = {("narrow <i>", 8): [0.91, 0.92, 0.93], ("wide", 16): [0.95, 0.97, 0.96], ("odd", 12): [0.5]}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def no_page(_: Run) -> str:
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
    matrix = tmp_path_factory.mktemp("evaluation") / "confusion.json"
    matrix.write_text(confusion_of(np.array([0, 0, 1]), np.array([0, 1, 1]), ("cat", "dog")).to_json())
    measured = next(run for run in store.runs() if run.name == "wide-1")
    store.log_metrics(measured.id, {"test_brier": 0.25})
    store.log_files(measured.id, matrix, into="evaluation/test")
    return store


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["compare", "--tracking-uri", store.uri, "--html", str(path), "--json"]) == 0
    return path


def test_the_page_has_what_the_comparison_has_and_asks_nobody(page: Path, store: Store) -> None:
    text = page.read_text("utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(found) == json.loads(json.dumps(tables(Comparison(store.runs(), by_seed=True), no_page)))
    assert not re.findall(r"""(?:src|href)=["']?(?!#)""", re.sub(r"xlink:href", "", text))
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "<i>" not in text, "names are no markup"
    assert text.count("<svg") == 6, "parameters, MACs, seconds, settings, confusion, curves"
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text)} <= {*ids}


def test_cells_have_what_is_shown_and_what_is_sorted_by(store: Store) -> None:
    (table,) = tables(Comparison(store.runs(), by_seed=True), no_page)
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
def test_what_runs_had_has_a_place_on_the_axis_from_the_lowest_to_the_highest(texts: list[str]) -> None:
    domain = domain_of(texts)
    low, high = ends(domain)
    for text in texts:
        value = text if isinstance(domain, Choice) else float(text)
        assert low <= place(domain, value) <= high


def test_rows_are_weighed_by_the_settings_that_all_of_their_family_have(store: Store) -> None:
    (group,) = observed_groups(Comparison(store.runs(), by_seed=True))
    assert (group.name, list(group.domains)) == ("densenet", ["growth_rate"])
    assert [(trial.name, trial.values, trial.score) for trial in group.trials] == [
        ("wide-0 (×3)", {"growth_rate": 16.0}, pytest.approx(0.96)),
        ("narrow <i>-0 (×3)", {"growth_rate": 8.0}, pytest.approx(0.92)),
        ("odd-0", {"growth_rate": 12.0}, 0.5),
    ]
    assert observed_groups(Comparison(store.runs(), by_seed=True).first(2)) == []
    assert observed_groups(Comparison([])) == []


def test_of_very_many_rows_a_small_family_is_weighed_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.comparing.page.observed.MOST", 3)
    (run, *_) = store.runs()
    families = ["densenet"] * 7 + ["resnet"] + ["vgg"] * 3
    runs = [
        replace(run, id=str(number), family=family, settings={"growth_rate": str(number)}, seed=None)
        for number, family in enumerate(families)
    ]
    groups = observed_groups(Comparison(runs))
    assert [(group.name, len(group.trials)) for group in groups] == [("densenet", 3), ("vgg", 3)]


@pytest.mark.parametrize(("lengths", "reach"), [((1, 1), (0.5, 1.5)), ((9, 1), (1, 9)), ((1, 9), (1, 9))])
def test_curves_are_seen_whole_also_beside_one_of_a_single_epoch(
    lengths: tuple[int, int], reach: tuple[float, float]
) -> None:
    curves = {
        str(place): {"loss": [(epoch, 1.0 / epoch) for epoch in range(1, length + 1)]}
        for place, length in enumerate(lengths)
    }
    low, high = curves_figure(curves).axes[0].get_xlim()
    assert low <= reach[0] < reach[1] <= high


def test_confusion_is_counted_and_drawn_also_of_several_labels() -> None:
    labels, predicted = np.array([[1, 0], [1, 1], [0, 1]]), np.array([[1, 0], [0, 1], [1, 1]])
    confusion = confusion_of(labels, predicted, ("ill", "old"))
    assert confusion.counts.tolist() == [[1, 1, 1, 0], [2, 0, 0, 1]]
    assert confusion.shares.tolist() == [[0.5, 0.5, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]
    assert Confusion.from_json(confusion.to_json()).counts.tolist() == confusion.counts.tolist()
    panel = make_figure(4, 4).add_subplot()
    draw_confusion(panel, confusion)
    assert [text.get_text() for text in panel.texts] == ["1", "1", "1", "0", "2", "0", "0", "1"]


def test_a_page_that_cannot_be_written_is_told(store: Store) -> None:
    with pytest.raises(SettingError, match=r"cannot write /nowhere/page\.html"):
        write_page(Comparison((stores := Stores([store])).runs()), stores, "/nowhere/page.html", title="x")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


def names(opened: Page) -> list[str]:
    return opened.locator("tbody tr th").all_text_contents()


@pytest.mark.slow
def test_a_browser_sorts_and_filters_by_keyboard_alone(page: Path, browser: Browser) -> None:
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
def test_the_page_has_no_fault_for_those_who_cannot_see_it_well(
    page: Path, browser: Browser, scheme: Literal["light", "dark"], width: int
) -> None:
    opened = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    opened.goto(page.as_uri())
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width, "it is wider than the window"
    opened.close()
