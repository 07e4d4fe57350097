"""The write-up of a run on real radiographs compiles, opens, is traced, and is reproduced."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import docx
import pandas as pd
import pytest
from conftest import shared
from traced_values import assert_traced, read_fields

from keras_cnns.cli import main
from keras_cnns.tracking import Store


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_run_on_radiographs_is_written_up_and_reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open(shared("chest_xray.tar")) as archive:
        archive.extractall(tmp_path, filter="data")
    table = pd.read_csv("chest_xray/table.csv", dtype=str)
    table["split"] = ["test" if zlib.crc32(patient.encode()) % 5 == 0 else "train" for patient in table["patient"]]
    table.to_csv("chest_xray/cases.csv", index=False)
    data = ["--data", "chest_xray/cases.csv", "--image-size", "64", "--channels", "1"]
    assert main(["train", "lenet5", *data, "--epochs", "2"]) == 0
    assert main(["evaluate", "lenet5"]) == 0
    for name in ("out/article.md", "out/paper.tex", "out/paper.docx"):
        assert main(["report", "lenet5", "--output", name]) == 0
    written = tmp_path / "out"
    if shutil.which("pdflatex"):
        for command in ("pdflatex", "bibtex", "pdflatex", "pdflatex"):
            options = ["-interaction=nonstopmode", "-halt-on-error"] if command == "pdflatex" else []
            subprocess.run([command, *options, "paper"], cwd=written, capture_output=True, check=True)
        log = (written / "paper.log").read_text(errors="replace")
        assert "undefined" not in log
        assert "Overfull" not in log
    assert len(docx.Document(str(written / "paper.docx")).inline_shapes) == 3
    (run,) = Store().runs()
    lock = json.loads((written / "lock.json").read_text("utf-8"))
    listed = json.loads((written / "numbers.json").read_text("utf-8"))["values"]
    assert_traced((written / "article.md").read_text("utf-8"), listed, read_fields(tmp_path, run.id, lock))
    assert sum(split["images"] for split in lock["data"]["splits"].values()) == len(table)
    assert sum(split["patients"] for split in lock["data"]["splits"].values()) == table["patient"].nunique()
    assert main(["reproduce", "out/lock.json"]) == 0
