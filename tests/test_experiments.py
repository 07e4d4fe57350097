"""Experiments: each has a page with what it measured, and what is counted is counted again here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import bottleneck, reporting
from experiments.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_experiment_has_a_page_that_uses_all_its_numbers(name: str) -> None:
    page = (reporting.PAGES / f"{name}.md").read_text("utf-8")
    numbers = json.loads((reporting.PAGES / f"{name}.json").read_text("utf-8"))
    assert all(f"{{{{{number}}}}}" in page for number in numbers)
    assert (reporting.PAGES / f"{name}.svg").read_text("utf-8").startswith("<svg")


def test_the_bottlenecks_page_holds_what_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = json.loads((reporting.PAGES / "bottleneck.json").read_text("utf-8"))
    monkeypatch.setattr(reporting, "PAGES", tmp_path)
    bottleneck.run()
    assert json.loads((tmp_path / "bottleneck.json").read_text("utf-8")) == kept
    assert (kept["direct"], kept["both"]) == ("163,840,000", "16,384,000")
