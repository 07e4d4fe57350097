"""The notebook of the docs, executed from top to bottom, and results as HTML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from keras_cnns.display.summary import Summary, SummaryTable, to_html, to_text

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first-steps.ipynb"


def outputs(notebook: Any, kind: str) -> list[Any]:
    return [found for cell in notebook.cells for found in cell.get("outputs", ()) if found.output_type == kind]


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


@pytest.mark.slow
def test_the_notebook_shows_progress_and_results_without_messages_of_other_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    notebook = nbformat.read(NOTEBOOK, 4)
    notebook.cells = [cell for cell in notebook.cells if "sweep" not in cell.metadata.get("tags", ())]
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises if a cell does
    assert [found.name for found in outputs(notebook, "stream")] == ["stdout"], "only the description is printed"
    shown = [found.data["text/plain"] for found in outputs(notebook, "display_data")]
    assert any(text.startswith("epoch 3/3  loss") for text in shown), "the bar of the training"
    assert sum(text.startswith("done in") for text in shown) == 3, "evaluate, predict and explain"
    assert len(shown) == 4
    titles = ["my-digits: 8x8", "resnet-cifar-20 trained on my-digits", "resnet-cifar-20 evaluated on my-digits, test",
              "predictions for 12 images", "grad-cam of run"]  # fmt: skip
    results = [found.data for found in outputs(notebook, "execute_result") if "text/html" in found.data]
    assert len(results) == len(titles)
    for title, result in zip(titles, results, strict=True):
        assert result["text/plain"].startswith(title)
        assert title in result["text/html"]
    assert [("<svg" in result["text/html"]) for result in results] == [False, True, False, False, True]


def test_texts_are_escaped_in_html_and_are_no_markup_at_a_terminal() -> None:
    text = '<b onclick="x">[bold]{{ 1 }}'
    table = SummaryTable(title=text, columns=("class", text), rows=[(text, "1")], more=2)
    addresses = [("folder", text), ("page", f"https://host/{text}"), ("script", "javascript:x"), ("none", "")]
    summary = Summary(title=text, facts=[(text, text)], tables=[table], notes=[text], addresses=addresses)
    html = to_html(summary)
    assert "<b " not in html
    assert html.count("&lt;b onclick=&#34;x&#34;&gt;[bold]{{ 1 }}") == 10
    assert html.count("<a ") == html.count('href="https://host/&lt;b') == 1
    assert ">none<" not in html
    assert to_text(summary).count(text) == 9
