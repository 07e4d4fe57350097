"""The page of a comparison: whole, by itself, and sorted and filtered in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from keras_cnns.cli import main
from keras_cnns.errors import SettingError
from keras_cnns.tracking import RunDescription, Store
from tuning.comparison import Comparison
from tuning.page import write_page
from tuning.page.tables import tables

SCORES = {("narrow <i>", 8): [0.91, 0.92, 0.93], ("wide", 16): [0.95, 0.97, 0.96], ("odd", 12): [0.5]}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


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
    return store


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["compare", "--tracking-uri", store.uri, "--html", str(path), "--json"]) == 0
    return path


def test_the_page_has_what_the_comparison_has_and_asks_nobody(page: Path, store: Store) -> None:
    text = page.read_text("utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(found) == json.loads(json.dumps(tables(Comparison(store.runs(), by_seed=True))))
    assert not re.findall(r"""(?:src|href)=["']?(?!#)""", re.sub(r"xlink:href", "", text))
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "<i>" not in text, "names are no markup"
    assert text.count("<svg") == 4, "parameters, MACs, seconds, curves"
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text)} <= {*ids}


def test_cells_have_what_is_shown_and_what_is_sorted_by(store: Store) -> None:
    (table,) = tables(Comparison(store.runs(), by_seed=True))
    columns = [column["name"] for column in table["columns"]]
    assert table["title"] == "7 runs on digits"
    assert [row["cells"][0][0] for row in table["rows"]] == ["wide-0 (×3)", "narrow <i>-0 (×3)", "odd-0"]
    first = dict(zip(columns, table["rows"][0]["cells"], strict=True))
    assert first["validation accuracy"] == ["0.9600 ±0.0248", pytest.approx(0.96)]
    assert first["growth_rate"] == ["16", 16.0]
    assert first["parameters"] == ["16.0K", 16000.0]
    assert [row["front"] for row in table["rows"]] == [True, True, False]


def test_a_page_that_cannot_be_written_is_told(store: Store) -> None:
    with pytest.raises(SettingError, match=r"cannot write /nowhere/page\.html"):
        write_page(Comparison(store.runs()), store, "/nowhere/page.html", title="x")


def in_browser(page: Path, folder: Path, script: str) -> Any:
    """Open the page in the browser, run a script on it, and return what it says."""
    tried = folder / "tried.html"
    told = f"<script>document.title = JSON.stringify((() => {{ {script} }})())</script></body>"
    tried.write_text(page.read_text("utf-8").replace("</body>", told), "utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", tried.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout)[:1]
    return json.loads(title.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_sorts_and_filters(page: Path, tmp_path: Path) -> None:
    names = "[...document.querySelectorAll('tbody tr th')].map((cell) => cell.textContent)"
    sort = "[...document.querySelectorAll('thead button')].find((one) => one.textContent === 'parameters').click();"
    look_for = "const box = document.querySelector('input[type=search]'); box.dispatchEvent(new Event('input'));"
    script = f"""
        const found = {{ ranked: {names} }};
        {sort} found.smallest = {names};
        {sort} found.largest = {names};
        found.sorted = document.querySelector('[aria-sort]').getAttribute('aria-sort');
        {look_for.replace("box.dispatch", "box.value = 'narrow'; box.dispatch")} found.filtered = {names};
        return found;"""
    assert in_browser(page, tmp_path, script) == {
        "ranked": ["wide-0 (×3)", "narrow <i>-0 (×3)", "odd-0"],
        "smallest": ["narrow <i>-0 (×3)", "odd-0", "wide-0 (×3)"],
        "largest": ["wide-0 (×3)", "odd-0", "narrow <i>-0 (×3)"],
        "sorted": "descending",
        "filtered": ["narrow <i>-0 (×3)"],
    }
