"""What a developer adds as one file or one entry is found by tests, command line, reports and site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.examples import rename_examples

ROOT = Path(__file__).parents[1]
EXAMPLES = Path("tests", "plugin", "keras_cnns_example")
ADDED = {"squeezenet.py": "keras_cnns/networks/families", "stripes.py": "keras_cnns/data/sources"}
NAMES = ("example-squeezenet", "example-stripes", "example_youden", "example-flips")
OF_ALL_ENTRIES = ("sources", "description", "evaluation", "metrics")
"""Tests that look at all entries together, and would fail if they expected those of today."""
REGISTRIES = re.compile(r"all_families|all_variants|all_sources|all_metrics|METRICS|AUGMENTATIONS|PAGES|TestFamilies")
"""What tests that are parametrised with all entries mention; the other files need not be collected."""
GROUP = pytest.mark.xdist_group("extended copy")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project to which an architecture, a source, a metric and an augmentation are added."""
    copy = tmp_path_factory.mktemp("copy")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for name, folder in ADDED.items():
        text = rename_examples((copy / EXAMPLES / name).read_text("utf-8"))
        (copy / folder / f"example_{name}").write_text(text, "utf-8")
    metric = (copy / EXAMPLES / "youden.py").read_text("utf-8")
    entry = metric[metric.index("METRIC = ") :].replace("METRIC = Metric", "    Metric").rstrip()
    insert(copy / "keras_cnns/evaluation/metrics.py", "METRICS = (\n", f"{rename_examples(entry)},\n")
    preset = re.findall(r'^"flips": .*?^\),\n', (copy / "docs/adding.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    insert(copy / "keras_cnns/networks/augmentations.py", "AUGMENTATIONS = {\n", *map(rename_examples, preset))
    return copy


def insert(path: Path, after: str, text: str) -> None:
    """Insert an entry at the beginning of a table."""
    before = path.read_text("utf-8")
    assert before.count(after) == 1
    path.write_text(before.replace(after, after + text), "utf-8")


def run(copy: Path, *command: str) -> str:
    """Run a module of Python in the copy and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(copy), "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.exhaustive  # an installed package takes the same way
@GROUP
def test_the_tests_cover_what_is_added_and_pass(copy: Path) -> None:
    selected = " or ".join((*NAMES, *(f"test_{name}.py" for name in OF_ALL_ENTRIES)))
    files = [path for path in sorted(copy.glob("tests/test_*.py")) if REGISTRIES.search(path.read_text("utf-8"))]
    output = run(
        copy, "pytest", "-p", "no:cacheprovider", "-m", "not exhaustive and not slow", "-vv", "-k", selected,
        *(str(path.relative_to(copy)) for path in files),
    )  # fmt: skip
    passed = [line for line in output.splitlines() if "PASSED" in line]
    for name in ("example-squeezenet", "example_youden", "example-flips"):
        assert any(f"[{name}" in line for line in passed), f"no test is parametrised with {name}"
    assert "example-stripes" in run(copy, "keras_cnns", "inspect", "--help")


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


@GROUP
def test_the_site_builds_without_a_warning_and_every_link_leads_somewhere(copy: Path, tmp_path: Path) -> None:
    run(copy, "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    pages = {path: read(path) for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    assert tmp_path / "architectures" / "example-squeezenet" / "index.html" in pages
    for page, name in {
        "images": "example-stripes",
        "evaluation": "example_youden",
        "training": "example-flips",
    }.items():
        text = (tmp_path / page / "index.html").read_text("utf-8")
        assert f"<code>{name}</code>" in text, page
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
