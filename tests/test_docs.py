"""The site: every public name and every family is there, it builds without a warning, and it asks no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit
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
    assert len(diagrams) == len(pages.DRAWN[name])
    for diagram in map(ET.fromstring, diagrams):
        boxes = diagram.findall("rect")
        edges = [(float(box.attrib["x"]), float(box.attrib["y"]), float(box.attrib["height"])) for box in boxes]
        assert len(boxes) > 2
        for x, y, height in edges:
            beside = [other for other in edges if other != (x, y, height) and abs(other[0] - x) < 176]
            assert all(y + height <= top or y >= top + tall for _, top, tall in beside), "boxes lie over each other"


class References(HTMLParser):
    """What a page loads, what it links to, and where it can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if "src" in found or (tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload")):
            self.loaded.add(found.get("src") or found["href"])
        elif tag == "a" and "href" in found:
            self.linked.add(found["href"])


def read(page: Path) -> References:
    references = References()
    references.feed(page.read_text("utf-8"))
    return references


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
def test_the_site_builds_without_a_warning_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-2000:]
    pages = {path: read(path) for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 15
    for path, page in pages.items():
        for reference in page.loaded | page.linked:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                assert reference in page.linked, f"{path} asks another host: {reference}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path}: {reference}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {reference}"
