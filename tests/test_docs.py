"""The generated parts of the site: every public name and every family is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

import keras_cnns
import tuning
from keras_cnns.networks.registry import all_families

ROOT = Path(__file__).parents[1]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    return import_module("pages")


def test_every_public_name_has_an_entry_in_the_reference() -> None:
    entries = set(re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE))
    public = {module: set(module.__all__) - {"__version__"} for module in (keras_cnns, tuning)}
    names = {f"{module.__name__}.{name}" for module, of_module in public.items() for name in of_module}
    assert names <= entries


@pytest.mark.parametrize("name", all_families())
def test_a_familys_page_has_its_networks_settings_layers_and_diagrams(pages: ModuleType, name: str) -> None:
    family = all_families()[name]
    text = "\n\n".join(pages.sections(family))
    settings = next(iter(family.variants.values())).settings
    assert all(f"| `{variant}` |" in text for variant in family.variants)
    assert all(f"| `{setting}` |" in text for setting in settings.domains())
    diagrams = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(diagrams) == max(1, len(family.diagrams))
    assert all(f"::: {block.__module__}.{block.__name__}" in text for block in family.blocks)
    for diagram in map(ET.fromstring, diagrams):
        boxes = diagram.findall("rect")
        edges = [(float(box.attrib["x"]), float(box.attrib["y"]), float(box.attrib["height"])) for box in boxes]
        assert len(boxes) > 2
        for x, y, height in edges:
            beside = [other for other in edges if other != (x, y, height) and abs(other[0] - x) < 176]
            assert all(y + height <= top or y >= top + tall for _, top, tall in beside), "boxes lie over each other"
