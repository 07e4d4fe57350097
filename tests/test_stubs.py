"""Editors and type checkers know the names of networks and their settings."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CALLS = {
    'keras_cnns.build("densenet121", growth_rate=24, input_shape=(64, 64, 1), stem="cifar")': "",
    'keras_cnns.count("resnet50", groups=32).macs': "",
    'keras_cnns.describe("vgg16", normalization="batch_norm", widths=[8, 8, 8, 8, 8])': "",
    "keras_cnns.build(name, classes=2)": "",
    "keras_cnns.build(name, **settings)": "",
    'keras_cnns.train("lenet5")': "",
    "keras_cnns.dense_block": "",
    'keras_cnns.build("densenet121", growth=24)': "call-overload",
    'keras_cnns.build("vgg16", growth_rate=24)': "call-overload",
    'keras_cnns.build("densenet121", growth_rate="many")': "call-overload",
    'keras_cnns.count("densenet121", stem="Cifar")': "call-overload",
    "keras_cnns.undefined": "attr-defined",
}


def test_the_stub_is_that_of_the_registry_and_the_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    stubs = import_module("stubs")
    assert stubs.STUB.read_text("utf-8") == stubs.write_stub(), "write it again with `make stubs`"


def test_a_type_checker_accepts_valid_settings_and_rejects_others(tmp_path: Path) -> None:
    head = "from typing import Any\nimport keras_cnns\nname: str = 'nin'\nsettings: dict[str, Any] = {}\n"
    script = tmp_path / "script.py"
    script.write_text(head + "\n".join(CALLS))
    options = ["--config-file", "", "--follow-imports", "skip", "--no-incremental", "--hide-error-context"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--ignore-missing-imports", "keras_cnns/__init__.pyi", str(script)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    first = len(head.splitlines()) + 1
    expected = {f"script.py:{line}": code for line, code in enumerate(CALLS.values(), first) if code}
    assert {Path(line.partition(": ")[0]).name: line.rpartition("[")[2].rstrip("]") for line in found} == expected
